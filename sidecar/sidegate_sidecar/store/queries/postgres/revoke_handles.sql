-- Log the handles of an array that are not revoked yet, once each, in the order of their first mention. One whose session
-- has expired is kept for as long as if it ended now: its issuer may have issued tokens since, which know of no end.
INSERT INTO sidegate.revocation_log (
    sequence, kind, issuer, subject, revoke_time, forget_time, actor, reason, request_id, user_id, head_sequence
)
SELECT
    $1::bigint + row_number() OVER (ORDER BY wanted.position),
    's',
    $2,
    wanted.session_handle,
    $4::bigint,
    greatest(coalesce(session.session_expire_time, $4::bigint + $5::bigint), $4::bigint) + $6::bigint,
    $7,
    $8,
    $9,
    session.user_id,
    CASE row_number() OVER (ORDER BY wanted.position) WHEN 1 THEN $1::bigint + count(*) OVER () END
FROM (
    SELECT
        session_handle,
        min(position) AS position
    FROM unnest($3::text []) WITH ORDINALITY AS named (session_handle, position)
    GROUP BY session_handle
) AS wanted
LEFT JOIN sidegate.sessions AS session
    ON session.issuer = $2 AND session.session_handle = wanted.session_handle
WHERE NOT EXISTS (
    SELECT 1
    FROM sidegate.revocation_log AS revocation
    WHERE
        revocation.kind = 's'
        AND revocation.issuer = $2
        AND revocation.subject = wanted.session_handle
)
RETURNING subject
