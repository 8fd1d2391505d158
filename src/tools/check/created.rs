//! Compares existing tables with `create`. Nothing is altered; missing parts are reported with their SQL.

use std::sync::Arc;

use super::Finding;
use crate::config::{Rule, new_table};
use crate::rule::{NewIndex, TableName, columns_sql};
use crate::schema::{Keys, TableSchema};
use crate::sink::{LiveIndex, Sink};

/// Which declared indexes and primary keys a table lacks.
pub(super) async fn compare<S: Sink>(
    sink: &mut S,
    subject: &str,
    rules: &[Arc<Rule>],
    (name, live): &(TableName, Arc<TableSchema>),
) -> Vec<Finding> {
    let making = rules.iter().map(AsRef::as_ref).filter(|rule: &&Rule| rule.table == *name && rule.create.is_some());
    let making: Vec<&Rule> = making.collect();
    let declares_key =
        making.iter().any(|rule| rule.create.as_ref().is_some_and(|create| !create.primary_key.is_empty()));
    let mut new = new_table(name, &making, Vec::new());
    // Views and foreign tables have the keys and indexes of the tables below them.
    if !matches!(live.keys, Keys::Known(_)) || !declares_key && new.indexes.is_empty() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    if declares_key {
        findings.extend(compare_key(subject, name, live, &new.key));
    }
    let indexes = match sink.indexes(name).await {
        Ok(indexes) => indexes,
        Err(error) => {
            findings.push(Finding::of_sink(&format!("{subject}, table {name}"), &error));
            return findings;
        }
    };
    new.name_indexes(&name.name, |name| indexes.iter().any(|index| index.name.eq_ignore_ascii_case(name)));
    for index in new.indexes.iter().filter(|index| !is_there(index, live, &indexes)) {
        // That a column is missing is told of the rule that fills it.
        if index.columns.iter().all(|column| live.columns.iter().any(|live| is_same(&live.name, column))) {
            let columns = index.columns.join(", ");
            let what = format!(
                "table {name} has no index on ({columns}), as `create` names one; a table that is there is left as it is"
            );
            findings.push(Finding::warning(subject, what, format!("{};", sink.add_index_sql(name, index))));
        }
    }
    findings
}

fn compare_key(subject: &str, name: &TableName, live: &TableSchema, key: &[&str]) -> Option<Finding> {
    let has = |column: &&str| live.primary_key.iter().any(|live| is_same(live, column));
    if live.primary_key.len() == key.len() && key.iter().all(has) {
        return None;
    }
    let kind = match live.primary_key.join(", ") {
        key if key.is_empty() => "has no primary key".to_owned(),
        key => format!("has the primary key ({key})"),
    };
    let what =
        format!("table {name} {kind}, and `create` names ({}); a table that is there is left as it is", key.join(", "));
    let remedy = format!(
        "change `create` to what the table has, or give the table this key: PRIMARY KEY ({})",
        columns_sql(key)
    );
    Some(Finding::warning(subject, what, remedy))
}

/// Whether an index, or the primary key, begins with these columns.
fn is_there(index: &NewIndex<'_>, live: &TableSchema, indexes: &[LiveIndex]) -> bool {
    let begins = |columns: &[String]| {
        columns.len() >= index.columns.len()
            && columns.iter().zip(&index.columns).all(|(live, column)| is_same(live, column))
    };
    begins(&live.primary_key) || indexes.iter().any(|live| begins(&live.columns))
}

/// In Postgres, names that differ only in case are different columns; a table with both gets no finding here.
fn is_same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}
