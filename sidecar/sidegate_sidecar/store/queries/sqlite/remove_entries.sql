-- Remove some log entries whose time has come, the longest due first; never the newest of the log.
DELETE FROM revocation_log
WHERE sequence IN (
    SELECT entry.sequence
    FROM revocation_log AS entry
    WHERE entry.forget_time <= :now AND entry.sequence < :head
    ORDER BY entry.forget_time
    LIMIT :limit
)
RETURNING sequence
