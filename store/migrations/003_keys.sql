-- API keys. Of a key's secret only its hash is kept. Rows stay when a key is revoked, so that what is named by a
-- key's id elsewhere (interactions, feedback, the audit trail) can be told for ever.
CREATE TABLE keys (
    id          TEXT    NOT NULL PRIMARY KEY,
    name        TEXT    NOT NULL,
    secret_hash BLOB    NOT NULL CHECK (length(secret_hash) = 32),
    scopes      TEXT    NOT NULL,                             -- JSON array of words
    limits      TEXT    NOT NULL,                             -- JSON object
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER,
    revoked_at  INTEGER
) STRICT;

-- Through which key an item came. NULL: there were no keys.
ALTER TABLE feedback ADD COLUMN key_id TEXT;
