-- Note which entries are gone, in the transaction that removes them. The horizon never goes back.
UPDATE store
SET
    horizon = max(horizon, :highest),
    removed = removed + :count
