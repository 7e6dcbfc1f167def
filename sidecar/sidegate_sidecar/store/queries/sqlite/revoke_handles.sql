-- Log the handles of a JSON array that are not revoked yet, once each, in the order of their first mention. One whose
-- session has expired is kept for as long as if it ended now: its issuer may have issued tokens since, which know of no
-- end.
INSERT INTO revocation_log (
    sequence, entry_id, kind, issuer, subject, revoke_time, forget_time, actor, reason, request_id, user_id
)
SELECT
    :head + row_number() OVER (ORDER BY wanted.position),
    randomblob(16),
    's',
    :issuer,
    wanted.session_handle,
    :now,
    max(coalesce(session.session_expire_time, :now + :max_session_lifetime), :now) + :token_afterlife,
    :actor,
    :reason,
    :request_id,
    session.user_id
FROM (
    SELECT
        value AS session_handle,
        min(key) AS position
    FROM json_each(:session_handles)
    GROUP BY value
) AS wanted
LEFT JOIN sessions AS session
    ON session.issuer = :issuer AND session.session_handle = wanted.session_handle
WHERE NOT EXISTS (
    SELECT 1
    FROM revocation_log AS revocation
    WHERE
        revocation.kind = 's'
        AND revocation.issuer = :issuer
        AND revocation.subject = wanted.session_handle
)
RETURNING subject
