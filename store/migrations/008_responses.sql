-- What /v1/responses tells of a request that the other columns do not say: a JSON object. NULL: it came another way.
ALTER TABLE interactions ADD COLUMN response TEXT;
