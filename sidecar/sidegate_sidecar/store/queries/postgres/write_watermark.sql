-- Log a watermark: every session of the user or tenant begun by now is revoked.
INSERT INTO sidegate.revocation_log (
    sequence,
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
    $1,
    $2,
    $3,
    $4,
    $5,
    $6,
    $7::bigint,
    $7::bigint + $8::bigint,
    $9,
    $10,
    $11,
    CASE WHEN $2::text = 'u' THEN $4 END
)
