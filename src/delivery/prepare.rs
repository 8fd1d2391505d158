//! Rules against the live database: missing tables are created where that is asked for, and everything is compiled.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::stop::{Hold, Stop};
use crate::config::{Columns, Rule};
use crate::mapping::Mapper;
use crate::sink::{DeclaredType, Sink, TableName, TableSchema};

/// Compiles all rules of one database. Every fault of every rule is named in the hold's reason.
pub(super) async fn compile<S: Sink>(
    sink: &mut S,
    bridge: &str,
    rules: &[Arc<Rule>],
    subscriptions: &HashMap<String, u32>,
) -> Result<Mapper<S::Encoder>, Stop> {
    let mut schemas: HashMap<TableName, Arc<TableSchema>> = HashMap::new();
    let mut faults = Vec::new();
    let mut mends = Vec::new();
    let mut seen = HashSet::new();
    let first_rules: Vec<&Arc<Rule>> = rules.iter().filter(|rule| seen.insert(&rule.table)).collect();
    let tables: Vec<&TableName> = first_rules.iter().map(|rule| &rule.table).collect();
    let found = sink.describe_all(&tables).await?;
    for (rule, found) in first_rules.into_iter().zip(found) {
        let live = match found {
            Some(schema) => Ok(schema),
            None => make_table(sink, &rule.table, rules).await?,
        };
        match live {
            Ok(schema) => {
                schemas.insert(rule.table.clone(), Arc::new(schema));
            }
            Err(missing) => {
                let (name, position) = (&rule.name, &rule.position);
                let instead = missing.instead.map_or(String::new(), |instead| format!("; {instead}"));
                faults.push(format!("rule {name} ({position}): there is no table {}{instead}", rule.table));
                mends.extend(missing.mend);
            }
        }
    }
    if faults.is_empty() {
        let in_order: Vec<_> = rules.iter().map(|rule| Arc::clone(&schemas[&rule.table])).collect();
        match Mapper::compile(bridge, rules, &in_order, subscriptions, sink.encoder()) {
            Ok(mapper) => return Ok(mapper),
            Err(found) => {
                for fault in found {
                    faults.push(format!("rule {}, table {}: {}", fault.rule, fault.table, fault.message));
                    mends.extend(fault.mend);
                }
            }
        }
    }
    let mend = (!mends.is_empty()).then(|| mends.join("\n"));
    Err(Stop::Hold(Hold { reason: faults.join("; "), mend, ..Hold::default() }))
}

/// A table that is not there and was not made.
struct Missing {
    /// What stands in its place or near it.
    instead: Option<String>,
    /// The SQL that would make it, where the rules tell.
    mend: Option<String>,
}

/// The table that is missing, made if a rule asks for it.
async fn make_table<S: Sink>(
    sink: &mut S,
    table: &TableName,
    rules: &[Arc<Rule>],
) -> Result<Result<TableSchema, Missing>, Stop> {
    let instead = sink.instead_of(table).await?;
    let missing = |sql: Option<String>| {
        let mend = match (&instead, sql) {
            // A name that was meant otherwise comes before another table.
            (Some(instead), Some(sql)) => Some(format!("-- {instead}; or make another table:\n{sql}")),
            (_, sql) => sql,
        };
        Ok(Err(Missing { instead: instead.clone(), mend }))
    };
    let create = rules.iter().any(|rule| rule.create && rule.table == *table);
    let Some((columns, untyped)) = declared_columns(table, rules, create) else { return missing(None) };
    let columns: Vec<(&str, DeclaredType)> =
        columns.iter().map(|(name, declared)| (name.as_ref(), declared.clone())).collect();
    let sql = sink.create_table_sql(table, &columns);
    // A valid configuration tells every type where it says create.
    if !create || !untyped.is_empty() {
        let advice = match untyped[..] {
            [] => "or set create: true in the rule".to_owned(),
            _ => format!("choose the types of: {}", untyped.join(", ")),
        };
        return missing(Some(format!("{sql}; -- {advice}")));
    }
    sink.create_table(&sql).await?;
    match (sink.describe(table).await?, &instead) {
        (Some(schema), None) => {
            tracing::info!(%table, sql, "table created");
            Ok(Ok(schema))
        }
        (Some(schema), Some(instead)) => {
            tracing::warn!(%table, sql, "table created, though {instead}");
            Ok(Ok(schema))
        }
        // Something else has the name.
        (None, Some(_)) => missing(None),
        (None, None) => missing(Some(sql)),
    }
}

/// Columns with their types, and the names of those whose type only a person can tell.
type Declared = (Vec<(Arc<str>, DeclaredType)>, Vec<String>);

/// The columns that rules name for this table, each once, in order; `None` if there are none. A type that cannot be told
/// is given as text. With `creating`, only rules that say `create: true` count.
fn declared_columns(table: &TableName, rules: &[Arc<Rule>], creating: bool) -> Option<Declared> {
    let mut declared: Vec<(Arc<str>, DeclaredType)> = Vec::new();
    let mut untyped = Vec::new();
    for rule in rules.iter().filter(|rule| rule.table == *table && (rule.create || !creating)) {
        let Columns::Named(columns) = &rule.columns else { return None };
        for column in columns.iter() {
            if declared.iter().all(|(name, _)| *name != column.name) {
                let told = column.create_type(rule.format);
                if told.is_none() {
                    untyped.push(column.name.to_string());
                }
                declared.push((Arc::clone(&column.name), told.unwrap_or(DeclaredType::Text)));
            }
        }
    }
    (!declared.is_empty()).then_some((declared, untyped))
}
