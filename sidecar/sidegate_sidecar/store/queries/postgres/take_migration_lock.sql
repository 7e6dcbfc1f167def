-- One process migrates at a time; the others wait, and find nothing left to do.
SELECT pg_advisory_xact_lock(1373530751)
