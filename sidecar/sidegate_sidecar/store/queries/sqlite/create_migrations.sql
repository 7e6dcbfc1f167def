-- Which migrations have been applied. The one table that no migration makes; 0002 adds `safe_before` to it.
CREATE TABLE IF NOT EXISTS migrations (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    apply_time INTEGER NOT NULL
) STRICT
