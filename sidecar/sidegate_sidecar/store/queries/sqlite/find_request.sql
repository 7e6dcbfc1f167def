-- What was asked under an idempotency key, and what was answered.
SELECT
    fingerprint,
    response
FROM requests
WHERE actor = :actor AND request_id = :request_id AND expire_time > :now
