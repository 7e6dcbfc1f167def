-- Whether this is a store at all.
SELECT 1
FROM sqlite_schema
WHERE type = 'table' AND name = 'migrations'
