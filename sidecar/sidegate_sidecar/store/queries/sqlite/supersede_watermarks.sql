-- Leave out of look-ups what the watermark that is about to be written makes superfluous: it covers all but the session
-- that it spares, and for that one the newest that does not spare it too is enough.
UPDATE revocation_log
SET superseded = 1
WHERE
    kind = 'u'
    AND superseded = 0
    AND issuer = :issuer
    AND subject = :subject
    AND tenant_id IS :tenant_id
    AND revoke_time <= :now
    AND (
        :except_session_handle IS NULL
        OR sequence IS NOT (
            SELECT other.sequence
            FROM revocation_log AS other
            WHERE
                other.kind = 'u'
                AND other.superseded = 0
                AND other.issuer = :issuer
                AND other.subject = :subject
                AND other.tenant_id IS :tenant_id
                AND other.except_session_handle IS NOT :except_session_handle
                AND other.revoke_time <= :now
            ORDER BY other.revoke_time DESC
            LIMIT 1
        )
    )
