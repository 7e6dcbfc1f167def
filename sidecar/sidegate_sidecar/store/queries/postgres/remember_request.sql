-- Keep an answer for its replay. An expired one under the same key makes way.
INSERT INTO sidegate.requests (actor, request_id, fingerprint, response, expire_time)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (actor, request_id) DO UPDATE SET
    fingerprint = excluded.fingerprint,
    response = excluded.response,
    expire_time = excluded.expire_time
