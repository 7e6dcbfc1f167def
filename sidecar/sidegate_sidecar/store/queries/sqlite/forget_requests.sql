-- Drop some expired answers: more than one write adds, few enough for no write to wait.
DELETE FROM requests
WHERE rowid IN (SELECT rowid FROM requests WHERE expire_time <= :now ORDER BY expire_time LIMIT 10)
