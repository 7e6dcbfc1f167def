-- The store's one row.
SELECT
    store_id,
    head_sequence,
    max_token_lifetime,
    leeway,
    max_session_lifetime
FROM store
