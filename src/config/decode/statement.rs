//! `statement`: one SQL statement with a bind for each column, in place of `table`, `mode` and `key`.

use std::sync::Arc;

use super::destination::refuse_beside;
use super::table::Table;
use super::value::Value;
use crate::config::report::nearest;
use crate::config::{Columns, DatabaseUrl};
use crate::rule::Statement;

/// Keys that say where rows go and what they do there.
const OTHERS: [&str; 7] = ["table", "tables", "table_aliases", "mode", "key", "create", "unmapped"];

/// The statement of a rule that has one.
pub(super) fn decode(table: &Table<'_>, value: &Value<'_>, sink: Option<&DatabaseUrl>) -> Option<Arc<Statement>> {
    refuse_beside(table, "statement", &OTHERS);
    let text = value.text()?;
    let is_sqlite = matches!(sink, Some(DatabaseUrl::Sqlite(_)));
    match Statement::parse(&text, is_sqlite) {
        Ok(statement) => Some(Arc::new(statement)),
        Err(error) => {
            value.refuse(error.problem, error.accepted);
            None
        }
    }
}

/// Each bind has its column, and each column its bind.
pub(super) fn check_columns(table: &Table<'_>, value: &Value<'_>, statement: &Statement, columns: &Columns) {
    let Columns::Named(columns) = columns else {
        if let Some(value) = table.get("columns") {
            value.refuse("`auto` takes the columns of a table, and a statement has none", "a column for each bind");
        }
        return;
    };
    let names = || columns.iter().map(|column| &*column.name);
    let binds = || statement.binds().iter().map(|bind| &**bind);
    for bind in binds().filter(|bind| names().all(|name| name != *bind)) {
        // Where a variable fills a part of the text, that could be a part of what it holds.
        let problem = match value.may_be_quoted() {
            true => format!("has the bind :{bind}, and `columns` has no column of this name"),
            false => "has a bind of whose name `columns` has no column".to_owned(),
        };
        let suggestion = nearest(bind, names()).filter(|_| value.may_be_quoted()).map(|name| format!(":{name}"));
        value.refuse_with(problem, Some("a column for each bind".to_owned()), suggestion);
    }
    let mut given = table.get("columns").and_then(|value| value.entries()).into_iter().flatten();
    for name in names().filter(|name| binds().all(|bind| bind != *name)) {
        if let Some((_, column)) = given.find(|(given, _)| *given == name) {
            let suggestion = nearest(name, binds()).filter(|_| value.may_be_quoted());
            let accepted = format!("a bind :{name} in the statement, or no such column");
            column.refuse_with("the statement has no bind of this name", Some(accepted), suggestion);
        }
    }
}
