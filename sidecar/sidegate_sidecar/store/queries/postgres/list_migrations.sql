-- The migrations applied; of each, whether it was safe before its deploy.
SELECT
    number,
    safe_before
FROM sidegate.migrations
