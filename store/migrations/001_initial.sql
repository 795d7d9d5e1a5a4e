-- Ids are the 16 bytes of a UUIDv7, so the primary key is also the order of arrival and the cursor of lists.
-- Instants are milliseconds since 1970-01-01 UTC.

CREATE TABLE interactions (
    id              BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    created_at      INTEGER NOT NULL,
    endpoint        TEXT    NOT NULL,
    model           TEXT    NOT NULL,
    adapter_id      BLOB    CHECK (length(adapter_id) = 16),  -- NULL: the base answered
    base_digest     TEXT    NOT NULL,
    template_digest TEXT    NOT NULL,
    messages        TEXT    NOT NULL,                         -- JSON
    sampling        TEXT    NOT NULL,                         -- JSON
    prompt_tokens   BLOB    NOT NULL,                         -- LEB128
    queue_ms        REAL    NOT NULL,
    ttft_ms         REAL    NOT NULL,
    total_ms        REAL    NOT NULL,
    key_id          TEXT,
    user            TEXT,
    metadata        TEXT    NOT NULL,                         -- JSON object of strings
    stored          INTEGER NOT NULL CHECK (stored IN (0, 1)),
    trainable       INTEGER NOT NULL CHECK (trainable IN (0, 1))
) STRICT;

CREATE INDEX interactions_stored ON interactions (id) WHERE stored = 1;
CREATE INDEX interactions_created ON interactions (created_at);

CREATE TABLE answers (
    interaction_id BLOB    NOT NULL REFERENCES interactions (id) ON DELETE CASCADE,
    position       INTEGER NOT NULL,
    text           TEXT,                                      -- NULL: the text is not kept
    tokens         BLOB    NOT NULL,                          -- LEB128
    logprobs       BLOB    NOT NULL,                          -- 32-bit floats, little endian
    finish_reason  TEXT    NOT NULL,
    PRIMARY KEY (interaction_id, position)
) STRICT, WITHOUT ROWID;

-- No foreign key to interactions: feedback is accepted from the first byte of an answer, and the
-- interaction is written after its last.
CREATE TABLE feedback (
    id              BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    inference_id    BLOB    NOT NULL CHECK (length(inference_id) = 16),
    metric_name     TEXT    NOT NULL,
    value           TEXT    NOT NULL,                         -- JSON
    failure         INTEGER NOT NULL CHECK (failure IN (0, 1)),
    tags            TEXT    NOT NULL,                         -- JSON object of strings
    source          TEXT,
    created_at      INTEGER NOT NULL,
    idempotency_key TEXT,
    body_hash       BLOB    NOT NULL CHECK (length(body_hash) = 32)
) STRICT;

CREATE INDEX feedback_inference ON feedback (inference_id);
CREATE INDEX feedback_failures ON feedback (created_at) WHERE failure = 1;
CREATE INDEX feedback_metric ON feedback (metric_name);
CREATE UNIQUE INDEX feedback_idempotency ON feedback (coalesce(source, ''), idempotency_key)
    WHERE idempotency_key IS NOT NULL;

CREATE TABLE cycles (
    id          BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    status      TEXT    NOT NULL,
    started_by  TEXT    NOT NULL,
    step        TEXT    NOT NULL,
    verdict     TEXT,
    reason      TEXT,
    snapshot    TEXT,
    candidate   BLOB    CHECK (length(candidate) = 16),
    champion    BLOB    CHECK (length(champion) = 16),
    outcomes    TEXT    NOT NULL,                             -- JSON object by step
    created_at  INTEGER NOT NULL,
    finished_at INTEGER
) STRICT;

CREATE INDEX cycles_unfinished ON cycles (id) WHERE status IN ('queued', 'running');

CREATE TABLE cycle_events (
    cycle_id BLOB    NOT NULL REFERENCES cycles (id) ON DELETE CASCADE,
    sequence INTEGER NOT NULL CHECK (sequence > 0),
    at       INTEGER NOT NULL,
    step     TEXT    NOT NULL,
    kind     TEXT    NOT NULL,
    message  TEXT    NOT NULL,
    data     TEXT    NOT NULL,                                -- JSON
    PRIMARY KEY (cycle_id, sequence)
) STRICT, WITHOUT ROWID;

-- Who did what to what, and why. Rows are only ever added; the triggers hold everybody to it.
CREATE TABLE audit (
    sequence INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at       INTEGER NOT NULL,
    actor    TEXT    NOT NULL,
    action   TEXT    NOT NULL,
    subject  TEXT    NOT NULL,
    reason   TEXT    NOT NULL,
    data     TEXT    NOT NULL                                 -- JSON
) STRICT;

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN SELECT raise(ABORT, 'the audit trail is append only'); END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
BEGIN SELECT raise(ABORT, 'the audit trail is append only'); END;

-- Prompts that were held out once never train in any later cycle, even when their interaction is gone.
CREATE TABLE holdout_keys (
    key      TEXT NOT NULL PRIMARY KEY,
    cycle_id BLOB NOT NULL CHECK (length(cycle_id) = 16)      -- the cycle that held it out first
) STRICT, WITHOUT ROWID;
