-- A new id and salt, so that no revision of before compares with one of after.
UPDATE store
SET
    store_id = :new_store_id,
    digest_salt = randomblob(16)
WHERE store_id = :store_id
