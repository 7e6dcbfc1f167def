-- Record sessions: one array for each column. Their handles' stripes are held alone, so no other registration of theirs
-- is under way. Of one named twice the last counts.
INSERT INTO sidegate.sessions (issuer, session_handle, user_id, tenant_id, create_time, session_expire_time)
SELECT DISTINCT ON (issuer, session_handle)
    issuer,
    session_handle,
    user_id,
    tenant_id,
    create_time,
    session_expire_time
FROM
    unnest($1::text [], $2::text [], $3::text [], $4::text [], $5::text []::bigint [], $6::text []::bigint [])
    WITH ORDINALITY AS wanted (issuer, session_handle, user_id, tenant_id, create_time, session_expire_time, position)
ORDER BY issuer, session_handle, position DESC
ON CONFLICT (session_handle, issuer) DO UPDATE SET session_expire_time = excluded.session_expire_time
