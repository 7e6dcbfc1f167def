-- A page of a user's registered sessions by handle, which is by code point.
SELECT
    session.issuer,
    session.session_handle,
    session.user_id,
    session.tenant_id,
    session.create_time,
    session.session_expire_time,
    revocation.revoke_time
FROM sidegate.sessions AS session
LEFT JOIN sidegate.revocation_log AS revocation
    ON
        revocation.kind = 's'
        AND revocation.issuer = session.issuer
        AND revocation.subject = session.session_handle
WHERE session.issuer = $1 AND session.user_id = $2 AND session.session_handle > $3
ORDER BY session.session_handle
LIMIT $4
