-- Log a watermark: every session of the user or tenant begun by now is revoked. $12: the head once it is logged.
--
-- And leave out of look-ups what it makes superfluous of the user's earlier ones: it covers all but the session that it
-- spares, and for that one the newest that does not spare it too is enough.
WITH other AS (
    SELECT sequence
    FROM sidegate.revocation_log
    WHERE
        kind = 'u'
        AND NOT superseded
        AND issuer = $3
        AND subject = $4
        AND tenant_id IS NOT DISTINCT FROM $5
        AND except_session_handle IS DISTINCT FROM $6
        AND revoke_time <= $7::bigint
    ORDER BY revoke_time DESC
    LIMIT 1
),

superseded AS (
    UPDATE sidegate.revocation_log
    SET superseded = true
    WHERE
        kind = 'u'
        AND kind = $2
        AND NOT superseded
        AND issuer = $3
        AND subject = $4
        AND tenant_id IS NOT DISTINCT FROM $5
        AND revoke_time <= $7::bigint
        AND ($6::text IS NULL OR sequence IS DISTINCT FROM (SELECT sequence FROM other))
)

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
    user_id,
    head_sequence
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
    CASE WHEN $2::text = 'u' THEN $4 END,
    $12
)
