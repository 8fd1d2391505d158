//! `create`: whether a missing table is made, and with which primary key and indexes.

use std::sync::Arc;

use super::table::Table;
use super::value::Value;
use crate::config::Create;
use crate::rule::IDENTIFIER_BYTES_MAX;

/// Columns of a key or index: Postgres holds no more.
const COLUMNS_MAX: usize = 32;
/// Indexes of a rule: each of them is written with every row.
const INDEXES_MAX: usize = 16;

const FORMS: &str = "true, false, or a mapping such as { primary_key: [device, time], indexes: [[device, time]] }";
const COLUMN_FORMS: &str = "names of columns, each once, of at most 63 bytes";
const INDEX_FORMS: &str = "[[device, time]] for one index of both columns, [[device], [time]] for an index of each";

/// Keys of the mapping that a later version takes.
const LATER: [&str; 3] = ["partition_by", "every", "hypertable"];

/// What the table gets if the rule makes it; `None` if it does not.
pub(super) fn decode(table: &Table<'_>, folds_case: bool) -> Option<Arc<Create>> {
    let value = table.get("create")?;
    match value.as_flag() {
        Some(is_wanted) => return is_wanted.then(Arc::default),
        None if value.is_scalar() || value.is_list() => {
            value.refuse(format!("found {}", value.shown()), FORMS);
            return None;
        }
        None => {}
    }
    let section = value.table();
    let primary_key = section.get("primary_key").map(|value| columns(&value, folds_case)).unwrap_or_default();
    let indexes = section.get("indexes").map(|value| indexes(&value, folds_case)).unwrap_or_default();
    section.refuse_later(&LATER);
    section.finish();
    Some(Arc::new(Create { primary_key, indexes }))
}

fn columns(value: &Value<'_>, folds_case: bool) -> Vec<Arc<str>> {
    let mut columns: Vec<Arc<str>> = Vec::new();
    for (name, value) in value.texts() {
        if columns.iter().any(|known| is_same(known, &name, folds_case)) {
            value.refuse(format!("{} is named twice", value.shown()), COLUMN_FORMS);
        } else if !is_name(&name) {
            value.refuse(format!("found {}, which no column is called", value.shown()), COLUMN_FORMS);
        } else {
            columns.push(name.into());
        }
    }
    if columns.len() > COLUMNS_MAX {
        value.refuse(format!("has {} columns", columns.len()), format!("at most {COLUMNS_MAX}"));
    }
    columns
}

fn indexes(value: &Value<'_>, folds_case: bool) -> Vec<Vec<Arc<str>>> {
    let items: Vec<Value<'_>> = value.list().collect();
    if items.len() > 1 && items.iter().all(Value::is_scalar) {
        value.refuse("a list of names may be one index or several", INDEX_FORMS);
        return Vec::new();
    }
    if items.len() > INDEXES_MAX {
        value.refuse(format!("has {} indexes", items.len()), format!("at most {INDEXES_MAX}"));
    }
    let mut indexes: Vec<Vec<Arc<str>>> = Vec::new();
    for item in items {
        if item.is_list() && item.list().next().is_none() {
            item.refuse("has no column", INDEX_FORMS);
            continue;
        }
        let columns = columns(&item, folds_case);
        let is_it = |known: &Vec<Arc<str>>| {
            known.len() == columns.len() && known.iter().zip(&columns).all(|(a, b)| is_same(a, b, folds_case))
        };
        if columns.is_empty() {
            // It has its findings.
        } else if indexes.iter().any(is_it) {
            item.refuse("an index of these columns was named before", "each index once");
        } else {
            indexes.push(columns);
        }
    }
    indexes
}

/// Whether a column can be called so.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= IDENTIFIER_BYTES_MAX
}

pub(super) fn is_same(one: &str, other: &str, folds_case: bool) -> bool {
    one == other || folds_case && one.eq_ignore_ascii_case(other)
}
