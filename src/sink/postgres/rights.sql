WITH targets AS (
    SELECT c.oid, c.relnamespace, t.needed, t.column_name
    FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($4::text[]),
                    pg_catalog.unnest($5::text[]))
        AS t (schema, name, needed, column_name)
    JOIN pg_catalog.pg_namespace n ON n.nspname = t.schema
    JOIN pg_catalog.pg_class c
      ON c.relnamespace = n.oid AND c.relname = t.name
), own AS (
    SELECT c.oid, c.relnamespace
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $3
      AND c.relname = ANY ($6::text[])
), missing AS (
    -- A right on the table is one on each of its columns. A column without a name stands for any; one that is gone is
    -- told elsewhere.
    SELECT pg_catalog.string_agg(DISTINCT t.needed, ', ') AS rights, t.oid AS object
    FROM targets t
    LEFT JOIN pg_catalog.pg_attribute a
      ON a.attrelid = t.oid AND a.attname = t.column_name AND NOT a.attisdropped
    GROUP BY t.oid
    HAVING pg_catalog.bool_or(CASE
        WHEN t.column_name = '' THEN NOT pg_catalog.has_any_column_privilege(t.oid, t.needed)
        WHEN a.attnum IS NULL THEN false
        ELSE NOT pg_catalog.has_column_privilege(t.oid, a.attnum, t.needed) END)
    UNION
    SELECT 'SELECT, INSERT, UPDATE, DELETE', oid FROM own
    WHERE NOT (pg_catalog.has_table_privilege(oid, 'SELECT') AND pg_catalog.has_table_privilege(oid, 'INSERT')
               AND pg_catalog.has_table_privilege(oid, 'UPDATE') AND pg_catalog.has_table_privilege(oid, 'DELETE'))
    UNION
    SELECT 'USAGE', s.oid
    FROM targets t
    JOIN pg_catalog.pg_attrdef a ON a.adrelid = t.oid
    JOIN pg_catalog.pg_depend d ON d.objid = a.oid
      AND d.classid = 'pg_catalog.pg_attrdef'::regclass
      AND d.refclassid = 'pg_catalog.pg_class'::regclass
    JOIN pg_catalog.pg_class s ON s.oid = d.refobjid
    -- In this order: of anything but a sequence the question is an error.
    WHERE CASE WHEN s.relkind = 'S' THEN NOT pg_catalog.has_sequence_privilege(s.oid, 'USAGE, UPDATE') ELSE false END
)
SELECT pg_catalog.format('GRANT USAGE ON SCHEMA %I TO %I;', n.nspname, CURRENT_USER)
FROM pg_catalog.pg_namespace n
WHERE n.oid IN (SELECT relnamespace FROM targets UNION SELECT relnamespace FROM own)
  AND NOT pg_catalog.has_schema_privilege(n.oid, 'USAGE')
UNION ALL
SELECT pg_catalog.format('GRANT %s ON %s %I.%I TO %I;', m.rights,
                         CASE WHEN c.relkind = 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
                         n.nspname, c.relname, CURRENT_USER)
FROM missing m
JOIN pg_catalog.pg_class c ON c.oid = m.object
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
