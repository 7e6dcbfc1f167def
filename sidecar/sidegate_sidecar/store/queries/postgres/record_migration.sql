-- Note that a migration was applied, in the transaction that applied it.
INSERT INTO sidegate.migrations (number, name, safe_before)
VALUES ($1, $2, $3)
