-- Until the transaction ends: sequences are ours to hand out. The store's row and clock as they are from now on.
SELECT
    store_id,
    head_sequence,
    max_token_lifetime,
    leeway,
    max_session_lifetime,
    now
FROM sidegate.take_log_lock()
