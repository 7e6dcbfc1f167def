-- Log a key for ever, unless it is revoked already.
INSERT INTO sidegate.revocation_log (
    sequence, kind, issuer, subject, revoke_time, forget_time, actor, reason, request_id, key_id, head_sequence
)
VALUES ($1, 'k', $2, $3, $4, NULL, $5, $6, $7, $8, $1)
ON CONFLICT (subject, issuer) WHERE kind = 'k' DO NOTHING
