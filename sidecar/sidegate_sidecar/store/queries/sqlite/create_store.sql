-- The store's one row; nothing if it is there.
INSERT INTO store (
    only_row, store_id, digest_salt, head_sequence, max_token_lifetime, leeway, max_session_lifetime
)
VALUES (1, :store_id, randomblob(16), 0, :max_token_lifetime, :leeway, :max_session_lifetime)
ON CONFLICT DO NOTHING
