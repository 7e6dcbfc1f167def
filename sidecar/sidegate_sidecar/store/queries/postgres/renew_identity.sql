-- A new id and salt, so that no revision of before compares with one of after.
UPDATE sidegate.store
SET
    store_id = gen_random_uuid(),
    digest_salt = uuid_send(gen_random_uuid())
WHERE store_id = $1
