-- Safe: before the deploy.
--
-- The first schema. Instants and spans are microseconds; instants count from the Unix epoch, UTC.

-- What the whole store shares. One row.
CREATE TABLE store (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    store_id TEXT NOT NULL,
    digest_salt BLOB NOT NULL CHECK (length(digest_salt) = 16),
    -- The last sequence handed out; 0 is the empty log. Changed only by the transaction that holds the write lock.
    head_sequence INTEGER NOT NULL CHECK (head_sequence >= 0),
    max_token_lifetime INTEGER NOT NULL,
    leeway INTEGER NOT NULL,
    max_session_lifetime INTEGER NOT NULL
) STRICT;

-- Registered sessions. Whether one is revoked stands in the log alone.
CREATE TABLE sessions (
    issuer TEXT NOT NULL,
    session_handle TEXT NOT NULL,
    user_id TEXT NOT NULL,
    tenant_id TEXT NOT NULL,
    create_time INTEGER NOT NULL,
    session_expire_time INTEGER NOT NULL CHECK (session_expire_time > create_time),
    PRIMARY KEY (issuer, session_handle)
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_by_user ON sessions (issuer, user_id, session_handle);

-- The truth. Entries are appended and never changed, but for a forget_time that raised limits put off, and a watermark
-- that newer ones make superfluous.
CREATE TABLE revocation_log (
    sequence INTEGER PRIMARY KEY,
    entry_id BLOB NOT NULL CHECK (length(entry_id) = 16),
    -- s: session, u: user, t: tenant, k: key.
    kind TEXT NOT NULL CHECK (kind IN ('s', 'u', 't', 'k')),
    issuer TEXT NOT NULL,
    -- The handle, user, tenant or key thumbprint.
    subject TEXT NOT NULL,
    -- u: the tenant that it is limited to. NULL: all.
    tenant_id TEXT,
    -- u: the session that it spares. NULL: none.
    except_session_handle TEXT,
    revoke_time INTEGER NOT NULL,
    -- NULL: never.
    forget_time INTEGER,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    request_id TEXT,
    -- u: the subject again. s: the user, where the session was registered. So that one index serves the audit trail.
    user_id TEXT,
    -- k: the kid, where it was given.
    key_id TEXT,
    -- s: the watermark that ended it. NULL: it was revoked by itself.
    cause_sequence INTEGER,
    -- u: whatever it covers newer ones cover, for at least as long. So a look-up leaves it out.
    superseded INTEGER NOT NULL DEFAULT 0 CHECK (superseded IN (0, 1))
) STRICT;

-- The revoked handles; each once, for what is revoked stays so. The subject leads, so that the audit trail can do
-- without the issuer.
CREATE UNIQUE INDEX revoked_sessions ON revocation_log (subject, issuer) WHERE kind = 's';

-- Watermarks, the newest first: a look-up reads the first that does not spare its session, and only the index. It
-- would go to the table for the kind, were it not in here.
CREATE INDEX user_watermarks
ON revocation_log (subject, issuer, revoke_time DESC, tenant_id, except_session_handle, kind, superseded)
WHERE kind = 'u' AND superseded = 0;

CREATE INDEX tenant_watermarks ON revocation_log (subject, issuer, revoke_time DESC, kind) WHERE kind = 't';

-- For the audit trail.
CREATE INDEX revocations_by_user ON revocation_log (user_id, issuer, sequence) WHERE user_id IS NOT NULL;

CREATE INDEX revocations_by_tenant ON revocation_log (tenant_id, issuer, sequence) WHERE tenant_id IS NOT NULL;

-- Requests by their idempotency key and what was answered, for 24 h.
CREATE TABLE requests (
    actor TEXT NOT NULL,
    request_id TEXT NOT NULL,
    -- SHA-256 of what was asked.
    fingerprint BLOB NOT NULL,
    -- JSON.
    response TEXT NOT NULL,
    expire_time INTEGER NOT NULL,
    PRIMARY KEY (actor, request_id)
) STRICT;

CREATE INDEX requests_by_expiry ON requests (expire_time);
