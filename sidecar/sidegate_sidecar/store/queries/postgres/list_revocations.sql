-- A page of the audit trail, newest first. `{conditions}` are those of the filters in use: a condition that is always
-- there and matches NULL would keep every index out.
SELECT
    (SELECT store_id FROM sidegate.store) AS store_id,
    sequence,
    uuid_send(entry_id) AS entry_id,
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
    key_id,
    cause_sequence
FROM sidegate.revocation_log
WHERE {conditions}
ORDER BY sequence DESC
LIMIT $1
