-- Hand out sequences up to here. Under the write lock, in the transaction that writes the entries.
UPDATE store
SET head_sequence = :head
