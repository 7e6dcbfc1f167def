-- A page of the log, its head and its horizon, in one statement because one statement is one snapshot.
-- At least one row: with a NULL sequence if there is no entry to deliver.
SELECT
    store.store_id,
    store.digest_salt,
    store.head_sequence,
    store.horizon,
    store.removed,
    entry.*
FROM store
LEFT JOIN (
    SELECT
        sequence,
        entry_id,
        kind,
        issuer,
        subject,
        tenant_id,
        except_session_handle,
        revoke_time,
        forget_time
    FROM revocation_log
    WHERE sequence >= :first
    ORDER BY sequence
    LIMIT :limit
) AS entry
ORDER BY entry.sequence
