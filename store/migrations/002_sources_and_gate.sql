-- Who asked: a keyed hash, like feedback.source. NULL: unknown, as for everything from before.
ALTER TABLE interactions ADD COLUMN source TEXT;

-- One row for each decision of the gate, so that chance gets its share once over all nights and not
-- once a night.
CREATE TABLE gate_ledger (
    cycle_id BLOB    NOT NULL PRIMARY KEY CHECK (length(cycle_id) = 16),
    at       INTEGER NOT NULL,
    alpha    REAL    NOT NULL,                                -- what was staked
    p        REAL    NOT NULL,
    promoted INTEGER NOT NULL CHECK (promoted IN (0, 1))
) STRICT;
