-- Log the handle of every session that a watermark ends: registered, unexpired, unrevoked. `{covered}` says whose, and
-- `{index}` finds them: left alone the planner takes the primary key, and goes through every session of the issuer.
-- Their create_time does not matter: they were registered before the watermark, whatever the clocks said.
INSERT INTO revocation_log (
    sequence,
    entry_id,
    kind,
    issuer,
    subject,
    revoke_time,
    forget_time,
    actor,
    reason,
    request_id,
    user_id,
    cause_sequence
)
SELECT
    :sequence + row_number() OVER (ORDER BY session.session_handle),
    randomblob(16),
    's',
    session.issuer,
    session.session_handle,
    :now,
    session.session_expire_time + :token_afterlife,
    :actor,
    :reason,
    :request_id,
    session.user_id,
    :sequence
FROM sessions AS session INDEXED BY {index}
WHERE
    session.issuer = :issuer
    AND {covered}
    AND session.session_expire_time > :now
    AND NOT EXISTS (
        SELECT 1
        FROM revocation_log AS revocation
        WHERE
            revocation.kind = 's'
            AND revocation.issuer = session.issuer
            AND revocation.subject = session.session_handle
    )
