-- The migrations applied. All columns, for 0002 adds `safe_before`.
SELECT *
FROM migrations
