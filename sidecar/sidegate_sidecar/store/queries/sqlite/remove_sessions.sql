-- Remove some sessions that ended by then, the longest ago first.
DELETE FROM sessions
WHERE (issuer, session_handle) IN (
    SELECT
        session.issuer,
        session.session_handle
    FROM sessions AS session
    WHERE session.session_expire_time <= :ended_by
    ORDER BY session.session_expire_time
    LIMIT :limit
)
