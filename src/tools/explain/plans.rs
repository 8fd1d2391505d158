//! One message under the rules of one database, by the daemon's own mapper.

mod row;

use std::collections::HashMap;
use std::sync::Arc;

use super::routes::{taken_by, why_not};
use super::shown::Shown;
use super::tables::{self, Goal, Tables};
use super::{Fate, RowError, RuleView, Taken, Verdict};
use crate::batch::{Batch, OffsetMove, Target};
use crate::config::{Columns, Config, DatabaseUrl, OnError, Retained, Rule, Shaping, rule_of_convention};
use crate::journal_id::JournalId;
use crate::mapping::{Mapper, Outcome, Want};
use crate::message::{Message, Seq};
use crate::rule::{Naming, TableName};
use crate::schema::{Dialect, TableSchema, Witness};
use crate::sink::{Preview, SqliteEncoder};

/// The dead letter's reason of a message whose table takes no rows.
const BAD_TABLE: &str = "table";

/// So often the tables get columns for the message. Rules that share a table need one round each at most; a message that wants more
/// is refused by the mapper.
const GROWTH_ROUNDS_MAX: usize = 8;

/// Maps a message under the rules of the database at `index`. Each view stands beside its rule's index in the
/// configuration.
pub(super) fn map<R: Preview>(
    config: &Config,
    index: usize,
    tables: &Tables,
    encoder: R,
    message: &Message<'_>,
) -> Vec<(usize, RuleView)> {
    let of_database = config.rules.iter().enumerate().filter(|(_, rule)| rule.database == index);
    let (numbers, rules): (Vec<usize>, Vec<Arc<Rule>>) = of_database.map(|(at, rule)| (at, Arc::clone(rule))).unzip();
    let schema = schema_of(&config.databases[index].url);
    let mut faults: HashMap<TableName, String> = HashMap::new();
    let mut targets: HashMap<TableName, Goal> = HashMap::new();
    for rule in rules.iter().filter(|rule| rule.routing.is_none() && taken_by(rule, message.topic).is_some()) {
        if !targets.contains_key(&rule.table) && !faults.contains_key(&rule.table) {
            match tables.target::<R::Dialect>(&rule.table, schema, &rules, message) {
                Ok(target) => drop(targets.insert(rule.table.clone(), target)),
                Err(fault) => drop(faults.insert(rule.table.clone(), fault)),
            }
        }
    }
    let mut mapper = compile(config, &rules, &mut targets, &mut faults, &encoder);
    for _ in 0..GROWTH_ROUNDS_MAX {
        let Some(wants) = columns_wanted(&mut mapper, message) else { break };
        wants.iter().for_each(|want| grow::<R>(&rules, &mut targets, want));
        mapper = compile(config, &rules, &mut targets, &mut faults, &encoder);
    }
    let mapping = Mapping { config, index, rules: &rules, tables, targets: &targets, faults: &faults };
    let views = mapping.views(mapper, &encoder, message);
    numbers.into_iter().zip(views).collect()
}

/// What leaves nothing of a message that is a row.
fn why_filtered(rule: &Rule) -> String {
    let Shaping { predicate, transform, .. } = &rule.shaping;
    let parts =
        [("where", predicate.is_some()), ("transform", transform.is_some()), ("for_each", !rule.for_each.is_empty())];
    let parts: Vec<&str> = parts.into_iter().filter(|(_, is_there)| *is_there).map(|(key, _)| key).collect();
    match parts[..] {
        [] => "its payload holds nothing that would be a row".to_owned(),
        ["where"] => "it is not what the rule wants (where)".to_owned(),
        ["transform"] => "the program gives nothing (transform)".to_owned(),
        ["for_each"] => "there is no element that would be a row (for_each)".to_owned(),
        _ => format!("nothing of it is left that would be a row ({})", parts.join(", ")),
    }
}

/// The columns that a message wants of tables with one name, if it wants any.
fn columns_wanted<R: Preview>(mapper: &mut Mapper<Shown<R>>, message: &Message<'_>) -> Option<Vec<Want>> {
    mapper.scan(message);
    let of_one = |want: &Want| !want.columns.is_empty() && want.text.is_empty();
    let wants: Vec<Want> = mapper.take_wants().into_iter().filter(of_one).collect();
    (!wants.is_empty()).then_some(wants)
}

/// Gives the table of a rule the columns that a message wants.
fn grow<R: Preview>(rules: &[Arc<Rule>], targets: &mut HashMap<TableName, Goal>, want: &Want) {
    let table = &rules[want.rule].table;
    if let Some(goal) = targets.get(table) {
        let grown = with_columns::<R>(goal, rules, want);
        targets.insert(table.clone(), grown);
    }
}

/// A table as it is once it has what a message wants.
fn with_columns<R: Preview>(goal: &Goal, rules: &[Arc<Rule>], want: &Want) -> Goal {
    let mut schema = TableSchema::clone(&goal.schema);
    let mut added = Vec::new();
    for column in &want.columns {
        if !schema.columns.iter().any(|known| *known.name == *column.name) {
            schema.columns.push(R::Dialect::column(&column.name, &column.declared));
            added.push(format!("{} {}", column.name, R::Dialect::type_sql(&column.declared)));
        }
    }
    schema.witness = Witness::None;
    let note = match want.makes_table {
        true => {
            let rule = &rules[want.rule];
            let is_its = |other: &&Rule| rule.routing.is_none() && other.table == rule.table;
            let mut writing: Vec<&Rule> = rules.iter().map(AsRef::as_ref).filter(is_its).collect();
            if writing.is_empty() {
                writing.push(rule);
            }
            let besides = tables::make::<R::Dialect>(&mut schema, &writing);
            format!("the table is not there; the first payload makes it, with these types{besides}")
        }
        false => format!("the table gets new columns first: {}", added.join(", ")),
    };
    Goal { schema: Arc::new(schema), note: Some(note), ..goal.clone() }
}

/// The tables that a message names in the database at `index`.
pub(super) fn named(config: &Config, index: usize, message: &Message<'_>) -> Vec<TableName> {
    let of_database = |rule: &&Arc<Rule>| rule.database == index && rule.routing.is_some();
    let rules: Vec<Arc<Rule>> = config.rules.iter().filter(of_database).cloned().collect();
    let none = vec![None; rules.len()];
    let Ok(mut mapper) = Mapper::compile_some(&config.bridge, &rules, &none, &HashMap::new(), SqliteEncoder) else {
        return Vec::new();
    };
    mapper.scan(message);
    mapper.take_wants().into_iter().map(|want| want.table).collect()
}

/// The schema of tables that are named without one.
fn schema_of(url: &DatabaseUrl) -> Option<&str> {
    match url {
        DatabaseUrl::Sqlite(_) => None,
        DatabaseUrl::Postgres(url) => Some(url.schema.as_str()),
    }
}

/// The rules of one database, with what was found of their tables.
#[derive(Clone, Copy)]
pub(super) struct Mapping<'c> {
    config: &'c Config,
    /// The database's.
    index: usize,
    pub(super) rules: &'c [Arc<Rule>],
    tables: &'c Tables,
    pub(super) targets: &'c HashMap<TableName, Goal>,
    faults: &'c HashMap<TableName, String>,
}

impl Mapping<'_> {
    fn views<R: Preview>(&self, mut mapper: Mapper<Shown<R>>, encoder: &R, message: &Message<'_>) -> Vec<RuleView> {
        let mut batch = empty_batch();
        let mut outcomes = Vec::new();
        // By the names that the database has for them.
        let mut goals: HashMap<TableName, Goal> =
            self.targets.values().map(|goal| (goal.schema.name.clone(), goal.clone())).collect();
        while !mapper.map(message, &mut batch, &mut outcomes) {
            for want in mapper.take_wants() {
                let wanted = match goals.get(&want.table) {
                    Some(goal) if !want.columns.is_empty() => Ok(with_columns::<R>(goal, self.rules, &want)),
                    _ => self.wanted::<R>(&want, message),
                };
                if let Ok(goal) = &wanted {
                    goals.insert(goal.schema.name.clone(), goal.clone());
                }
                mapper.bind(&want, wanted.map(|goal| goal.schema));
            }
        }
        let mut units = 0..batch.units.len();
        let mut fates: HashMap<usize, Taken> = HashMap::new();
        for (rule, outcome) in outcomes {
            let taken = match outcome {
                Outcome::Written => {
                    let unit = units.next().expect("a written rule has its unit");
                    let taken = self.written(rule, &batch, unit, &goals, message);
                    let taken = self.with_adjustments(rule, taken, encoder, message);
                    self.with_the_rest(rule, taken, encoder, message)
                }
                Outcome::Filtered => {
                    let is_passed_over = message.retain && self.rules[rule].retained == Retained::Skip;
                    let note = match is_passed_over {
                        true => "retained messages are passed over (retained: skip)".to_owned(),
                        false => why_filtered(&self.rules[rule]),
                    };
                    Taken { note: Some(note), ..self.taken(rule, message, Fate::Filtered, None) }
                }
                Outcome::Parked => {
                    let why = self.faults.get(&self.rules[rule].table).cloned().unwrap_or_default();
                    let error = RowError { reason: BAD_TABLE.to_owned(), column: None, message: why };
                    let note = "the database is held for park_after, then the rule's messages are parked until the table and \
                                the rule fit";
                    Taken { note: Some(note.to_owned()), ..self.taken(rule, message, Fate::DeadLettered, Some(error)) }
                }
                Outcome::Refused(fault) => {
                    let column = fault.column.map(|column| column.to_string());
                    let error = RowError { reason: fault.reason.to_owned(), column, message: fault.message };
                    let taken = self.taken(rule, message, fate(fault.on_error), Some(error));
                    self.with_the_rest(rule, taken, encoder, message)
                }
            };
            fates.insert(rule, taken);
        }
        let database = &self.config.databases[self.index].name;
        let view = |(index, rule): (usize, &Arc<Rule>)| RuleView {
            rule: Arc::clone(&rule.name),
            position: rule.position.clone(),
            database: Arc::clone(database),
            verdict: match fates.remove(&index) {
                Some(taken) => Verdict::Taken(Box::new(taken)),
                None if taken_by(rule, message.topic).is_some() => {
                    Verdict::NotTaken("the message names another database".to_owned())
                }
                None => Verdict::NotTaken(why_not(rule, message.topic)),
            },
        };
        self.rules.iter().enumerate().map(view).collect()
    }

    /// The table that a message names.
    fn wanted<R: Preview>(&self, want: &Want, message: &Message<'_>) -> Result<Goal, String> {
        let rule = &self.rules[want.rule];
        let rule = match rule.routing.as_ref().map(|routing| &routing.naming) {
            Some(Naming::Convention(convention)) => rule_of_convention(rule, *convention, want.form.as_ref())?,
            _ => Rule::clone(rule),
        };
        let rule = Rule { table: want.table.clone(), routing: None, ..rule };
        let schema = schema_of(&self.config.databases[self.index].url);
        self.tables.target::<R::Dialect>(&want.table, schema, &[Arc::new(rule)], message)
    }

    /// Of a message that gives no row because of one column: what the others would hold, and what else does not fit. Each round
    /// maps under the rule without the columns that did not.
    fn with_the_rest<R: Preview>(&self, rule: usize, mut taken: Taken, encoder: &R, message: &Message<'_>) -> Taken {
        let rule = &self.rules[rule];
        let column = taken.error.as_ref().and_then(|error| error.column.clone());
        let (Some(column), Columns::Named(named), Some(goal)) = (column, &rule.columns, self.targets.get(&rule.table))
        else {
            return taken;
        };
        let mut without = vec![column];
        while without.len() < named.len() {
            let is_kept = |name: &str| !without.iter().any(|without| without.eq_ignore_ascii_case(name));
            let columns = named.iter().filter(|column| is_kept(&column.name)).cloned().collect();
            let part = Rule { columns: Columns::Named(columns), ..Rule::clone(rule) };
            // Without them in the table, too, nothing asks for the columns that must have a value.
            let mut schema = TableSchema::clone(&goal.schema);
            schema.columns.retain(|column| is_kept(&column.name));
            let goal = Goal { schema: Arc::new(schema), ..goal.clone() };
            match self.attempt(Arc::new(part), goal, encoder, message) {
                Some(Taken { error: Some(error), .. }) => {
                    let Some(column) = error.column.clone() else { break };
                    taken.other_errors.push(error);
                    without.push(column);
                }
                Some(Taken { rows, .. }) => {
                    taken.other_values = rows.into_iter().next().map_or_else(Vec::new, |row| row.values);
                    break;
                }
                None => break,
            }
        }
        taken
    }

    /// One rule by itself.
    pub(super) fn attempt<R: Preview>(
        &self,
        rule: Arc<Rule>,
        goal: Goal,
        encoder: &R,
        message: &Message<'_>,
    ) -> Option<Taken> {
        let (rules, schemas) = ([rule], [Some(Arc::clone(&goal.schema))]);
        let shown = Shown(encoder.clone());
        let mut mapper = Mapper::compile_some(&self.config.bridge, &rules, &schemas, &HashMap::new(), shown).ok()?;
        let (mut batch, mut outcomes) = (empty_batch(), Vec::new());
        if !mapper.map(message, &mut batch, &mut outcomes) {
            return None;
        }
        let goals = HashMap::from([(goal.schema.name.clone(), goal)]);
        let mapping = Mapping { rules: &rules, ..*self };
        match outcomes.pop()?.1 {
            Outcome::Written => Some(mapping.written(0, &batch, 0, &goals, message)),
            Outcome::Refused(fault) => {
                let column = fault.column.map(|column| column.to_string());
                let error = RowError { reason: fault.reason.to_owned(), column, message: fault.message };
                Some(mapping.taken(0, message, fate(fault.on_error), Some(error)))
            }
            _ => None,
        }
    }

    fn taken(&self, rule: usize, message: &Message<'_>, fate: Fate, error: Option<RowError>) -> Taken {
        let (pattern, captures) = taken_by(&self.rules[rule], message.topic).unwrap_or_default();
        Taken {
            pattern,
            captures,
            comes_by: None,
            fate,
            rows: Vec::new(),
            error,
            other_errors: Vec::new(),
            other_values: Vec::new(),
            note: None,
        }
    }

    /// A unit, unless the sink would refuse a value of it.
    fn written(
        &self,
        index: usize,
        batch: &Batch,
        unit: usize,
        goals: &HashMap<TableName, Goal>,
        message: &Message<'_>,
    ) -> Taken {
        let rule = &self.rules[index];
        let (mut rows, mut note) = (Vec::new(), None);
        for (target, row) in rows_of(batch, unit) {
            let goal = goals.get(&target.table.name);
            note = note.or_else(|| goal.and_then(|goal| goal.note.clone()));
            match self.row(rule, target, row, goal.map(|goal| &goal.assumed)) {
                Ok(row) => rows.push(row),
                Err(error) => return self.taken(index, message, fate(rule.on_error), Some(error)),
            }
        }
        Taken { rows, note, ..self.taken(index, message, Fate::Written, None) }
    }
}

/// The rows of a unit, each with where it goes.
fn rows_of(batch: &Batch, unit: usize) -> impl Iterator<Item = (&Target, &[u8])> {
    batch.runs[batch.units[unit].runs.clone()].iter().flat_map(|run| {
        let portion = &batch.portions[run.portion];
        (run.first_row..run.first_row + run.row_count).map(move |row| (&*portion.target, portion.row(row)))
    })
}

/// For one message, which comes from no journal.
fn empty_batch() -> Batch {
    Batch::new(OffsetMove { bridge: "".into(), journal: JournalId([0; 16]), from: Seq::FIRST, to: Seq::FIRST })
}

fn fate(on_error: OnError) -> Fate {
    match on_error {
        OnError::DeadLetter => Fate::DeadLettered,
        OnError::Drop => Fate::Dropped,
        OnError::Halt => Fate::Halted,
    }
}

/// Compiles the rules. A rule that does not fit its table takes the table from all of its rules, as in the daemon.
fn compile<R: Preview>(
    config: &Config,
    rules: &[Arc<Rule>],
    targets: &mut HashMap<TableName, Goal>,
    faults: &mut HashMap<TableName, String>,
    encoder: &R,
) -> Mapper<Shown<R>> {
    loop {
        let schemas: Vec<_> =
            rules.iter().map(|rule| targets.get(&rule.table).map(|target| Arc::clone(&target.schema))).collect();
        match Mapper::compile_some(&config.bridge, rules, &schemas, &HashMap::new(), Shown(encoder.clone())) {
            Ok(mapper) => return mapper,
            Err(found) => {
                for fault in found {
                    let rule = rules.iter().find(|rule| rule.name == fault.rule).expect("the fault is of one of them");
                    targets.remove(&rule.table);
                    let text = format!("rule {}: {}", fault.rule, fault.message);
                    let told = faults.entry(rule.table.clone()).or_default();
                    if !told.is_empty() {
                        told.push_str("; ");
                    }
                    told.push_str(&text);
                }
            }
        }
    }
}
