//! Parts that compiled rules have in common are kept once.
//!
//! Rules that differ only in their names and topics share one plan, which is compiled once. Other rules share equal
//! columns and payload paths. So the plans of ten thousand rules take little more memory than one, and a message finds
//! its rule's plan in the processor's cache.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use super::payload::PathTree;
use super::plan::PlanColumn;
use super::programs::use_variable;
use crate::config::{Columns, Create, ForEach, Format, Mode, OnError, Retained, Rule, Shaping, Unmapped};
use crate::jq::Variable;
use crate::rule::{Source, Statement, TimeFormat};
use crate::schema::TableSchema;

/// The parts of the plans compiled so far.
#[derive(Default)]
pub(super) struct Parts {
    columns: HashSet<Arc<PlanColumn>>,
    trees: HashSet<Arc<PathTree>>,
}

impl Parts {
    pub(super) fn column(&mut self, column: PlanColumn) -> Arc<PlanColumn> {
        once(&mut self.columns, column)
    }

    /// Forgets what no plan has any more.
    pub(super) fn forget_unused(&mut self) {
        self.columns.retain(|column| Arc::strong_count(column) > 1);
        self.trees.retain(|tree| Arc::strong_count(tree) > 1);
    }

    pub(super) fn tree(&mut self, tree: PathTree) -> Arc<PathTree> {
        once(&mut self.trees, tree)
    }
}

fn once<T: Eq + Hash>(known: &mut HashSet<Arc<T>>, new: T) -> Arc<T> {
    if let Some(known) = known.get(&new) {
        return Arc::clone(known);
    }
    let new = Arc::new(new);
    known.insert(Arc::clone(&new));
    new
}

/// Everything that decides what a rule compiles to: equal for two rules only if one plan serves both.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Likeness<'r> {
    /// The address: rules on one table have one schema.
    schema: *const TableSchema,
    /// The address of the list, which equal ones share; `None` for `columns: auto`.
    columns: Option<*const ()>,
    format: &'r Format,
    shaping: &'r Shaping,
    for_each: &'r ForEach,
    unmapped: &'r Unmapped,
    times: Option<(&'r TimeFormat, String, bool)>,
    rows_max: usize,
    mode: &'r Mode,
    create: Option<&'r Create>,
    statement: Option<&'r Statement>,
    retained: Retained,
    on_error: OnError,
    /// The captures of each pattern, if a column takes one.
    captures: Vec<Vec<&'r str>>,
    /// If a column is filled with it.
    name: Option<&'r str>,
}

impl<'r> Likeness<'r> {
    pub(super) fn of(rule: &'r Rule, schema: &'r Arc<TableSchema>) -> Likeness<'r> {
        // Every field is named, so that a new one cannot be forgotten. Those with `_` do not affect the plan: the topics
        // and the database say which messages come, the schema is that of `table`, and `reply` answers after the plan.
        let Rule {
            name,
            topics,
            qos: _,
            own_qos: _,
            subscribe_properties: _,
            database: _,
            chooser: _,
            table: _,
            routing: _,
            statement,
            format,
            shaping,
            for_each,
            times,
            rows_max,
            unmapped,
            columns,
            create,
            mode,
            retained,
            on_error,
            reply: _,
            position: _,
        } = rule;
        let list = match columns {
            Columns::Auto => &[][..],
            Columns::Named(columns) => columns,
        };
        let reads = |wanted: fn(&Source) -> bool| list.iter().flat_map(|column| column.source.sources()).any(wanted);
        let takes_captures =
            reads(|source| matches!(source, Source::TopicCapture(_))) || use_variable(rule, Variable::Captures);
        let takes_name = reads(|source| matches!(source, Source::Rule)) || use_variable(rule, Variable::Rule);
        Likeness {
            schema: Arc::as_ptr(schema),
            columns: match columns {
                Columns::Auto => None,
                Columns::Named(columns) => Some(Arc::as_ptr(columns).cast()),
            },
            format,
            shaping,
            for_each,
            unmapped,
            times: times.as_ref().map(|times| (&times.format, format!("{:?}", times.zone), times.needs_all_columns)),
            rows_max: *rows_max,
            mode,
            create: create.as_deref(),
            statement: statement.as_deref(),
            retained: *retained,
            on_error: *on_error,
            captures: match takes_captures {
                true => topics.iter().map(|topic| topic.captures().collect()).collect(),
                false => Vec::new(),
            },
            name: takes_name.then_some(&**name),
        }
    }
}

/// Which plan serves which rule, while rules are compiled.
pub(super) type Known<'r> = HashMap<Likeness<'r>, usize>;
