//! One row for people: the value of each column, its source, and the statement that would write the row. All of it is
//! decoded from the encoded row, so it equals what the sink would get.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Mapping, schema_of};
use crate::batch::{Target, Verb};
use crate::config::{Columns, Rule};
use crate::rule::{ColumnSource, Root, Source, Step, TableName, quote};
use crate::sink::Held;
use crate::tools::explain::shown::read;
use crate::tools::explain::{Row, RowError, ShownValue};

impl Mapping<'_> {
    pub(super) fn row(
        &self,
        rule: &Rule,
        target: &Target,
        bytes: &[u8],
        assumed: Option<&HashSet<String>>,
    ) -> Result<Row, RowError> {
        let columns: Vec<_> = target.columns.iter().map(|column| &target.table.columns[*column]).collect();
        let mut values = Vec::new();
        for (column, cell) in columns.iter().zip(read(bytes)) {
            let name = &column.name;
            let held = cell.map_err(|(reason, why)| RowError {
                reason,
                column: Some(name.clone()),
                message: match target.has_statement() {
                    true => format!("{}: bind :{name}: {why}", target.table.name.described()),
                    false => format!("cannot write into table {}: column {name}: {why}", target.table.name),
                },
            })?;
            let is_assumed = assumed.is_some_and(|assumed| assumed.contains(name));
            let held = if is_assumed { document(held) } else { held };
            values.push(ShownValue {
                column: name.clone(),
                column_type: column.column_type.clone(),
                type_name: column.type_name.clone(),
                is_assumed,
                from: source_of(rule, name),
                held,
                given: None,
            });
        }
        let filled = |index: &usize| target.columns.contains(index);
        let left_out = (0..target.table.columns.len()).filter(|index| !filled(index));
        let left_out = left_out.map(|index| &target.table.columns[index]).filter(|column| column.has_default);
        Ok(Row {
            database: Arc::clone(&self.config.databases[self.index].name),
            table: self.table_text(rule, &target.table.name),
            sql: insert_sql(target, &values),
            left_out: left_out.map(|column| column.name.clone()).collect(),
            values,
        })
    }

    /// As a rule writes it: without the schema that goes without saying.
    fn table_text(&self, rule: &Rule, name: &TableName) -> String {
        if rule.statement.is_some() {
            return "statement".to_owned();
        }
        if rule.routing.is_none() {
            return rule.table.to_string();
        }
        let schema = schema_of(&self.config.databases[self.index].url);
        let is_plain = name.schema.as_deref() == schema;
        if is_plain { name.name.clone() } else { name.to_string() }
    }
}

/// What a column of unknown type holds of an object or array is its text, which means the document.
fn document(held: Held) -> Held {
    let text = serde_json::from_str::<String>(&held.json).ok().filter(|text| text.starts_with(['{', '[']));
    let text = text.filter(|text| serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok());
    Held { json: text.unwrap_or(held.json), sql: held.sql }
}

/// Where a column's value comes from, as the configuration writes it.
fn source_of(rule: &Rule, name: &str) -> String {
    match &rule.columns {
        Columns::Auto => format!("payload.{name}, or by position"),
        Columns::Named(columns) => {
            let column = columns.iter().find(|column| *column.name == *name);
            let column = column.or_else(|| columns.iter().find(|column| column.name.eq_ignore_ascii_case(name)));
            match column.map(|column| &column.source) {
                Some(source @ (ColumnSource::From(_) | ColumnSource::FirstOf(_))) => {
                    let sources: Vec<String> = source.sources().map(|source| with_roots(source, rule)).collect();
                    sources.join(", or else ")
                }
                Some(ColumnSource::Template(template)) => format!("the template {template}"),
                Some(ColumnSource::Jq(program)) => format!("the jq program {}", program.text()),
                Some(ColumnSource::Value(_)) => "a value in the rule".to_owned(),
                // Of a field that became a column (`unmapped: add`).
                None if rule.for_each.is_empty() => Source::Payload(vec![Step::Key(name.to_owned())]).to_string(),
                None => Source::Item(vec![Step::Key(name.to_owned())]).to_string(),
            }
        }
    }
}

/// A source with the strings that it lies in, of those that the rule decodes.
fn with_roots(source: &Source, rule: &Rule) -> String {
    // Under `transform` it is a path of what comes out.
    let is_of_payload = !(matches!(source, Source::Payload(_)) && rule.shaping.transform.is_some());
    let is_around = |root: &&Root| is_of_payload && (root.source == *source || root.is_above(source));
    let around: Vec<String> = rule.shaping.roots.iter().filter(is_around).map(Root::describe).collect();
    if around.is_empty() { source.to_string() } else { format!("{source} ({})", around.join("; ")) }
}

/// The statement for one row, the rule's own with its values if it has one; Postgres' sink may send the same row by COPY or through `unnest`.
fn insert_sql(target: &Target, values: &[ShownValue]) -> String {
    let names: Vec<String> = values.iter().map(|value| quote(&value.column)).collect();
    let literals: Vec<&str> = values.iter().map(|value| value.held.sql.as_str()).collect();
    let key_names = |key: &[usize]| {
        let names: Vec<String> = key.iter().map(|column| quote(&target.table.columns[*column].name)).collect();
        names.join(", ")
    };
    let conflict = match &target.verb {
        Verb::Insert => String::new(),
        Verb::Statement(statement) => {
            let bound = |bind: usize| values.iter().find(|value| *value.column == *statement.binds()[bind]);
            let sql = statement.with(|bind| bound(bind).map_or("NULL", |value| value.held.sql.as_str()).to_owned());
            // Behind a comment it would be a part of that.
            let has_comment = sql.lines().last().is_some_and(|line| line.contains("--"));
            return format!("{sql}{};", if has_comment { "\n" } else { "" });
        }
        Verb::Ignore(key) => format!(" ON CONFLICT ({}) DO NOTHING", key_names(key)),
        Verb::Upsert(key) => {
            let others = target.columns.iter().filter(|column| !key.contains(column));
            let others = others.map(|column| quote(&target.table.columns[*column].name));
            let set: Vec<String> = others.map(|name| format!("{name} = excluded.{name}")).collect();
            match set.is_empty() {
                true => format!(" ON CONFLICT ({}) DO NOTHING", key_names(key)),
                false => format!(" ON CONFLICT ({}) DO UPDATE SET {}", key_names(key), set.join(", ")),
            }
        }
    };
    let table = target.table.name.quoted();
    format!("INSERT INTO {table} ({}) VALUES ({}){conflict};", names.join(", "), literals.join(", "))
}
