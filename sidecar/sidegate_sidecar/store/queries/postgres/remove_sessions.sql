-- Remove sessions that ended longer ago than a token can outlive them: up to $2 that ended by $1. One that is being
-- registered again meanwhile is passed over: to wait for it could be to wait in a circle, and it stays anyway.
DELETE FROM sidegate.sessions
WHERE
    ctid = ANY (
        ARRAY(
            SELECT ctid
            FROM sidegate.sessions
            WHERE session_expire_time <= $1
            ORDER BY session_expire_time
            LIMIT $2
            FOR UPDATE SKIP LOCKED
        )
    )
