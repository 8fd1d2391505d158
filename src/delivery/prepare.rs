//! Rules against the live database: missing tables are created where that is asked for, and everything is compiled.

use std::collections::HashMap;
use std::sync::Arc;

use super::stop::Stop;
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
    for rule in rules {
        if schemas.contains_key(&rule.table) {
            continue;
        }
        match live_table(sink, &rule.table, rules).await? {
            Ok(schema) => {
                schemas.insert(rule.table.clone(), Arc::new(schema));
            }
            Err(mend) => {
                faults.push(format!("rule {} ({}): there is no table {}", rule.name, rule.position, rule.table));
                mends.extend(mend);
                // Later rules on the same table need not repeat it.
                let name = rule.table.clone();
                let absent = TableSchema { name: name.clone(), columns: Vec::new(), primary_key: Vec::new() };
                schemas.insert(name, Arc::new(absent));
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
    Err(Stop::Hold { reason: faults.join("; "), mend })
}

/// The live table, made first if a rule asks for it; `Err` holds the SQL that would make it, where the rules tell.
async fn live_table<S: Sink>(
    sink: &mut S,
    table: &TableName,
    rules: &[Arc<Rule>],
) -> Result<Result<TableSchema, Option<String>>, Stop> {
    if let Some(schema) = sink.describe(table).await? {
        return Ok(Ok(schema));
    }
    let create = rules.iter().any(|rule| rule.create && rule.table == *table);
    let Some((columns, untyped)) = declared_columns(table, rules, create) else { return Ok(Err(None)) };
    let columns: Vec<(&str, DeclaredType)> =
        columns.iter().map(|(name, declared)| (name.as_ref(), declared.clone())).collect();
    let sql = sink.create_table_sql(table, &columns);
    // A valid configuration tells every type where it says create.
    if !create || !untyped.is_empty() {
        let advice = match untyped[..] {
            [] => "or set create: true in the rule".to_owned(),
            _ => format!("choose the types of: {}", untyped.join(", ")),
        };
        return Ok(Err(Some(format!("{sql}; -- {advice}"))));
    }
    sink.create_table(&sql).await?;
    tracing::info!(%table, sql, "table created");
    Ok(sink.describe(table).await?.ok_or(Some(sql)))
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
