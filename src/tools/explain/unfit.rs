//! Rules that fit no table at all: what they say of a column contradicts the type that they give it.

use std::collections::HashMap;
use std::sync::Arc;

use super::tables::assumed_table;
use crate::batch::RowEncoder;
use crate::config::{Columns, Config, DatabaseUrl, Rule};
use crate::mapping::{CompileFault, Mapper};
use crate::rule::TableName;
use crate::schema::TableSchema;
use crate::sink::{PostgresEncoder, SqliteEncoder};

/// The faults of the rules of the database at `index`, as far as their own types for these tables show them.
pub fn unfit(config: &Config, index: usize, is_wanted: impl Fn(&TableName) -> bool) -> Vec<CompileFault> {
    let of_database = || config.rules.iter().filter(|rule| rule.database == index);
    // Of a table that a rule fills by its own columns' names, the rules do not say what it has.
    let is_described = |table: &TableName| {
        of_database().filter(|rule| rule.table == *table).all(|rule| matches!(rule.columns, Columns::Named(_)))
    };
    let is_fixed = |rule: &&Arc<Rule>| rule.routing.is_none() && rule.statement.is_none();
    let rules = of_database().filter(is_fixed).filter(|rule| is_wanted(&rule.table) && is_described(&rule.table));
    let rules: Vec<Arc<Rule>> = rules.cloned().collect();
    match &config.databases[index].url {
        DatabaseUrl::Sqlite(_) => faults(config, &rules, None, SqliteEncoder),
        DatabaseUrl::Postgres(url) => faults(config, &rules, Some(&url.schema), PostgresEncoder),
    }
}

fn faults<R: RowEncoder>(config: &Config, rules: &[Arc<Rule>], schema: Option<&str>, encoder: R) -> Vec<CompileFault> {
    let mut tables: HashMap<&TableName, Arc<TableSchema>> = HashMap::new();
    for rule in rules {
        let of_table = || rules.iter().filter(|other| other.table == rule.table);
        tables
            .entry(&rule.table)
            .or_insert_with(|| Arc::new(assumed_table::<R::Dialect, _>(&rule.table, schema, of_table, None).0));
    }
    let mut all = Vec::new();
    loop {
        let in_order: Vec<_> = rules.iter().map(|rule| tables.get(&rule.table).cloned()).collect();
        match Mapper::compile_some(&config.bridge, rules, &in_order, &HashMap::new(), encoder.clone()) {
            Ok(_) => return all,
            Err(found) => {
                for fault in &found {
                    let rule = rules.iter().find(|rule| rule.name == fault.rule).expect("the fault is of one of them");
                    tables.remove(&rule.table);
                }
                all.extend(found);
            }
        }
    }
}
