//! The SQL of capturing: the function that the triggers call, and the triggers.
//!
//! The triggers are statement-level with transition tables: a COPY of 5,000 rows is one call. The function belongs to
//! Rowbridge's role and runs with its rights, so whoever may write into the table can; its `search_path` and every setting
//! that decides how a value is written are its own. If Rowbridge's table was dropped it captures nothing: the user's writes
//! must not fail for it.
//!
//! Now and then the function looks whether more changes wait than may, and drops the oldest: nobody else does where no bridge
//! runs. It waits for nobody there, and does nothing in isolation levels in which its UPDATE could make the user's
//! transaction fail.
//!
//! Of an UPDATE, the two transition tables hold the rows in the same order. Only a row that a trigger of a partition keeps from
//! moving there is missing in one of them; then no row's old state is told rather than a wrong one.

use crate::rule::{TableName, quote};
use crate::sink::changes::trigger_name;

/// Whether too many changes wait is looked at once in so many: it takes reading as many index entries as may wait.
const LOOK_EVERY: u32 = 1024;

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
    let publications = format!("{}.rowbridge_publications", quote(schema));
    let drop = drop_oldest(schema, "publication_id", "most");
    let forms = FORMS.replacen("::text FROM", "::text INTO forms FROM", 1).replace("$relation", "TG_RELID");
    format!(
        "
DECLARE
    forms text;
    publication_id CONSTANT bigint := TG_ARGV[0];
    written bigint;
    most bigint;
    dropped bigint;
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
    GET DIAGNOSTICS written = ROW_COUNT;
    IF written = 0 THEN
        RETURN NULL;
    END IF;
    PERFORM pg_notify('rowbridge_changes', TG_ARGV[0]);
    IF lastval() % {LOOK_EVERY} >= written OR current_setting('transaction_isolation') <> 'read committed' THEN
        RETURN NULL;
    END IF;
    SELECT max_pending INTO most FROM {publications} WHERE id = publication_id;
    PERFORM FROM {changes} WHERE publication = publication_id ORDER BY xact DESC, number DESC OFFSET most LIMIT 1;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    PERFORM FROM {publications} WHERE id = publication_id FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    {drop} INTO dropped;
    UPDATE {publications} SET next_offset = next_offset + dropped,
        dropped_first = coalesce(dropped_first, next_offset), dropped_last = next_offset + dropped - 1
    WHERE id = publication_id AND dropped > 0;
    RETURN NULL;
END
"
    )
}

/// Deletes the changes of a publication beyond those that may wait, the oldest, and selects how many those were. None while
/// rows of the start wait, and none whose place is not settled yet.
pub(super) fn drop_oldest(schema: &str, id: &str, most: &str) -> String {
    let changes = format!("{}.rowbridge_changes", quote(schema));
    format!(
        "WITH last AS (SELECT c.xact, c.number FROM {changes} c WHERE c.publication = {id} \
         ORDER BY c.xact DESC, c.number DESC OFFSET {most} LIMIT 1), \
         gone AS (DELETE FROM {changes} c USING last WHERE c.publication = {id} \
         AND (c.xact, c.number) <= (last.xact, last.number) \
         AND c.xact < pg_catalog.txid_snapshot_xmin(pg_catalog.txid_current_snapshot()) \
         AND NOT EXISTS (SELECT 1 FROM {changes} s WHERE s.publication = {id} AND s.xact = 0) RETURNING 1) \
         SELECT pg_catalog.count(*) FROM gone"
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
pub(super) fn create_trigger(own_schema: &str, table: &TableName, id: i64, event: &str) -> String {
    let transition = match event {
        "insert" => "NEW TABLE AS rowbridge_new",
        "delete" => "OLD TABLE AS rowbridge_old",
        _ => "OLD TABLE AS rowbridge_old NEW TABLE AS rowbridge_new",
    };
    format!(
        "CREATE TRIGGER {} AFTER {event} ON {} REFERENCING {transition} FOR EACH STATEMENT \
         EXECUTE FUNCTION {}.{FUNCTION}('{id}');",
        quote(&trigger_name(own_schema, id, event)),
        table.quoted(),
        quote(own_schema),
    )
}

pub(super) fn drop_trigger(name: &str, table: &str) -> String {
    format!("DROP TRIGGER IF EXISTS {} ON {table};", quote(name))
}
