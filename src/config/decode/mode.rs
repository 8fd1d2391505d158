//! `mode` and `key`: how a rule's rows are written into their table.

use std::sync::Arc;

use super::table::Table;
use super::value::Value;
use crate::config::report::nearest;
use crate::config::{Columns, Create, DatabaseUrl, Mode};

const KEY_FORMS: &str = "the columns that identify a row, such as [device, time], or none for the table's primary key";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Insert,
    Ignore,
    Upsert,
}

pub(super) fn decode(
    table: &Table<'_>,
    columns: Option<&Columns>,
    create: Option<&Create>,
    sink: Option<&DatabaseUrl>,
) -> Mode {
    let lacks_key = create.is_some_and(|create| create.primary_key.is_empty());
    let word = table.choice(
        "mode",
        Word::Insert,
        &[("insert", Word::Insert), ("ignore", Word::Ignore), ("upsert", Word::Upsert)],
    );
    let given = table.get("key");
    let key: Arc<[Arc<str>]> = given.as_ref().map(|value| key(value, columns, sink)).unwrap_or_default().into();
    match (word, &given) {
        (Word::Insert, Some(value)) if !key.is_empty() => {
            value.refuse("means nothing with `mode: insert`", "mode: ignore or mode: upsert beside it");
        }
        (Word::Ignore | Word::Upsert, _) if lacks_key && key.is_empty() => {
            table.miss("key", &format!("{KEY_FORMS}; `create` makes it the primary key"));
        }
        _ => {}
    }
    match word {
        Word::Insert => Mode::Insert,
        Word::Ignore => Mode::Ignore { key },
        Word::Upsert => Mode::Upsert { key },
    }
}

fn key(value: &Value<'_>, columns: Option<&Columns>, sink: Option<&DatabaseUrl>) -> Vec<Arc<str>> {
    let folds_case = matches!(sink, Some(DatabaseUrl::Sqlite(_)));
    let is_same = |one: &str, other: &str| one == other || folds_case && one.eq_ignore_ascii_case(other);
    let mut key: Vec<Arc<str>> = Vec::new();
    for (name, value) in value.texts() {
        if key.iter().any(|known| is_same(known, &name)) {
            value.refuse(format!("{} is named twice", value.shown()), KEY_FORMS);
            continue;
        }
        if let Some(Columns::Named(columns)) = columns
            && !columns.iter().any(|column| is_same(&column.name, &name))
        {
            let names = || columns.iter().map(|column| &*column.name);
            let accepted = names().collect::<Vec<_>>().join(", ");
            let problem = format!("found {}, a column that the rule does not fill", value.shown());
            value.refuse_with(problem, Some(accepted), nearest(&name, names()));
            continue;
        }
        key.push(name.into());
    }
    key
}
