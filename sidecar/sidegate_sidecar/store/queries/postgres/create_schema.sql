-- The one schema that everything of ours is in.
CREATE SCHEMA sidegate
