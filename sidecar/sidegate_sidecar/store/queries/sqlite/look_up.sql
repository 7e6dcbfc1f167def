-- What check_database needs, for any number of subjects: [[issuer, session_handle, user_id, tenant_id, key_thumbprint], ...].
-- One row for each, in their order. Searches indexes only, whatever the tables hold.
WITH subject AS MATERIALIZED (
    SELECT
        key AS position,
        json_extract(value, '$[0]') AS issuer,
        json_extract(value, '$[1]') AS session_handle,
        json_extract(value, '$[2]') AS user_id,
        json_extract(value, '$[3]') AS tenant_id,
        json_extract(value, '$[4]') AS key_thumbprint
    FROM json_each(:subjects)
)

SELECT
    store.store_id,
    store.head_sequence,
    subject.issuer,
    subject.session_handle,
    session.user_id,
    session.tenant_id,
    session.create_time,
    session.session_expire_time,
    revocation.revoke_time,
    (
        SELECT watermark.revoke_time
        FROM revocation_log AS watermark
        WHERE
            watermark.kind = 'u'
            AND watermark.superseded = 0
            AND watermark.issuer = subject.issuer
            AND watermark.subject = subject.user_id
            AND (watermark.tenant_id IS NULL OR watermark.tenant_id = subject.tenant_id)
            AND (watermark.except_session_handle IS NULL OR watermark.except_session_handle <> subject.session_handle)
        ORDER BY watermark.revoke_time DESC
        LIMIT 1
    ) AS user_watermark,
    (
        SELECT watermark.revoke_time
        FROM revocation_log AS watermark
        WHERE
            watermark.kind = 't'
            AND watermark.issuer = subject.issuer
            AND watermark.subject = subject.tenant_id
        ORDER BY watermark.revoke_time DESC
        LIMIT 1
    ) AS tenant_watermark,
    EXISTS (
        SELECT 1
        FROM revocation_log AS revoked_key
        WHERE
            revoked_key.kind = 'k'
            AND revoked_key.issuer = subject.issuer
            AND revoked_key.subject = subject.key_thumbprint
    ) AS key_revoked
FROM subject
CROSS JOIN store
LEFT JOIN sessions AS session
    ON
        session.issuer = subject.issuer
        AND session.session_handle = subject.session_handle
        AND subject.session_handle <> ''
LEFT JOIN revocation_log AS revocation
    ON
        revocation.kind = 's'
        AND revocation.issuer = subject.issuer
        AND revocation.subject = subject.session_handle
        AND subject.session_handle <> ''
ORDER BY subject.position
