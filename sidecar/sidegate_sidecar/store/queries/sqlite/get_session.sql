-- One registered session, and when it was revoked.
SELECT
    session.issuer,
    session.session_handle,
    session.user_id,
    session.tenant_id,
    session.create_time,
    session.session_expire_time,
    revocation.revoke_time
FROM sessions AS session
LEFT JOIN revocation_log AS revocation
    ON
        revocation.kind = 's'
        AND revocation.issuer = session.issuer
        AND revocation.subject = session.session_handle
WHERE session.issuer = :issuer AND session.session_handle = :session_handle
