-- What it takes to compute an answer again, beside what is there: the adapter's weights, what answers were held to, and what
-- computed them. NULL in rows from before, and adapter_digest where the base answered, grammar where nothing was asked for.
ALTER TABLE interactions ADD COLUMN adapter_digest TEXT;
ALTER TABLE interactions ADD COLUMN grammar TEXT;
ALTER TABLE interactions ADD COLUMN computed_by TEXT;
