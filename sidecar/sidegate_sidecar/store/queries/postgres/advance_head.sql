-- Hand out sequences up to here, and wake the followers once it is committed. Under the log lock, in the transaction
-- that writes the entries. The one notification of that transaction: each costs a lock that all commits share.
UPDATE sidegate.store
SET head_sequence = $1
RETURNING pg_notify('sidegate_log', '')
