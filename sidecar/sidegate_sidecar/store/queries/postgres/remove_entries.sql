-- Remove up to $3 entries whose time came by $1, but never the newest, $2; and tell followers so. None as long as a
-- session that ended by $4 is left: it could be registered again, and would go on where it was revoked. The head is kept,
-- for the entry that has it may be among them.
-- (By its end the oldest is found in an index; whether any exists, a planner may look for in the whole table.)
WITH removed AS (
    DELETE FROM sidegate.revocation_log
    WHERE
        sequence = ANY (
            -- An array, and not IN: a planner that expects many may join the whole table.
            ARRAY(
                SELECT sequence
                FROM sidegate.revocation_log
                WHERE
                    forget_time <= $1
                    AND sequence < $2
                    AND coalesce((SELECT min(session_expire_time) FROM sidegate.sessions) > $4, true)
                ORDER BY forget_time
                LIMIT $3
            )
        )
    RETURNING sequence
),

counted AS (
    SELECT
        count(*) AS entries,
        max(sequence) AS highest
    FROM removed
)

UPDATE sidegate.store
SET
    head_sequence = $2,
    horizon_sequence = greatest(horizon_sequence, counted.highest),
    removed_entries = removed_entries + counted.entries
FROM counted
WHERE counted.entries > 0
RETURNING counted.entries
