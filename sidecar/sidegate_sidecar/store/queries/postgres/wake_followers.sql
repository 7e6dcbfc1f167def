-- Wake the followers once this transaction is committed. The one notification of it: each costs a lock that all commits
-- share.
SELECT pg_notify('sidegate_log', '')
