-- Drop some expired answers: more than one write adds, few enough for no write to wait.
DELETE FROM sidegate.requests
WHERE
    (actor, request_id) IN (
        SELECT
            actor,
            request_id
        FROM sidegate.requests
        WHERE expire_time <= $1
        ORDER BY expire_time
        LIMIT 10
    )
