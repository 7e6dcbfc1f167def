-- What was asked under an idempotency key, and what was answered.
SELECT
    fingerprint,
    response
FROM sidegate.requests
WHERE actor = $1 AND request_id = $2 AND expire_time > $3
