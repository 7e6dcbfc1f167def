-- Keep an answer for its replay. An expired one under the same key makes way.
INSERT OR REPLACE INTO requests (actor, request_id, fingerprint, response, expire_time)
VALUES (:actor, :request_id, :fingerprint, :response, :expire_time)
