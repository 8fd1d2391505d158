//! The triggers of a SQLite table, and the format of their rows.
//!
//! The triggers run in every process that writes into the table, with whichever SQLite version it has. So they use only
//! functions that every version has, and none for JSON. A row is its values in the order of the columns, separated by
//! commas: a letter for the type, then the value. `n` NULL, `i` an integer, `r` a real as `quote` writes it, which is
//! exact, `t` text and `b` a BLOB, both as the hexadecimal digits of their bytes.

use std::fmt::Write as _;

use rusqlite::{Connection, OptionalExtension as _};

use crate::config::TimeForm;
use crate::rule::quote;
use crate::schema::{ColumnType, SqliteDialect};
use crate::sink::changes::{
    Capture, OFFSET_JUMP, Unfit, fields, object, push_base64, push_string, push_timestamp, trigger_name,
};
use crate::sink::literal::{literal, unhex};

/// The schema that stands in the names of triggers.
pub(super) const SCHEMA: &str = "main";

/// A column of the table.
pub(super) struct LiveColumn {
    name: String,
    type_name: String,
    /// `j` json, `o` bool, `z` a timestamp as text, or nothing.
    form: &'static str,
}

/// The table's columns; `None` where there is no such table, a view is none.
pub(super) fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Option<Vec<LiveColumn>>> {
    let is_table = connection
        .prepare_cached("SELECT strict FROM pragma_table_list(?1) WHERE schema = 'main' AND type = 'table'")?
        .query_map([table], |row| row.get::<_, bool>(0))?
        .next()
        .transpose()?;
    let Some(strict) = is_table else { return Ok(None) };
    let mut statement =
        connection.prepare_cached("SELECT name, type FROM pragma_table_xinfo(?1, 'main') WHERE hidden <> 1")?;
    let columns = statement.query_map([table], |row| {
        let (name, type_name): (String, String) = (row.get(0)?, row.get(1)?);
        let form = match SqliteDialect::type_of(&type_name, strict) {
            ColumnType::Json | ColumnType::JsonText => "j",
            ColumnType::Bool => "o",
            ColumnType::TimestampText => "z",
            _ => "",
        };
        Ok(LiveColumn { name, type_name, form })
    })?;
    columns.collect::<rusqlite::Result<Vec<LiveColumn>>>().map(Some)
}

/// Why the changes of what has this name cannot be captured; `None` if they can, or if there is nothing.
pub(in crate::sink::sqlite) fn unfit(connection: &Connection, table: &str) -> rusqlite::Result<Option<Unfit>> {
    let kind = connection
        .prepare_cached("SELECT type FROM pragma_table_list(?1) WHERE schema = 'main'")?
        .query_row([table], |row| row.get::<_, String>(0))
        .optional()?;
    Ok(match kind.as_deref() {
        Some("view") => Some(Unfit::VIEW),
        Some("virtual") => Some(Unfit {
            kind: "a virtual table, and SQLite has no triggers on one",
            remedy: "publish an ordinary table that has the same rows",
        }),
        Some("shadow") => Some(Unfit {
            kind: "a table in which a virtual table keeps its data",
            remedy: "publish an ordinary table that has the same rows",
        }),
        _ => None,
    })
}

/// `[{"name":…,"type":…},…]`
pub(super) fn definition(columns: &[LiveColumn]) -> String {
    let mut text = String::from("[");
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        let members = [("name", &column.name), ("type", &column.type_name)];
        text += &object(members.into_iter().map(|(name, value)| (name, |out: &mut String| push_string(value, out))));
    }
    text.push(']');
    text
}

/// The columns' names and forms, as stored with each captured row.
fn forms(columns: &[LiveColumn]) -> String {
    object(columns.iter().map(|column| (column.name.as_str(), |out: &mut String| push_string(column.form, out))))
}

/// The expression of a row; `row` is NEW, OLD or the name of a table.
fn expression(columns: &[LiveColumn], row: &str) -> String {
    match columns {
        [] => "''".to_owned(),
        [column] => {
            let value = format!("{row}.{}", quote(&column.name));
            format!(
                "CASE typeof({value}) WHEN 'null' THEN 'n' WHEN 'integer' THEN 'i'||{value} WHEN 'real' THEN 'r'||quote({value}) \
                 WHEN 'text' THEN 't'||hex({value}) ELSE 'b'||hex({value}) END"
            )
        }
        // In halves: SQLite bounds how deep an expression may be.
        _ => {
            let (left, right) = columns.split_at(columns.len() / 2);
            format!("({}||','||{})", expression(left, row), expression(right, row))
        }
    }
}

/// The statement that makes the trigger for an event, as it stands in the schema then.
pub(super) fn create_trigger(capture: &Capture, columns: &[LiveColumn], id: i64, event: &str) -> String {
    let [new, old] = [("NEW", "delete"), ("OLD", "insert")]
        .map(|(row, without)| if event == without { "NULL".to_owned() } else { expression(columns, row) });
    format!(
        "CREATE TRIGGER {} AFTER {} ON {} BEGIN INSERT INTO rowbridge_changes (publication, xact, event, columns, new_row, \
         old_row) VALUES ({id}, 1, '{event}', {}, {new}, {old}); {}END",
        quote(&trigger_name(SCHEMA, id, event)),
        event.to_uppercase(),
        quote(&capture.table.name),
        literal(&forms(columns)),
        drop_oldest(id),
    )
}

/// Whether too many changes wait is looked at once in so many: it takes reading as many index entries as may wait.
const LOOK_EVERY: u32 = 1_000;

/// Statements of a trigger that drop the oldest changes beyond those that may wait: without a running bridge nothing
/// else does. Existing rows of the start are not counted, and are deleted with the changes after them.
fn drop_oldest(id: i64) -> String {
    let due = format!("(SELECT {id} WHERE last_insert_rowid() % {LOOK_EVERY} = 0)");
    format!(
        "DELETE FROM rowbridge_changes WHERE publication = {due} AND number <= (SELECT number FROM rowbridge_changes \
         WHERE publication = {due} AND xact <> 0 ORDER BY number DESC \
         LIMIT 1 OFFSET (SELECT max_pending FROM rowbridge_publications WHERE id = {id})); \
         UPDATE rowbridge_publications SET dropped_first = coalesce(dropped_first, next_offset), \
         dropped_last = next_offset + changes() - 1, next_offset = next_offset + changes() + {OFFSET_JUMP} \
         WHERE id = {due} AND changes() > 0; "
    )
}

/// The statement that copies all rows to the changes, in the order of the primary key. `xact` is 0 for the rows of the start.
pub(super) fn copy(
    connection: &Connection,
    capture: &Capture,
    columns: &[LiveColumn],
    id: i64,
    xact: i64,
) -> rusqlite::Result<String> {
    let table = quote(&capture.table.name);
    let mut statement =
        connection.prepare_cached("SELECT name FROM pragma_table_info(?1, 'main') WHERE pk > 0 ORDER BY pk")?;
    let key = statement.query_map([&capture.table.name], |row| Ok(quote(&row.get::<_, String>(0)?)))?;
    let key: Vec<String> = key.collect::<rusqlite::Result<_>>()?;
    // A table without a key has row numbers, which say in which order the rows came.
    let order = if key.is_empty() { "rowid".to_owned() } else { key.join(", ") };
    Ok(format!(
        "INSERT INTO rowbridge_changes (publication, xact, event, columns, new_row) \
         SELECT {id}, {xact}, 'insert', {}, {} FROM {table} ORDER BY {order}",
        literal(&forms(columns)),
        expression(columns, &table),
    ))
}

/// The published form of a captured row; `None` for what no trigger of ours wrote.
pub(super) fn decode(row: &str, forms: &str, encoding: Encoding, time: TimeForm) -> Option<String> {
    let columns = fields(forms)?;
    let values: Vec<&str> = row.split(',').collect();
    if values.len() != columns.len() {
        return None;
    }
    let members = columns.iter().zip(values).map(|((name, form), value)| {
        let form = form.trim_matches('"').to_owned();
        (name.as_str(), move |out: &mut String| push_value(value, &form, encoding, time, out))
    });
    Some(object(members))
}

/// How the file keeps text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Utf8,
    Utf16Le,
    Utf16Be,
}

impl Encoding {
    /// As `PRAGMA encoding` names it.
    pub(super) fn of_name(name: &str) -> Encoding {
        match name {
            "UTF-16le" => Encoding::Utf16Le,
            "UTF-16be" => Encoding::Utf16Be,
            _ => Encoding::Utf8,
        }
    }

    fn text(self, bytes: &[u8]) -> String {
        let units = |join: fn([u8; 2]) -> u16| {
            let units = bytes.chunks_exact(2).map(|pair| join([pair[0], pair[1]]));
            char::decode_utf16(units).map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        };
        match self {
            // JSON has no form for bytes that are no UTF-8.
            Encoding::Utf8 => String::from_utf8_lossy(bytes).into_owned(),
            Encoding::Utf16Le => units(u16::from_le_bytes),
            Encoding::Utf16Be => units(u16::from_be_bytes),
        }
    }
}

fn push_value(value: &str, form: &str, encoding: Encoding, time: TimeForm, out: &mut String) {
    let (kind, rest) = value.split_at_checked(1).unwrap_or(("n", ""));
    match (kind, form) {
        ("i", "o") if rest == "0" || rest == "1" => out.push_str(if rest == "1" { "true" } else { "false" }),
        ("i", _) => out.push_str(rest),
        ("r", _) => push_real(rest, out),
        ("t", _) => {
            let text = encoding.text(&unhex(rest).unwrap_or_default());
            match form {
                "j" if serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok() => out.push_str(&text),
                "z" => push_timestamp(&text, time, out),
                _ => push_string(&text, out),
            }
        }
        ("b", _) => push_base64(&unhex(rest).unwrap_or_default(), out),
        _ => out.push_str("null"),
    }
}

/// JSON has no form for what is infinite: a string, as Postgres writes it.
fn push_real(text: &str, out: &mut String) {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => drop(write!(out, "{}", serde_json::Value::from(number))),
        _ => push_string(if text.starts_with('-') { "-Infinity" } else { "Infinity" }, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Events;

    fn capture() -> Capture {
        Capture {
            bridge: "b".into(),
            name: "p".into(),
            table: crate::rule::TableName { schema: None, name: "t".into() },
            events: Events { insert: true, update: true, delete: true },
            with_existing: false,
            settings: String::new(),
            tells_definition: false,
            max_pending: 1_000_000,
            time: TimeForm::Rfc3339,
        }
    }

    /// What is published of a row, by way of the real trigger.
    fn published(definition: &str, values: &str, time: TimeForm) -> String {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(include_str!("../../../../migrations/sqlite/publish/0001_changes.sql"))
            .and_then(|()| connection.execute_batch(&format!("CREATE TABLE t ({definition})")))
            .unwrap();
        let columns = columns(&connection, "t").unwrap().unwrap();
        connection.execute_batch(&create_trigger(&capture(), &columns, 1, "insert")).unwrap();
        connection.execute_batch(&format!("INSERT INTO t VALUES ({values})")).unwrap();
        let query = "SELECT new_row, columns FROM rowbridge_changes";
        let (row, forms): (String, String) =
            connection.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        decode(&row, &forms, Encoding::Utf8, time).unwrap()
    }

    #[test]
    fn every_value_comes_out_as_it_went_in() {
        let definition = "\"a b\" INTEGER, r REAL, s TEXT, x BLOB, y ANY, on_ BOOLEAN, j JSON, at TIMESTAMP, inf REAL";
        let values = "9007199254740993, 0.1, 'it''s, \"so\"', x'00ff', NULL, 1, '{\"a\": 1}', \
                      '2026-11-21T08:26:00.123Z', 9e999";
        let expected = r#"{"a b":9007199254740993,"r":0.1,"s":"it's, \"so\"","x":"AP8=","y":null,"on_":true,"j":{"a": 1},"at":1795249560123,"inf":"Infinity"}"#;
        assert_eq!(published(definition, values, TimeForm::Epoch(1_000)), expected);
    }

    #[test]
    fn only_of_tables_are_changes_captured_and_the_others_are_told_apart() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("CREATE TABLE t (a); CREATE VIEW v AS SELECT a FROM t; CREATE VIRTUAL TABLE f USING fts5(a)")
            .unwrap();
        for (name, words) in [
            ("T", None),
            ("absent", None),
            ("V", Some("it is a view: publish the table behind it")),
            ("f", Some("it is a virtual table, and SQLite has no triggers on one: publish an ordinary table")),
            ("f_data", Some("it is a table in which a virtual table keeps its data: publish")),
        ] {
            let found = unfit(&connection, name).unwrap().map(|unfit| unfit.to_string());
            assert_eq!(found.is_some(), words.is_some(), "{name}: {found:?}");
            assert!(found.unwrap_or_default().starts_with(words.unwrap_or_default()), "{name}");
            assert_eq!(columns(&connection, name).unwrap().is_some(), name == "T", "{name}");
        }
    }

    #[test]
    fn a_table_of_many_columns_has_a_trigger_too() {
        let names: Vec<String> = (0..1_500).map(|index| format!("c{index}")).collect();
        let values: Vec<String> = (0..1_500).map(|index| index.to_string()).collect();
        let row = published(&names.join(", "), &values.join(", "), TimeForm::Rfc3339);
        assert!(row.starts_with(r#"{"c0":0,"#) && row.ends_with(r#","c1499":1499}"#), "{row}");
    }

    #[test]
    fn triggers_drop_the_oldest_beyond_what_may_wait_and_move_the_offset() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(include_str!("../../../../migrations/sqlite/publish/0001_changes.sql"))
            .and_then(|()| {
                connection.execute_batch(
                    "INSERT INTO rowbridge_publications (id, bridge, name, table_name, updated_at, max_pending) \
                     VALUES (1, 'b', 'p', 't', '', 500); CREATE TABLE t (a)",
                )
            })
            .unwrap();
        let columns = columns(&connection, "t").unwrap().unwrap();
        connection.execute_batch(&create_trigger(&capture(), &columns, 1, "insert")).unwrap();
        let insert = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3200) \
                      INSERT INTO t SELECT i FROM n";
        connection.execute_batch(insert).unwrap();
        let query = "SELECT count(*), min(number), next_offset, dropped_first, dropped_last \
                     FROM rowbridge_changes, rowbridge_publications";
        let found: (i64, i64, i64, i64, i64) = connection
            .query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))
            .unwrap();
        // Dropped at 1,000, 2,000 and 3,000.
        assert_eq!(found, (700, 2_501, 2_501 + 3 * OFFSET_JUMP as i64, 1, 2_500 + 2 * OFFSET_JUMP as i64));
    }

    #[test]
    fn every_double_stays_the_same() {
        for number in [1.0 / 3.0, 5e-324, f64::MAX, -0.1 - 0.2, 1e23, 9_007_199_254_740_993.0] {
            let row = published("r REAL", &format!("{number:e}"), TimeForm::Rfc3339);
            let back = row[5..row.len() - 1].parse::<f64>().unwrap();
            assert_eq!(back.to_bits(), number.to_bits(), "{row}");
        }
    }
}
