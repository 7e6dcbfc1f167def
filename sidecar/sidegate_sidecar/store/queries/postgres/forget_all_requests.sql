-- Their answers name revisions of the history before.
DELETE FROM sidegate.requests
