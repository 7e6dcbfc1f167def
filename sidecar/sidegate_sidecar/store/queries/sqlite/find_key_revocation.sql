-- Whether a key is revoked.
SELECT 1
FROM revocation_log AS revocation
WHERE revocation.kind = 'k' AND revocation.issuer = :issuer AND revocation.subject = :subject
