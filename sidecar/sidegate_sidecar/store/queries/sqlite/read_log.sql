-- A page of the log after a row on the store itself, in one statement because one statement is one snapshot. Like this
-- what the store has once is not read with each of a thousand entries.
SELECT
    store_id,
    digest_salt,
    head_sequence,
    horizon,
    removed,
    NULL,
    NULL,
    NULL,
    NULL
FROM store
UNION ALL
SELECT *
FROM (
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
)
