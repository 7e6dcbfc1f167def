-- The store's one row; nothing if it is there.
INSERT INTO sidegate.store (max_token_lifetime, leeway, max_session_lifetime)
VALUES ($1, $2, $3)
ON CONFLICT DO NOTHING
