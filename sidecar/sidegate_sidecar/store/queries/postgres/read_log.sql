-- A page of the log and the head, in one row of arrays. The function says more.
SELECT *
FROM sidegate.read_log($1, $2)
