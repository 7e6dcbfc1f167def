-- Log a watermark: every session of the user begun by now is revoked.
INSERT INTO revocation_log (
    sequence,
    entry_id,
    kind,
    issuer,
    subject,
    tenant_id,
    except_session_handle,
    revoke_time,
    forget_time,
    actor,
    reason,
    request_id,
    user_id
)
VALUES (
    :watermark,
    randomblob(16),
    'u',
    :issuer,
    :user_id,
    :tenant_id,
    :except_session_handle,
    :now,
    :now + :max_session_lifetime + :token_afterlife,
    :actor,
    :reason,
    :request_id,
    :user_id
)
