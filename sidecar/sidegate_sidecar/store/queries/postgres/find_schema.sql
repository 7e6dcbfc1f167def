-- Whether the schema is there. Its owner may have been given it by somebody who may create schemas.
SELECT to_regnamespace('sidegate') IS NOT NULL
