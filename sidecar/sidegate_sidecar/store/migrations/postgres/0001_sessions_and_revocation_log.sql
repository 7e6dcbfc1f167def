-- Safe: before the deploy.
--
-- The first schema. Instants and spans are microseconds; instants count from the Unix epoch, UTC. Names compare and sort
-- by their bytes (COLLATE "C"): by code point, and the same whatever library of locales a host has.

-- What the whole store shares. One row.
CREATE TABLE sidegate.store (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    store_id text NOT NULL DEFAULT gen_random_uuid(),
    digest_salt bytea NOT NULL DEFAULT uuid_send(gen_random_uuid()) CHECK (octet_length(digest_salt) = 16),
    -- The head of the log when entries were last removed; current_store has the present one. A revocation leaves this row
    -- as it is: beside a transaction that stays open for long every look-up would go through all its former versions.
    head_sequence bigint NOT NULL DEFAULT 0 CHECK (head_sequence >= 0),
    -- The highest sequence whose entry was ever removed, and how many were.
    horizon_sequence bigint NOT NULL DEFAULT 0 CHECK (horizon_sequence BETWEEN 0 AND head_sequence),
    removed_entries bigint NOT NULL DEFAULT 0 CHECK (removed_entries BETWEEN 0 AND horizon_sequence),
    max_token_lifetime bigint NOT NULL,
    leeway bigint NOT NULL,
    max_session_lifetime bigint NOT NULL
);

-- Registered sessions. Whether one is revoked stands in the log alone. A look-up reads nothing but the index of the primary
-- key: of a large table nearly every look-up finds the row's own page on the disk.
CREATE TABLE sidegate.sessions (
    issuer text COLLATE "C" NOT NULL,
    session_handle text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    tenant_id text COLLATE "C" NOT NULL,
    create_time bigint NOT NULL,
    session_expire_time bigint NOT NULL CHECK (session_expire_time > create_time),
    PRIMARY KEY (session_handle, issuer) INCLUDE (user_id, tenant_id, create_time, session_expire_time)
);

CREATE INDEX sessions_by_user ON sidegate.sessions (user_id, issuer, session_handle);

CREATE INDEX sessions_by_tenant ON sidegate.sessions (tenant_id, issuer, session_handle) WHERE tenant_id <> '';

CREATE INDEX sessions_by_expiry ON sidegate.sessions (session_expire_time);

-- The truth. Entries are appended and never changed, but for a forget_time that raised limits put off, and a watermark
-- that newer ones make superfluous.
CREATE TABLE sidegate.revocation_log (
    sequence bigint PRIMARY KEY,
    entry_id uuid NOT NULL DEFAULT gen_random_uuid(),
    -- s: session, u: user, t: tenant, k: key.
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('s', 'u', 't', 'k')),
    issuer text COLLATE "C" NOT NULL,
    -- The handle, user, tenant or key thumbprint.
    subject text COLLATE "C" NOT NULL,
    -- u: the tenant that it is limited to. NULL: all.
    tenant_id text COLLATE "C",
    -- u: the session that it spares. NULL: none.
    except_session_handle text COLLATE "C",
    revoke_time bigint NOT NULL,
    -- NULL: never.
    forget_time bigint,
    actor text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL,
    request_id text COLLATE "C",
    -- u: the subject again. s: the user, where the session was registered. So that one index serves the audit trail.
    user_id text COLLATE "C",
    -- k: the kid, where it was given.
    key_id text COLLATE "C",
    -- s: the watermark that ended it. NULL: it was revoked by itself.
    cause_sequence bigint,
    -- The last sequence of the transaction that wrote it: in its first entry. In its others: NULL.
    head_sequence bigint,
    -- u: whatever it covers newer ones cover, for at least as long. So a look-up leaves it out.
    superseded boolean NOT NULL DEFAULT false
);

-- What is revoked for good: each once. The subject leads, so that the audit trail can do without the issuer. A look-up
-- reads nothing but these indexes.
CREATE UNIQUE INDEX revoked_sessions ON sidegate.revocation_log (subject, issuer) INCLUDE (revoke_time)
WHERE kind = 's';

CREATE UNIQUE INDEX revoked_keys ON sidegate.revocation_log (subject, issuer) WHERE kind = 'k';

-- Watermarks, the newest first: a look-up reads the first that does not spare its session.
CREATE INDEX user_watermarks ON sidegate.revocation_log (subject, issuer, revoke_time DESC)
INCLUDE (tenant_id, except_session_handle) WHERE kind = 'u' AND NOT superseded;

CREATE INDEX tenant_watermarks ON sidegate.revocation_log (subject, issuer, revoke_time DESC) WHERE kind = 't';

-- For the audit trail.
CREATE INDEX revocations_by_user ON sidegate.revocation_log (user_id, issuer, sequence) WHERE user_id IS NOT NULL;

CREATE INDEX revocations_by_tenant ON sidegate.revocation_log (tenant_id, issuer, sequence)
WHERE tenant_id IS NOT NULL;

-- For the head: one entry of each transaction, so that however many another is writing, a look-up passes over one.
CREATE UNIQUE INDEX revocations_by_head ON sidegate.revocation_log (head_sequence) WHERE head_sequence IS NOT NULL;

-- For compaction.
CREATE INDEX revocations_by_forgetting ON sidegate.revocation_log (forget_time) WHERE forget_time IS NOT NULL;

-- The store's row with the present head. Of the log it reads only what was written since entries were last removed, for
-- what was removed stays in the index for as long as an open transaction could see it.
CREATE VIEW sidegate.current_store AS
SELECT
    store.store_id,
    store.digest_salt,
    coalesce(
        (
            SELECT entry.head_sequence
            FROM sidegate.revocation_log AS entry
            WHERE entry.head_sequence > store.head_sequence
            ORDER BY entry.head_sequence DESC
            LIMIT 1
        ),
        store.head_sequence
    ) AS head_sequence,
    store.horizon_sequence,
    store.removed_entries,
    store.max_token_lifetime,
    store.leeway,
    store.max_session_lifetime
FROM sidegate.store AS store;

-- Requests by their idempotency key and what was answered, for 24 h.
CREATE TABLE sidegate.requests (
    actor text COLLATE "C" NOT NULL,
    request_id text COLLATE "C" NOT NULL,
    -- SHA-256 of what was asked.
    fingerprint bytea NOT NULL,
    -- JSON.
    response text NOT NULL,
    expire_time bigint NOT NULL,
    PRIMARY KEY (actor, request_id)
);

CREATE INDEX requests_by_expiry ON sidegate.requests (expire_time);

-- The store's clock: the one by which every revocation and every session is dated, whichever sidecar writes it.
CREATE FUNCTION sidegate.store_now() RETURNS bigint
LANGUAGE sql VOLATILE
AS $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint $$;

-- The log lock, under which sequences are handed out: held until the transaction ends, so that they are gap-free and in
-- commit order. Always the last lock that a transaction takes.
--
-- The answer is read by a statement of its own: under READ COMMITTED that one sees what the holder before committed, and
-- its clock is read after the lock was had. In one statement both could be from before the wait.
CREATE FUNCTION sidegate.take_log_lock(
    OUT store_id text,
    OUT head_sequence bigint,
    OUT max_token_lifetime bigint,
    OUT leeway bigint,
    OUT max_session_lifetime bigint,
    OUT now bigint
)
LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
BEGIN
    PERFORM 1 FROM sidegate.store FOR UPDATE;
    SELECT
        store.store_id,
        store.head_sequence,
        store.max_token_lifetime,
        store.leeway,
        store.max_session_lifetime,
        sidegate.store_now()
    INTO STRICT
        take_log_lock.store_id,
        take_log_lock.head_sequence,
        take_log_lock.max_token_lifetime,
        take_log_lock.leeway,
        take_log_lock.max_session_lifetime,
        take_log_lock.now
    FROM sidegate.current_store AS store;
END
$$;

-- Put registrations and the revocations that could cover them in order, until the transaction ends: each takes the
-- stripes of what it names, alone or shared. A stripe is one of 512 advisory locks, so that no transaction needs more of
-- the lock table than that. All in one order and in one call, so that nobody waits in a circle; names that share a
-- stripe by chance only wait for each other.
CREATE FUNCTION sidegate.take_stripes(kinds text[], issuers text[], names text[], exclusives boolean[]) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    lock_class CONSTANT integer := 1373530750; -- any will do, so long as all of sidegate has the same
    stripe record;
BEGIN
    FOR stripe IN
        SELECT
            (hashtextextended(wanted.kind || ' ' || wanted.issuer || ' ' || wanted.name, 0) & 511)::integer AS number,
            bool_or(wanted.exclusive) AS exclusive
        FROM unnest(kinds, issuers, names, exclusives) AS wanted (kind, issuer, name, exclusive)
        GROUP BY 1
        ORDER BY 1
    LOOP
        IF stripe.exclusive THEN
            PERFORM pg_advisory_xact_lock(lock_class, stripe.number);
        ELSE
            PERFORM pg_advisory_xact_lock_shared(lock_class, stripe.number);
        END IF;
    END LOOP;
END
$$;

-- What check_database needs, for any number of subjects: one array for each column, in the order asked. Every array is of
-- text, which drivers know without asking the server about its types. Runs with the owner's rights, so that a verifying
-- sidecar needs none on the tables. Searches indexes only, whatever the tables hold and whatever the planner was last
-- told of them.
--
-- STABLE: all of it is read in the snapshot of the statement that calls it.
CREATE FUNCTION sidegate.look_up(
    issuers text[],
    session_handles text[],
    user_ids text[],
    tenant_ids text[],
    key_thumbprints text[],
    OUT store_id text,
    OUT head_sequence bigint,
    OUT registered_user_ids text[],
    OUT registered_tenant_ids text[],
    OUT create_times text[],
    OUT session_expire_times text[],
    OUT revoke_times text[],
    OUT key_revocations text[],
    OUT user_watermarks text[],
    OUT tenant_watermarks text[]
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'a standby may not know yet what was revoked' USING ERRCODE = 'read_only_sql_transaction';
    END IF;
    SELECT store.store_id, store.head_sequence
    INTO STRICT look_up.store_id, look_up.head_sequence
    FROM sidegate.current_store AS store;
    SELECT
        array_agg(registered.user_id ORDER BY wanted.position),
        array_agg(registered.tenant_id ORDER BY wanted.position),
        array_agg(registered.create_time::text ORDER BY wanted.position),
        array_agg(registered.session_expire_time::text ORDER BY wanted.position),
        array_agg(revoked.revoke_time::text ORDER BY wanted.position),
        array_agg((revoked_key.found IS NOT NULL)::text ORDER BY wanted.position),
        array_agg(user_watermark.revoke_time::text ORDER BY wanted.position),
        array_agg(tenant_watermark.revoke_time::text ORDER BY wanted.position)
    INTO
        look_up.registered_user_ids,
        look_up.registered_tenant_ids,
        look_up.create_times,
        look_up.session_expire_times,
        look_up.revoke_times,
        look_up.key_revocations,
        look_up.user_watermarks,
        look_up.tenant_watermarks
    FROM
        unnest(issuers, session_handles, user_ids, tenant_ids, key_thumbprints)
        WITH ORDINALITY AS wanted (issuer, session_handle, user_id, tenant_id, key_thumbprint, position)
    LEFT JOIN LATERAL (
        SELECT session.user_id, session.tenant_id, session.create_time, session.session_expire_time
        FROM sidegate.sessions AS session
        WHERE
            session.session_handle = wanted.session_handle
            AND session.issuer = wanted.issuer
            AND wanted.session_handle <> ''
        LIMIT 1
    ) AS registered ON true
    LEFT JOIN LATERAL (
        SELECT entry.revoke_time
        FROM sidegate.revocation_log AS entry
        WHERE
            entry.kind = 's'
            AND entry.subject = wanted.session_handle
            AND entry.issuer = wanted.issuer
            AND wanted.session_handle <> ''
        LIMIT 1
    ) AS revoked ON true
    LEFT JOIN LATERAL (
        SELECT true AS found
        FROM sidegate.revocation_log AS entry
        WHERE
            entry.kind = 'k'
            AND entry.subject = wanted.key_thumbprint
            AND entry.issuer = wanted.issuer
            AND wanted.key_thumbprint <> ''
        LIMIT 1
    ) AS revoked_key ON true
    LEFT JOIN LATERAL (
        SELECT watermark.revoke_time
        FROM sidegate.revocation_log AS watermark
        WHERE
            watermark.kind = 'u'
            AND NOT watermark.superseded
            AND watermark.subject = wanted.user_id
            AND watermark.issuer = wanted.issuer
            AND (watermark.tenant_id IS NULL OR watermark.tenant_id = wanted.tenant_id)
            AND (
                watermark.except_session_handle IS NULL
                OR watermark.except_session_handle <> wanted.session_handle
            )
        ORDER BY watermark.revoke_time DESC
        LIMIT 1
    ) AS user_watermark ON true
    LEFT JOIN LATERAL (
        SELECT watermark.revoke_time
        FROM sidegate.revocation_log AS watermark
        WHERE
            watermark.kind = 't'
            AND watermark.subject = wanted.tenant_id
            AND watermark.issuer = wanted.issuer
            AND wanted.tenant_id <> ''
        ORDER BY watermark.revoke_time DESC
        LIMIT 1
    ) AS tenant_watermark ON true;
END
$$;

-- A page of the log, and all that a verifying sidecar asks of the store itself. The entries come as one array for each
-- column, in the order of the query that they are gathered from: ordering each by itself would cost as much as all else.
-- With the owner's rights and in one snapshot, as look_up.
CREATE FUNCTION sidegate.read_log(
    first_sequence bigint,
    max_entries integer,
    OUT store_id text,
    OUT digest_salt bytea,
    OUT head_sequence bigint,
    OUT horizon_sequence bigint,
    OUT removed_entries bigint,
    OUT max_token_lifetime bigint,
    OUT leeway bigint,
    OUT max_session_lifetime bigint,
    OUT migration_numbers text[],
    OUT migrations_safe_before text[],
    OUT sequences text[],
    OUT entry_ids text[],
    OUT kinds text[],
    OUT issuers text[],
    OUT subjects text[],
    OUT tenant_ids text[],
    OUT except_session_handles text[],
    OUT revoke_times text[],
    OUT forget_times text[]
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'a standby may not know yet what was revoked' USING ERRCODE = 'read_only_sql_transaction';
    END IF;
    SELECT
        store.store_id,
        store.digest_salt,
        store.head_sequence,
        store.horizon_sequence,
        store.removed_entries,
        store.max_token_lifetime,
        store.leeway,
        store.max_session_lifetime
    INTO STRICT
        read_log.store_id,
        read_log.digest_salt,
        read_log.head_sequence,
        read_log.horizon_sequence,
        read_log.removed_entries,
        read_log.max_token_lifetime,
        read_log.leeway,
        read_log.max_session_lifetime
    FROM sidegate.current_store AS store;
    SELECT
        array_agg(migration.number::text ORDER BY migration.number),
        array_agg(migration.safe_before::text ORDER BY migration.number)
    INTO read_log.migration_numbers, read_log.migrations_safe_before
    FROM sidegate.migrations AS migration;
    SELECT
        array_agg(entry.sequence::text),
        array_agg(encode(uuid_send(entry.entry_id), 'hex')),
        array_agg(entry.kind),
        array_agg(entry.issuer),
        array_agg(entry.subject),
        array_agg(entry.tenant_id),
        array_agg(entry.except_session_handle),
        array_agg(entry.revoke_time::text),
        array_agg(entry.forget_time::text)
    INTO
        read_log.sequences,
        read_log.entry_ids,
        read_log.kinds,
        read_log.issuers,
        read_log.subjects,
        read_log.tenant_ids,
        read_log.except_session_handles,
        read_log.revoke_times,
        read_log.forget_times
    FROM (
        SELECT *
        FROM sidegate.revocation_log
        WHERE sequence >= first_sequence
        ORDER BY sequence
        LIMIT max_entries
    ) AS entry;
END
$$;

-- Every function is open to everybody until told otherwise. docs/postgresql-roles.sql says who may do what.
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA sidegate FROM PUBLIC;
