-- Under raised limits what is revoked already can live longer too. Too long is safe, so every entry gets all of it.
UPDATE sidegate.revocation_log
SET forget_time = forget_time + $1
WHERE forget_time IS NOT NULL
