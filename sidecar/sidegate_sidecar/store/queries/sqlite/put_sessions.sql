-- Record sessions: [[issuer, session_handle, user_id, tenant_id, create_time, session_expire_time], ...].
INSERT INTO sessions (issuer, session_handle, user_id, tenant_id, create_time, session_expire_time)
SELECT
    json_extract(value, '$[0]'),
    json_extract(value, '$[1]'),
    json_extract(value, '$[2]'),
    json_extract(value, '$[3]'),
    json_extract(value, '$[4]'),
    json_extract(value, '$[5]')
FROM json_each(:sessions)
WHERE true -- or else ON would be read as a join's
ON CONFLICT (issuer, session_handle) DO UPDATE SET session_expire_time = excluded.session_expire_time
