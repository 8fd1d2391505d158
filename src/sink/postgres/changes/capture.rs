//! The SQL of capturing: the function that the triggers call, and the triggers.
//!
//! The triggers are statement-level with transition tables: a COPY of 5,000 rows is one call. The function belongs to
//! Rowbridge's role and runs with its rights, so whoever may write into the table can; its `search_path` and every setting
//! that decides how a value is written are its own. If Rowbridge's table was dropped it captures nothing: the user's writes
//! must not fail for it.
//!
//! Of an UPDATE, the two transition tables hold the rows in the same order. Only a row that a trigger of a partition keeps from
//! moving there is missing in one of them; then no row's old state is told rather than a wrong one.

use crate::rule::{TableName, quote};
use crate::sink::changes::Capture;

pub(super) const FUNCTION: &str = "rowbridge_capture";

/// How values of every session are written, whatever its settings.
pub(super) const SETTINGS: [(&str, &str); 6] = [
    ("TimeZone", "UTC"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "iso_8601"),
    ("extra_float_digits", "1"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
];

/// The columns of a relation that JSON has no form of its own for, by name: `b` for bytea, `t` for timestamp and `z` for
/// timestamptz, arrays and domains of them included. `$relation` stands for its OID.
pub(super) const FORMS: &str = "SELECT pg_catalog.json_object_agg(a.attname::text, f.form)::text \
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
    JOIN (VALUES (17, 'b'), (1001, 'b'), (1114, 't'), (1115, 't'), (1184, 'z'), (1185, 'z')) AS f (type, form) \
    ON f.type::pg_catalog.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END \
    WHERE a.attrelid = $relation AND a.attnum > 0 AND NOT a.attisdropped";

/// The function's body, by which it is recognised.
pub(super) fn body(schema: &str) -> String {
    let changes = format!("{}.rowbridge_changes", quote(schema));
    let literal = changes.replace('\'', "''");
    let forms = FORMS.replacen("::text FROM", "::text INTO forms FROM", 1).replace("$relation", "TG_RELID");
    format!(
        "
DECLARE
    forms text;
    publication_id CONSTANT bigint := TG_ARGV[0];
BEGIN
    IF to_regclass('{literal}') IS NULL THEN
        RETURN NULL;
    END IF;
    {forms};
    IF TG_OP = 'INSERT' THEN
        INSERT INTO {changes} (publication, xact, event, columns, new_row)
        SELECT publication_id, txid_current(), 'insert', forms, row_to_json(n.*)::text FROM rowbridge_new n;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO {changes} (publication, xact, event, columns, old_row)
        SELECT publication_id, txid_current(), 'delete', forms, row_to_json(o.*)::text FROM rowbridge_old o;
    ELSE
        INSERT INTO {changes} (publication, xact, event, columns, new_row, old_row)
        SELECT publication_id, txid_current(), 'update', forms, a.line, b.line
        FROM (SELECT row_number() OVER () AS place, row_to_json(n.*)::text AS line FROM rowbridge_new n) AS a
        LEFT JOIN (SELECT row_number() OVER () AS place, row_to_json(o.*)::text AS line FROM rowbridge_old o) AS b
        ON b.place = a.place AND (SELECT count(*) FROM rowbridge_old) = (SELECT count(*) FROM rowbridge_new)
        ORDER BY a.place;
    END IF;
    IF FOUND THEN
        PERFORM pg_notify('rowbridge_changes', TG_ARGV[0]);
    END IF;
    RETURN NULL;
END
"
    )
}

/// Makes the function, or replaces it.
pub(super) fn create_function(schema: &str) -> String {
    let name = format!("{}.{FUNCTION}()", quote(schema));
    let settings: String = SETTINGS.iter().map(|(name, value)| format!(" SET {name} = '{value}'")).collect();
    format!(
        "CREATE OR REPLACE FUNCTION {name} RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER \
         SET search_path = pg_catalog, pg_temp{settings} AS $rowbridge${}$rowbridge$;\n\
         REVOKE ALL ON FUNCTION {name} FROM PUBLIC;",
        body(schema)
    )
}

/// Makes the trigger for an event.
pub(super) fn create_trigger(capture: &Capture, own_schema: &str, table: &TableName, id: i64, event: &str) -> String {
    let transition = match event {
        "insert" => "NEW TABLE AS rowbridge_new",
        "delete" => "OLD TABLE AS rowbridge_old",
        _ => "OLD TABLE AS rowbridge_old NEW TABLE AS rowbridge_new",
    };
    format!(
        "CREATE TRIGGER {} AFTER {event} ON {} REFERENCING {transition} FOR EACH STATEMENT \
         EXECUTE FUNCTION {}.{FUNCTION}('{id}');",
        quote(&capture.trigger(own_schema, event)),
        table.quoted(),
        quote(own_schema),
    )
}

pub(super) fn drop_trigger(name: &str, table: &str) -> String {
    format!("DROP TRIGGER IF EXISTS {} ON {table};", quote(name))
}
