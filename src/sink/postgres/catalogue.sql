-- The types that a table's columns are made of, followed through domains and array elements.
-- Every column of the answer has a built-in type, so that the driver prepares no statement of its own to look one up.
WITH RECURSIVE reached(oid) AS (
    SELECT a.atttypid
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped
    UNION
    SELECT CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.typelem END
    FROM reached r
    JOIN pg_catalog.pg_type t ON t.oid = r.oid
    WHERE t.typtype = 'd' OR t.typcategory = 'A'
)
SELECT t.oid,
       t.typname::text,
       n.nspname::text,
       t.typtype::text,
       t.typbasetype,
       t.typtypmod,
       t.typnotnull,
       t.typdefault IS NOT NULL,
       -- Only a true array type has an element whose array type it is: oidvector and name do not.
       COALESCE((SELECT e.oid FROM pg_catalog.pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid), 0::oid),
       ARRAY(SELECT l.enumlabel::text FROM pg_catalog.pg_enum l WHERE l.enumtypid = t.oid ORDER BY l.enumsortorder),
       -- What `witness` compares: of types that others are made of, since the built-in ones stay as they are.
       CASE WHEN t.typtype IN ('d', 'e') THEN
       pg_catalog.hashtextextended(ROW(t.oid, t.typbasetype, t.typtypmod, t.typnotnull, t.typdefault IS NOT NULL, ARRAY(SELECT l.enumlabel FROM pg_catalog.pg_enum l WHERE l.enumtypid OPERATOR(pg_catalog.=) t.oid ORDER BY l.enumsortorder))::pg_catalog.text, 0)
       END,
       t.typarray,
       t.typdelim::text
FROM reached r
JOIN pg_catalog.pg_type t ON t.oid = r.oid
JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
