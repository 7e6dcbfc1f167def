-- What check_database needs, in one row of arrays. The function says more.
SELECT *
FROM sidegate.look_up($1, $2, $3, $4, $5)
