-- Log the revocation of a user, a tenant or a key; of sessions see revoke_handles and end_sessions.
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
    user_id,
    key_id
)
VALUES (
    :sequence,
    randomblob(16),
    :kind,
    :issuer,
    :subject,
    :tenant_id,
    :except_session_handle,
    :now,
    :forget_time,
    :actor,
    :reason,
    :request_id,
    :user_id,
    :key_id
)
