-- Prompt tokens that the prefix cache had, for the usage of a stored answer.
ALTER TABLE interactions ADD COLUMN cached_tokens INTEGER NOT NULL DEFAULT 0;
