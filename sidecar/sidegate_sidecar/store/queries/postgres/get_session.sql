-- One registered session, and when it was revoked.
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
WHERE session.issuer = $1 AND session.session_handle = $2
