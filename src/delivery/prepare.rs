//! Compiles the rules for the live database, and creates missing tables where a rule says so.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::stop::{BadTable, Defect, Hold, Stop, in_one_line, mend};
use crate::config::{Columns, Rule, new_table};
use crate::mapping::Mapper;
use crate::rule::{DeclaredType, TableName};
use crate::schema::TableSchema;
use crate::sink::{Class, Sink, SinkError};

/// Compiles all rules of one database. Every fault of every rule is named in the hold's reason; those of tables that
/// `is_parked` are returned instead, and the rules of these tables are left without one.
pub(super) async fn compile<S: Sink>(
    sink: &mut S,
    bridge: &str,
    rules: &[Arc<Rule>],
    subscriptions: &HashMap<String, u32>,
    is_parked: impl Fn(&TableName) -> bool,
) -> Result<(Mapper<S::Encoder>, Vec<BadTable>), Stop> {
    let mut faults = Faults::default();
    let mut schemas = look_up(sink, rules, &mut faults).await?;
    let mapper = loop {
        let in_order: Vec<_> = rules.iter().map(|rule| schemas.get(&rule.table).cloned()).collect();
        match Mapper::compile_some(bridge, rules, &in_order, subscriptions, sink.encoder()) {
            Ok(mapper) => break mapper,
            // Once more without their tables, of which each round takes one out at least.
            Err(found) => {
                for fault in found {
                    let rule = rules.iter().find(|rule| rule.name == fault.rule).expect("the fault is of one of them");
                    let reason = match rule.statement {
                        Some(_) => format!("{}: {}", fault.table, fault.message),
                        None => format!("rule {}, table {}: {}", fault.rule, fault.table, fault.message),
                    };
                    faults.add(&rule.table, reason, fault.mend);
                    schemas.remove(&rule.table);
                }
            }
        }
    };
    let (parked, new): (Vec<_>, Vec<_>) = faults.0.into_iter().partition(|bad| is_parked(&bad.name));
    if new.is_empty() {
        return Ok((mapper, parked));
    }
    Err(Stop::Hold(Hold::of(new)))
}

/// The faults by table, and their remedies.
#[derive(Default)]
struct Faults(Vec<BadTable>);

impl Faults {
    fn add(&mut self, table: &TableName, reason: String, mend: Option<String>) {
        let Some(bad) = self.0.iter_mut().find(|bad| bad.name == *table) else {
            self.0.push(BadTable { name: table.clone(), defect: Defect { reason, mend }, at_compile: true });
            return;
        };
        let defect = &mut bad.defect;
        defect.reason = format!("{}; {reason}", defect.reason);
        let mends: Vec<String> = defect.mend.take().into_iter().chain(mend).collect();
        defect.mend = (!mends.is_empty()).then(|| mends.join("\n"));
    }
}

/// The live tables of the rules. Missing tables are created if the rule says so. For a rule with a statement, the
/// description of the statement takes the place of a table.
async fn look_up<S: Sink>(
    sink: &mut S,
    rules: &[Arc<Rule>],
    faults: &mut Faults,
) -> Result<HashMap<TableName, Arc<TableSchema>>, Stop> {
    let mut schemas = HashMap::new();
    let mut seen = HashSet::new();
    let fixed = rules.iter().filter(|rule| rule.routing.is_none() && rule.statement.is_none());
    let first_rules: Vec<&Arc<Rule>> = fixed.filter(|rule| seen.insert(&rule.table)).collect();
    let tables: Vec<&TableName> = first_rules.iter().map(|rule| &rule.table).collect();
    let found = describe(sink, &tables).await?;
    for (rule, found) in first_rules.into_iter().zip(found) {
        let live = match found {
            Ok(Some(schema)) => Ok(schema),
            Ok(None) => match make_table(sink, &rule.table, &rules_of(rules, &rule.table)).await {
                Ok(made) => made.map_err(|missing| {
                    let (name, position) = (&rule.name, &rule.position);
                    let instead = missing.instead.map_or(String::new(), |instead| format!("; {instead}"));
                    (format!("rule {name} ({position}): there is no table {}{instead}", rule.table), missing.mend)
                }),
                Err(Stop::Hold(hold)) => Err((hold.reason, hold.mend)),
                Err(stop) => return Err(stop),
            },
            Err(error) => Err((format!("table {}: {}", rule.table, in_one_line(&error)), Some(mend(&error)))),
        };
        match live {
            Ok(schema) => {
                schemas.insert(rule.table.clone(), Arc::new(schema));
            }
            Err((reason, mend)) => faults.add(&rule.table, reason, mend),
        }
    }
    for (rule, statement) in rules.iter().filter_map(|rule| Some((rule, rule.statement.as_ref()?))) {
        match sink.describe_statement(&rule.table, statement, &rule.bind_types()).await {
            Ok(schema) => {
                schemas.insert(rule.table.clone(), Arc::new(schema));
            }
            Err(error) if error.class == Class::Table => {
                let reason = format!("{} ({})", in_one_line(&error), rule.position);
                faults.add(&rule.table, reason, Some(mend(&error)));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(schemas)
}

/// Each table as it is, if it is there; or why it cannot be described.
pub(super) async fn describe<S: Sink>(
    sink: &mut S,
    tables: &[&TableName],
) -> Result<Vec<Result<Option<TableSchema>, SinkError>>, Stop> {
    match sink.describe_all(tables).await {
        // To find the table, ask for each one separately.
        Err(error) if error.class == Class::Table => {
            let mut found = Vec::new();
            for table in tables {
                found.push(match sink.describe(table).await {
                    Err(error) if error.class == Class::Table => Err(error),
                    described => Ok(described?),
                });
            }
            Ok(found)
        }
        found => Ok(found?.into_iter().map(Ok).collect()),
    }
}

/// A table that is not there and was not made.
pub(super) struct Missing {
    /// What exists in its place or under a similar name.
    pub(super) instead: Option<String>,
    /// The SQL that would make it, where the rules tell.
    pub(super) mend: Option<String>,
}

fn rules_of<'r>(rules: &'r [Arc<Rule>], table: &TableName) -> Vec<&'r Rule> {
    rules.iter().filter(|rule| rule.routing.is_none() && rule.table == *table).map(|rule| &**rule).collect()
}

/// The table that is missing, made if one of the rules that write to it asks for it.
pub(super) async fn make_table<S: Sink>(
    sink: &mut S,
    table: &TableName,
    rules: &[&Rule],
) -> Result<Result<TableSchema, Missing>, Stop> {
    if waits_for_payload(rules) {
        let needed = new_table(table, rules, Vec::new()).keyed();
        return Ok(Ok(TableSchema::absent(table.clone(), needed)));
    }
    let instead = sink.instead_of(table).await?;
    let missing = |sql: Option<String>| {
        let mend = match (&instead, sql) {
            // A name that was meant otherwise comes before another table.
            (Some(instead), Some(sql)) => Some(format!("-- {instead}; or make another table:\n{sql}")),
            (_, sql) => sql,
        };
        Ok(Err(Missing { instead: instead.clone(), mend }))
    };
    let create = rules.iter().any(|rule| rule.create.is_some());
    let Some((columns, untyped)) = declared_columns(rules, create) else { return missing(None) };
    let columns: Vec<(&str, DeclaredType)> =
        columns.iter().map(|(name, declared)| (name.as_ref(), declared.clone())).collect();
    let new = new_table(table, rules, columns);
    let sql = sink.create_table_sql(table, &new);
    // With `create`, a valid configuration gives every type.
    if !create || !untyped.is_empty() {
        let advice = match untyped[..] {
            [] if rules.iter().all(|rule| rule.may_create()) => "or set create: true in the rule".to_owned(),
            [] => "the form of the rule tells no types".to_owned(),
            _ => format!("choose the types of: {}", untyped.join(", ")),
        };
        return missing(Some(format!("{sql}; -- {advice}")));
    }
    let sql = sink.create_table(table, &new).await?;
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

/// Whether a table that is to be made has its columns from its first payload: no rule names them.
fn waits_for_payload(rules: &[&Rule]) -> bool {
    let mut creating = rules.iter().filter(|rule| rule.create.is_some()).peekable();
    creating.peek().is_some() && creating.all(|rule| matches!(rule.columns, Columns::Auto))
}

/// Columns with their types, and the names of columns whose type a person must choose.
type Declared = (Vec<(Arc<str>, DeclaredType)>, Vec<String>);

/// The columns that rules name for their table, each once, in order; `None` if there are none. An unknown type is given
/// as text. With `creating`, only rules that say `create` count.
fn declared_columns(rules: &[&Rule], creating: bool) -> Option<Declared> {
    let mut declared: Vec<(Arc<str>, DeclaredType)> = Vec::new();
    let mut untyped = Vec::new();
    for rule in rules.iter().filter(|rule| rule.create.is_some() || !creating) {
        let columns = match &rule.columns {
            Columns::Named(columns) => columns,
            // It takes the columns of the others.
            Columns::Auto if creating => continue,
            Columns::Auto => return None,
        };
        for column in columns.iter() {
            if declared.iter().all(|(name, _)| *name != column.name) {
                let told = column.create_type(&rule.format, &rule.shaping);
                if told.is_none() {
                    untyped.push(column.name.to_string());
                }
                declared.push((Arc::clone(&column.name), told.unwrap_or(DeclaredType::Text)));
            }
        }
    }
    (!declared.is_empty()).then_some((declared, untyped))
}
