-- The end user whom an app named, as a keyed hash. `user` held the plain name; the daemon moves what is there to the
-- hash at its next start, and nothing writes it any more.
ALTER TABLE interactions ADD COLUMN end_user TEXT;
ALTER TABLE interactions ADD COLUMN conversation TEXT;
ALTER TABLE feedback ADD COLUMN end_user TEXT;

CREATE INDEX interactions_end_user ON interactions (end_user) WHERE end_user IS NOT NULL;
CREATE INDEX feedback_end_user ON feedback (end_user) WHERE end_user IS NOT NULL;

-- What was erased. A row is written in the same commit in which the log's rows go, so that a restart removes what is
-- left on disk. It holds random ids and a keyed hash, and nothing of what was said.
CREATE TABLE erasures (
    id          BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    at          INTEGER NOT NULL,
    subject     TEXT    NOT NULL,                             -- JSON
    touched     TEXT    NOT NULL,                             -- JSON array of ids whose examples teach no more
    interactions INTEGER NOT NULL,
    feedback    INTEGER NOT NULL,
    receipt     TEXT                                          -- JSON; NULL: not all is removed yet
) STRICT;
