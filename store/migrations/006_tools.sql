-- The tools that a model was told of, and the calls that an answer asks for: JSON arrays.
ALTER TABLE interactions ADD COLUMN tools TEXT NOT NULL DEFAULT '[]';
ALTER TABLE answers ADD COLUMN tool_calls TEXT NOT NULL DEFAULT '[]';
