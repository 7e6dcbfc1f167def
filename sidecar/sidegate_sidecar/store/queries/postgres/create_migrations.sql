-- Which migrations have been applied. The one table that no migration makes.
CREATE TABLE IF NOT EXISTS sidegate.migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    safe_before boolean NOT NULL,
    apply_time timestamptz NOT NULL DEFAULT clock_timestamp()
)
