-- Each limit, where the one given is higher.
UPDATE sidegate.store
SET
    max_token_lifetime = greatest(max_token_lifetime, $1),
    leeway = greatest(leeway, $2),
    max_session_lifetime = greatest(max_session_lifetime, $3)
RETURNING
    max_token_lifetime,
    leeway,
    max_session_lifetime
