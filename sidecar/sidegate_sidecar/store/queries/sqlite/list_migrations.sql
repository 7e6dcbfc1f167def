-- The numbers of the migrations applied.
SELECT number
FROM migrations
