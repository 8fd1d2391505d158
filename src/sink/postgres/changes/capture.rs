//! The SQL of capturing: the function that the triggers call, and the triggers.
//!
//! The triggers are statement-level with transition tables: a COPY of 5,000 rows is one call. The function belongs to
//! Rowbridge's role and runs with its rights, so every role that may write into the table can run it. Its `search_path`
//! and every setting that affects the text of a value are its own. If Rowbridge's table was dropped, the function
//! captures nothing, because the user's writes must not fail.
//!
//! The function changes nothing in the writing session. A sequence number would change the session's `lastval()`, and
//! reading existing numbers would cause serialization failures. So a transaction counts its changes in a setting,
//! [`NUMBER`], which ends with the transaction and is reset with a savepoint. The first number is the time, so a
//! transaction that loses the setting (RESET ALL) continues above the numbers that it has used.
//!
//! From time to time the function tests whether more changes wait than allowed, and drops the oldest. Without a running
//! bridge nothing else would drop them. The function never waits for a lock, and drops nothing in isolation levels in
//! which its UPDATE could make the user's transaction fail. While the existing rows are copied it drops nothing,
//! because the copying transaction has locked the publication's row.
//!
//! The triggers contain the table's name: a renamed table is no longer captured.
//!
//! For an UPDATE, the two transition tables hold the rows in the same order. One case differs: a trigger of a partition
//! prevents a row from moving there. The row is then missing in one of the tables, and the published change has no old
//! row rather than a wrong one.

use crate::rule::{TableName, quote};
use crate::sink::changes::{OFFSET_JUMP, trigger_name};
use crate::sink::postgres::transaction::literal;

/// Whether too many changes wait is looked at once in so many, by chance: it takes reading as many index entries as may wait. A
/// power of two.
const LOOK_EVERY: u32 = 1024;

/// The setting that holds the number of a transaction's last change.
const NUMBER: &str = "rowbridge.last_number";

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

/// The columns of a relation for which JSON has no form, by name: `b` for bytea, `t` for timestamp and `z` for
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
    let look = LOOK_EVERY - 1;
    // Columns of the user's table may have the names of variables.
    format!(
        "
#variable_conflict use_variable
DECLARE
    forms text;
    publication_id CONSTANT bigint := TG_ARGV[0];
    last_number bigint;
    written bigint;
    most bigint;
    dropped bigint;
BEGIN
    IF to_regclass('{literal}') IS NULL THEN
        RETURN NULL;
    END IF;
    IF TG_NARGS > 1 AND (TG_ARGV[1] <> TG_TABLE_SCHEMA OR TG_ARGV[2] <> TG_TABLE_NAME) THEN
        RETURN NULL;
    END IF;
    {forms};
    last_number := coalesce(nullif(current_setting('{NUMBER}', true), '')::bigint,
        (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
    IF TG_OP = 'INSERT' THEN
        INSERT INTO {changes} (publication, xact, number, event, columns, new_row)
        SELECT publication_id, txid_current(), last_number + row_number() OVER (), 'insert', forms, row_to_json(n.*)::text
        FROM rowbridge_new n;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO {changes} (publication, xact, number, event, columns, old_row)
        SELECT publication_id, txid_current(), last_number + row_number() OVER (), 'delete', forms, row_to_json(o.*)::text
        FROM rowbridge_old o;
    ELSE
        INSERT INTO {changes} (publication, xact, number, event, columns, new_row, old_row)
        SELECT publication_id, txid_current(), last_number + a.place, 'update', forms, a.line, b.line
        FROM (SELECT row_number() OVER () AS place, row_to_json(n.*)::text AS line FROM rowbridge_new n) AS a
        LEFT JOIN (SELECT row_number() OVER () AS place, row_to_json(o.*)::text AS line FROM rowbridge_old o) AS b
        ON b.place = a.place AND (SELECT count(*) FROM rowbridge_old) = (SELECT count(*) FROM rowbridge_new);
    END IF;
    GET DIAGNOSTICS written = ROW_COUNT;
    IF written = 0 THEN
        RETURN NULL;
    END IF;
    PERFORM set_config('{NUMBER}', (last_number + written)::text, true);
    PERFORM pg_notify('rowbridge_changes', TG_ARGV[0]);
    IF hashint8extended(txid_current(), last_number) & {look} >= written
        OR current_setting('transaction_isolation') <> 'read committed' THEN
        RETURN NULL;
    END IF;
    SELECT max_pending INTO most FROM {publications} WHERE id = publication_id;
    PERFORM FROM {changes} WHERE publication = publication_id AND xact <> 0
    ORDER BY xact DESC, number DESC OFFSET most LIMIT 1;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    PERFORM FROM {publications} WHERE id = publication_id FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    {drop} INTO dropped;
    UPDATE {publications} SET next_offset = next_offset + dropped + {OFFSET_JUMP},
        dropped_first = coalesce(dropped_first, next_offset), dropped_last = next_offset + dropped - 1
    WHERE id = publication_id AND dropped > 0;
    RETURN NULL;
END
"
    )
}

/// Deletes the changes of a publication beyond those that may wait, the oldest first, and selects their number.
/// Existing rows of the start are not counted, and are deleted with the changes after them. A change whose position is
/// not final yet is not deleted.
pub(super) fn drop_oldest(schema: &str, id: &str, most: &str) -> String {
    let changes = format!("{}.rowbridge_changes", quote(schema));
    format!(
        "WITH last AS (SELECT c.xact, c.number FROM {changes} c WHERE c.publication = {id} AND c.xact <> 0 \
         ORDER BY c.xact DESC, c.number DESC OFFSET {most} LIMIT 1), \
         gone AS (DELETE FROM {changes} c USING last WHERE c.publication = {id} \
         AND (c.xact, c.number) <= (last.xact, last.number) \
         AND c.xact < pg_catalog.txid_snapshot_xmin(pg_catalog.txid_current_snapshot()) RETURNING 1) \
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

/// What lets a role use function and tables that an administrator made.
pub(super) fn given_to(schema: &str, role: &str) -> String {
    let (schema, role) = (quote(schema), quote(role));
    format!(
        "ALTER FUNCTION {schema}.{FUNCTION}() OWNER TO {role};\n\
         GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.rowbridge_publications, {schema}.rowbridge_changes TO {role};"
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
         EXECUTE FUNCTION {}.{FUNCTION}('{id}', {}, {});",
        quote(&trigger_name(own_schema, id, event)),
        table.quoted(),
        quote(own_schema),
        literal(table.schema.as_deref().unwrap_or_default()),
        literal(&table.name),
    )
}

pub(super) fn drop_trigger(name: &str, table: &str) -> String {
    format!("DROP TRIGGER IF EXISTS {} ON {table};", quote(name))
}
