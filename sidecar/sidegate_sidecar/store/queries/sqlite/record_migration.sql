-- Note that a migration was applied, in the transaction that applied it.
INSERT INTO migrations (number, name, apply_time)
VALUES (:number, :name, :now)
