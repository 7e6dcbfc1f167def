-- Remove sessions that ended longer ago than a token can outlive them: up to $2 that ended by $1. One that is being
-- registered again meanwhile is waited for, and then stays.
DELETE FROM sidegate.sessions
WHERE
    session_expire_time <= $1
    AND (session_handle, issuer) IN (
        SELECT
            session_handle,
            issuer
        FROM sidegate.sessions
        WHERE session_expire_time <= $1
        ORDER BY session_expire_time
        LIMIT $2
    )
