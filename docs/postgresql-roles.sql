-- The two kinds of database users that sidecars work as. Run it in the store's database after every `sidegate migrate`,
-- as whoever migrates: the schema belongs to that user, whom no sidecar works as. Running it again changes nothing.
--
--     psql --set ON_ERROR_STOP=1 --single-transaction --file postgresql-roles.sql DATABASE
--
-- Then make users and put them in a role, e.g. CREATE USER pods PASSWORD '…' IN ROLE sidegate_verifier. Creating roles
-- needs CREATEROLE; where you may not, have somebody else create the two first.

DO $$
DECLARE
    role name;
BEGIN
    FOREACH role IN ARRAY ARRAY['sidegate_verifier', 'sidegate_admin'] LOOP
        IF to_regrole(role) IS NULL THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        END IF;
    END LOOP;
END
$$;

-- Nobody makes objects here but the schema's owner. The store has its database to itself.
DO $$
BEGIN
    EXECUTE format('REVOKE CREATE, TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
END
$$;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

REVOKE ALL ON SCHEMA sidegate FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA sidegate FROM PUBLIC, sidegate_verifier, sidegate_admin;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA sidegate FROM PUBLIC, sidegate_verifier, sidegate_admin;
GRANT USAGE ON SCHEMA sidegate TO sidegate_verifier, sidegate_admin;

-- The verifier: for the sidecars beside services, which verify and have no admin listener. It may ask about sessions
-- that it can name and read the revocation log, through two functions, and has no right on any table. It cannot write,
-- list sessions, or read who revoked what and why.
GRANT EXECUTE ON FUNCTION
    sidegate.look_up(text [], text [], text [], text [], text []),
    sidegate.read_log(bigint, integer)
TO sidegate_verifier, sidegate_admin;

-- The admin: for the sidecars with an admin listener. It registers, revokes, reads the audit trail and removes what
-- matters to nobody any more. Of the log's entries it can change but one thing, that a look-up leaves a watermark out for a
-- newer one; and no limit, and nothing of the schema.
GRANT EXECUTE ON FUNCTION
    sidegate.take_log_lock(),
    sidegate.take_stripes(text [], text [], text [], boolean []),
    sidegate.store_now()
TO sidegate_admin;
GRANT SELECT ON sidegate.store, sidegate.current_store TO sidegate_admin;
GRANT UPDATE (store_id, digest_salt, head_sequence, horizon_sequence, removed_entries) ON sidegate.store
TO sidegate_admin;
GRANT SELECT, INSERT, DELETE ON sidegate.sessions TO sidegate_admin;
GRANT UPDATE (session_expire_time) ON sidegate.sessions TO sidegate_admin;
GRANT SELECT, INSERT, DELETE ON sidegate.revocation_log TO sidegate_admin;
GRANT UPDATE (superseded) ON sidegate.revocation_log TO sidegate_admin;
GRANT SELECT, INSERT, UPDATE, DELETE ON sidegate.requests TO sidegate_admin;

-- Everybody may take advisory locks, and sidegate's order logins and revocations: whoever stole a verifier's password
-- could hold them up, which the admin services would report as UNAVAILABLE. Everybody may make large objects, too, and
-- fill the disk with them. Only a superuser can take that away. The schema's owner needs a lock to migrate.
--
-- NOTIFY nobody can take away. With a stolen password it wakes every sidecar, each up to a hundred times a second, and
-- beside a transaction that listens and never ends it can fill the server's queue of notifications: then revoking is
-- UNAVAILABLE until that session is ended. `pg_notification_queue_usage()` tells how full it is.
DO $$
DECLARE
    function regprocedure;
BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        RAISE NOTICE 'advisory locks and large objects stay open to everybody: only a superuser can close them';
        RETURN;
    END IF;
    FOR function IN
        SELECT oid FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND proname ~ '^pg_(try_)?advisory_'
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', function);
        EXECUTE format(
            'GRANT EXECUTE ON FUNCTION %s TO sidegate_admin, %s',
            function,
            (SELECT nspowner::regrole FROM pg_namespace WHERE oid = 'sidegate'::regnamespace)
        );
    END LOOP;
    REVOKE EXECUTE ON FUNCTION lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea) FROM PUBLIC;
END
$$;
