-- Log the handle of every session that a user's watermark ends: registered, unexpired, unrevoked, not spared.
-- Their create_time does not matter: they were registered before the watermark, whatever the clocks said.
INSERT INTO revocation_log (
    sequence,
    entry_id,
    kind,
    issuer,
    subject,
    revoke_time,
    forget_time,
    actor,
    reason,
    request_id,
    user_id,
    cause_sequence
)
SELECT
    :watermark + row_number() OVER (ORDER BY session.session_handle),
    randomblob(16),
    's',
    session.issuer,
    session.session_handle,
    :now,
    session.session_expire_time + :token_afterlife,
    :actor,
    :reason,
    :request_id,
    session.user_id,
    :watermark
FROM sessions AS session
WHERE
    session.issuer = :issuer
    AND session.user_id = :user_id
    AND session.session_expire_time > :now
    AND (:tenant_id IS NULL OR session.tenant_id = :tenant_id)
    AND (:except_session_handle IS NULL OR session.session_handle <> :except_session_handle)
    AND NOT EXISTS (
        SELECT 1
        FROM revocation_log AS revocation
        WHERE
            revocation.kind = 's'
            AND revocation.issuer = session.issuer
            AND revocation.subject = session.session_handle
    )
