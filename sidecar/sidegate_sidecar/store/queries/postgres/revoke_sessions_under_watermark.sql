-- Log the handle of every session that a watermark ends: registered, unexpired, unrevoked, not spared. `{column}` names
-- whose they are: a user's or a tenant's.
-- Their create_time does not matter: they were registered before the watermark, whatever the clocks said.
-- All are found, and counted, before the first is logged: a planner that expects few of them may go through a log that it
-- knows to be short for each, and it would be the longer by every one logged meanwhile (ten seconds for 10,000).
WITH ended AS MATERIALIZED (
    SELECT
        session.issuer,
        session.session_handle,
        session.user_id,
        session.session_expire_time
    FROM sidegate.sessions AS session
    WHERE
        session.issuer = $2
        AND session.{column} = $3
        AND session.{column} <> ''
        AND session.session_expire_time > $6::bigint
        AND ($4::text IS NULL OR session.tenant_id = $4)
        AND ($5::text IS NULL OR session.session_handle <> $5)
        AND NOT EXISTS (
            SELECT 1
            FROM sidegate.revocation_log AS revocation
            WHERE
                revocation.kind = 's'
                AND revocation.issuer = session.issuer
                AND revocation.subject = session.session_handle
        )
)

INSERT INTO sidegate.revocation_log (
    sequence,
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
    $1::bigint + row_number() OVER (ORDER BY session_handle),
    's',
    issuer,
    session_handle,
    $6::bigint,
    session_expire_time + $7::bigint,
    $8,
    $9,
    $10,
    user_id,
    $1::bigint
FROM ended
WHERE (SELECT count(*) FROM ended) > 0
