-- Each row of the audit trail is bound to the one before it: the BLAKE3 of that row's hash and of its own content
-- (see store/src/chain.rs). Rows from before get their hashes right after this, in the same transaction.
ALTER TABLE audit ADD COLUMN hash BLOB NOT NULL
    DEFAULT x'0000000000000000000000000000000000000000000000000000000000000000' CHECK (length(hash) = 32);

DROP TRIGGER audit_is_not_changed;
