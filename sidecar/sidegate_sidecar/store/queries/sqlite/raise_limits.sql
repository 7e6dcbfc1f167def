-- Each limit, where the one given is higher.
UPDATE store
SET
    max_token_lifetime = max(max_token_lifetime, :max_token_lifetime),
    leeway = max(leeway, :leeway),
    max_session_lifetime = max(max_session_lifetime, :max_session_lifetime)
