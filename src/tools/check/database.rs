//! Compares the rules of one database with its live tables, by the daemon's own description and mapper.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::{Finding, created};
use crate::batch::{Target, Verb};
use crate::config::{Columns, Config, Retained, Rule, Unmapped, new_table};
use crate::mapping::{CompileFault, Mapper};
use crate::rule::{DeclaredType, TableName};
use crate::schema::TableSchema;
use crate::sink::Sink;
use crate::tools::explain::unfit;

/// What was found of the tables.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) findings: Vec<Finding>,
    /// Those whose columns fit every rule, as the rules name them.
    fitting: Vec<(TableName, Finding)>,
    /// Those that are there, as the rules name them.
    pub(super) live: Vec<(TableName, Arc<TableSchema>)>,
    /// Those that the first start makes.
    pub(super) to_be_made: Vec<TableName>,
    /// That of each of `to_be_made` which the rules' own types do not contradict.
    making: Vec<(TableName, Finding)>,
    /// The schema, if the rule names one, of each rule that makes tables which messages name.
    makes_named: Vec<Option<Arc<str>>>,
    /// A rule says `retained: changed`.
    pub(super) remembers: bool,
    /// Where the rows of each rule go that fits its table.
    pub(super) targets: Vec<Target>,
    /// Those that get columns (`unmapped: add`), as the rules name them.
    pub(super) grows: HashSet<TableName>,
}

impl Tables {
    /// Where tables are to be made.
    pub(super) fn schemas_of_new<'t>(&'t self, default: &'t str) -> BTreeSet<&'t str> {
        let fixed = self.to_be_made.iter().map(|table| table.schema.as_deref());
        let named = self.makes_named.iter().map(Option::as_deref);
        fixed.chain(named).map(|schema| schema.unwrap_or(default)).collect()
    }

    /// All findings, where these views take no rows, whatever their columns, and tables that `is_barred` names cannot be made.
    pub(super) fn into_findings(
        self,
        subject: &str,
        closed: &[ClosedView],
        is_barred: impl Fn(&TableName) -> bool,
    ) -> Vec<Finding> {
        let is_open = |name: &TableName| closed.iter().all(|view| view.name != *name);
        let fitting = self.fitting.into_iter().filter(|(name, _)| is_open(name)).map(|(_, finding)| finding);
        let closed = closed.iter().map(|view| {
            let what = format!("{} is a view that takes no rows: {}", view.name, view.why);
            let remedy = "name the table below it in the rule, or give the view an INSTEAD OF INSERT trigger";
            Finding::problem(subject, what, remedy)
        });
        let making = self.making.into_iter().filter(|(name, _)| !is_barred(name)).map(|(_, finding)| finding);
        closed.chain(fitting).chain(self.findings).chain(making).collect()
    }

    /// Those of `live` that get columns.
    pub(super) fn growing(&self) -> impl Iterator<Item = &(TableName, Arc<TableSchema>)> {
        self.live.iter().filter(|(name, _)| self.grows.contains(name))
    }
}

/// A view that no row can be put into.
pub(super) struct ClosedView {
    /// As the rules name it.
    pub(super) name: TableName,
    pub(super) why: String,
}

pub(super) fn subject(config: &Config, index: usize) -> String {
    format!("database {}", config.databases[index].name)
}

/// Describes every table of the rules of a database and compiles the rules for them. Creates nothing. A missing table
/// is skipped if `is_unknown` says that nothing is known of it.
pub(super) async fn tables<S: Sink>(
    sink: &mut S,
    config: &Config,
    index: usize,
    is_unknown: impl Fn(&TableName) -> bool,
) -> Tables {
    let subject = subject(config, index);
    let rules: Vec<Arc<Rule>> = config.rules.iter().filter(|rule| rule.database == index).cloned().collect();
    let remembers = rules.iter().any(|rule| rule.retained == Retained::Changed);
    let mut found = Tables { remembers, ..Tables::default() };
    let growing = rules.iter().filter(|rule| rule.unmapped == Unmapped::Add);
    found.grows = growing.map(|rule| rule.table.clone()).collect();
    let mut schemas: HashMap<TableName, Arc<TableSchema>> = HashMap::new();
    let mut seen = HashSet::new();
    let (named, fixed): (Vec<&Arc<Rule>>, Vec<&Arc<Rule>>) =
        rules.iter().filter(|rule| rule.statement.is_none()).partition(|rule| rule.routing.is_some());
    for rule in fixed.into_iter().filter(|rule| seen.insert(&rule.table)) {
        match sink.describe(&rule.table).await {
            Ok(Some(schema)) => {
                schemas.insert(rule.table.clone(), Arc::new(schema));
            }
            Ok(None) if is_unknown(&rule.table) => {}
            Ok(None) => match missing(sink, &subject, rule, &rules).await {
                Some(finding) => found.findings.push(finding),
                None => found.to_be_made.push(rule.table.clone()),
            },
            Err(error) => found.findings.push(Finding::of_sink(&format!("{subject}, table {}", rule.table), &error)),
        }
    }
    found.live = schemas.iter().map(|(name, table)| (name.clone(), Arc::clone(table))).collect();
    found.live.sort_by_key(|(name, _)| name.to_string());
    for (rule, statement) in rules.iter().filter_map(|rule| Some((rule, rule.statement.as_ref()?))) {
        match sink.describe_statement(&rule.table, statement, &rule.bind_types()).await {
            Ok(schema) => {
                schemas.insert(rule.table.clone(), Arc::new(schema));
            }
            Err(error) => found.findings.push(Finding::of_sink(&format!("{subject}, {}", rule.position), &error)),
        }
    }
    let statements: Vec<TableName> = rules
        .iter()
        .filter(|rule| rule.statement.is_some() && schemas.contains_key(&rule.table))
        .map(|rule| rule.table.clone())
        .collect();
    let mut unfit = HashSet::new();
    loop {
        let in_order: Vec<_> = rules.iter().map(|rule| schemas.get(&rule.table).cloned()).collect();
        let compiled = Mapper::compile_some(&config.bridge, &rules, &in_order, &HashMap::new(), sink.encoder());
        let faults = match compiled {
            Ok(mapper) => {
                let targets =
                    rules.iter().enumerate().filter_map(|(index, rule)| mapper.target_of(index).zip(Some(rule)));
                found.targets = targets.map(|(target, rule)| surely_filled(target, rule)).collect();
                break;
            }
            Err(faults) => faults,
        };
        for fault in faults {
            let rule = rules.iter().find(|rule| rule.name == fault.rule).expect("the fault is of one of them");
            unfit.insert(rule.table.clone());
            schemas.remove(&rule.table);
            found.findings.push(of_fault(&subject, rule, fault));
        }
    }
    for (name, table) in found.live.iter().filter(|(name, _)| !unfit.contains(name)) {
        let columns = match table.columns.len() {
            1 => "1 column".to_owned(),
            count => format!("{count} columns"),
        };
        let fits = Finding::ok(&subject, format!("table {name}: {columns}, every rule fits"));
        found.fitting.push((name.clone(), fits));
    }
    for table in &found.live {
        found.findings.extend(created::compare(sink, &subject, &rules, table).await);
    }
    for rule in named {
        let what = match rule.create {
            Some(_) => "looks at them, and makes those that are missing, when one is named",
            None => "looks at them when one is named",
        };
        let what = format!("rule {}: messages name its tables; the bridge {what}", rule.name);
        found.findings.push(Finding::ok(&subject, what));
        if rule.create.is_some() {
            found.makes_named.push(rule.table.schema.as_deref().map(Arc::from));
        }
    }
    for name in statements.iter().filter(|name| !unfit.contains(name)) {
        let what = format!("{}: the database takes it, and every column fits its bind", name.described());
        found.findings.push(Finding::ok(&subject, what));
    }
    let of_rules = of_rules(config, index, |table| found.to_be_made.contains(table));
    let unfit: HashSet<&TableName> = of_rules.iter().map(|(table, _)| table).collect();
    for table in found.to_be_made.iter().filter(|table| !unfit.contains(table)) {
        let mut creating = rules.iter().filter(|rule| rule.create.is_some() && rule.table == *table);
        let what = match creating.all(|rule| matches!(rule.columns, Columns::Auto)) {
            true => "the first message",
            false => "the first start",
        };
        let making = Finding::ok(&subject, format!("table {table} is not there; {what} makes it"));
        found.making.push((table.clone(), making));
    }
    found.findings.extend(of_rules.into_iter().map(|(_, finding)| finding));
    found
}

/// What contradicts the types that the rules themselves give the columns of these tables, with the table.
pub(super) fn of_rules(
    config: &Config,
    index: usize,
    is_wanted: impl Fn(&TableName) -> bool,
) -> Vec<(TableName, Finding)> {
    let subject = subject(config, index);
    let finding = |fault: CompileFault| {
        let rule = config.rules.iter().find(|rule| rule.name == fault.rule).expect("the fault is of one of them");
        (rule.table.clone(), of_fault(&subject, rule, fault))
    };
    unfit(config, index, is_wanted).into_iter().map(finding).collect()
}

fn of_fault(subject: &str, rule: &Rule, fault: CompileFault) -> Finding {
    let place = match rule.statement {
        Some(_) => String::new(),
        None => format!(", table {}", fault.table),
    };
    let what = format!("rule {} ({}){place}: {}", fault.rule, rule.position, fault.message);
    let remedy = fault.mend.unwrap_or_else(|| "change the rule or the table, so that they fit".to_owned());
    Finding::problem(subject, what, remedy)
}

/// The target without columns for which messages need not have a field: with `columns: auto` only those of the key are sure.
fn surely_filled(target: &Target, rule: &Rule) -> Target {
    let columns = match (&rule.columns, &target.verb) {
        (Columns::Named(_), _) => Arc::clone(&target.columns),
        (Columns::Auto, Verb::Ignore(key) | Verb::Upsert(key)) => Arc::clone(key),
        (Columns::Auto, Verb::Insert | Verb::Statement(_)) => Arc::from([]),
    };
    Target { columns, ..target.clone() }
}

/// A table that is not there; `None` if a rule has it made.
async fn missing<S: Sink>(sink: &mut S, subject: &str, rule: &Rule, rules: &[Arc<Rule>]) -> Option<Finding> {
    let instead = match sink.instead_of(&rule.table).await {
        Ok(instead) => instead,
        Err(error) => return Some(Finding::of_sink(subject, &error)),
    };
    let of_table = || rules.iter().filter(|other| other.table == rule.table);
    if instead.is_none() && of_table().any(|rule| rule.create.is_some()) {
        return None;
    }
    let mut columns: Vec<(&str, DeclaredType)> = Vec::new();
    for rule in of_table() {
        let Columns::Named(named) = &rule.columns else { continue };
        for column in named.iter() {
            if columns.iter().all(|(name, _)| *name != &*column.name) {
                columns.push((
                    &column.name,
                    column.create_type(&rule.format, &rule.shaping).unwrap_or(DeclaredType::Text),
                ));
            }
        }
    }
    let sql = if columns.is_empty() {
        String::new()
    } else {
        let writing: Vec<&Rule> = of_table().map(AsRef::as_ref).collect();
        format!(":\n{}", sink.create_table_sql(&rule.table, &new_table(&rule.table, &writing, columns)))
    };
    let what = format!("rule {} ({}): there is no table {}", rule.name, rule.position, rule.table);
    Some(match instead {
        Some(instead) => Finding::problem(subject, format!("{what}; {instead}"), "correct the name in the rule"),
        None => {
            let by_rule = if rule.may_create() { "set create: true in the rule, or " } else { "" };
            Finding::problem(subject, what, format!("{by_rule}make the table{sql}"))
        }
    })
}
