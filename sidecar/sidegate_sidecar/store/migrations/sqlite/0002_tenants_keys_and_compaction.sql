-- Safe: before the deploy.
--
-- Revoking tenants and keys, and removing what matters to nobody any more.

-- For a release that does not know the migration: whether it can work with it. The first one was safe before.
ALTER TABLE migrations ADD COLUMN safe_before INTEGER NOT NULL DEFAULT 1 CHECK (safe_before IN (0, 1));

-- The highest sequence whose entry was ever removed; 0: none was.
ALTER TABLE store ADD COLUMN horizon INTEGER NOT NULL DEFAULT 0 CHECK (horizon >= 0);

-- How many entries were ever removed.
ALTER TABLE store ADD COLUMN removed INTEGER NOT NULL DEFAULT 0 CHECK (removed >= 0);

-- Revoked keys, each once. A look-up reads only the index, which is why the kind is in it.
CREATE UNIQUE INDEX revoked_keys ON revocation_log (subject, issuer, kind) WHERE kind = 'k';

-- For revoking a tenant. Sessions of none are never looked for by it.
CREATE INDEX sessions_by_tenant ON sessions (issuer, tenant_id, session_handle) WHERE tenant_id <> '';

-- For compaction.
CREATE INDEX sessions_by_expiry ON sessions (session_expire_time);

CREATE INDEX revocations_by_forgetting ON revocation_log (forget_time) WHERE forget_time IS NOT NULL;
