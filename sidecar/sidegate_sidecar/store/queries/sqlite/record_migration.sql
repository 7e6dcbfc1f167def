-- Note that a migration was applied, in the transaction that applied it.
INSERT INTO migrations (number, name, apply_time, safe_before)
VALUES (:number, :name, :now, :safe_before)
