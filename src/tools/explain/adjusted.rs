//! The effect of adjustments on the values of a row: the same message is mapped by the same rule without them.

use std::sync::Arc;

use super::plans::Mapping;
use super::tables::Goal;
use super::{Given, Taken};
use crate::config::{Column, Columns, OnError, Rule};
use crate::message::Message;
use crate::rule::Adjustments;
use crate::schema::{ColumnType, TableSchema};
use crate::sink::Preview;

/// As JSON.
const NULL: &str = "null";

impl Mapping<'_> {
    /// Says of each value that an adjustment changed what the message has.
    pub(super) fn with_adjustments<R: Preview>(
        &self,
        rule: usize,
        mut taken: Taken,
        encoder: &R,
        message: &Message<'_>,
    ) -> Taken {
        let rule = &self.rules[rule];
        let (Columns::Named(named), Some(goal)) = (&rule.columns, self.targets.get(&rule.table)) else { return taken };
        if !named.iter().any(|column| column.adjust.is_some()) {
            return taken;
        }
        let columns = named.iter().map(|column| match column.adjust {
            Some(_) => Arc::new(bare(column)),
            None => Arc::clone(column),
        });
        let goal_of_bare = as_it_comes(goal, named);
        let Some(before) = self.attempt(with_columns(rule, columns), goal_of_bare, encoder, message) else {
            return taken;
        };
        if before.rows.len() != taken.rows.len() {
            return taken;
        }
        for (row, before) in taken.rows.iter_mut().zip(&before.rows) {
            for value in &mut row.values {
                let column = named.iter().find(|column| column.name.eq_ignore_ascii_case(&value.column));
                let Some(adjust) = column.and_then(|column| column.adjust.as_deref()) else { continue };
                let Some(given) = before.values.iter().find(|before| before.column == value.column) else { continue };
                // A value that is not there is not adjusted.
                if given.held.json == NULL || given.held.json == value.held.json {
                    continue;
                }
                let is_nulled = adjust.misfits_are_null && value.held.json == NULL;
                let nulled = is_nulled.then(|| self.misfit(rule, &value.column, goal, encoder, message)).flatten();
                value.given = Some(Given { json: given.held.json.clone(), by: names(adjust), nulled });
            }
        }
        taken
    }

    /// Why the value of a column with `on_error: null` does not fit; none if it does, and is NULL by `map`.
    fn misfit<R: Preview>(
        &self,
        rule: &Rule,
        name: &str,
        goal: &Goal,
        encoder: &R,
        message: &Message<'_>,
    ) -> Option<String> {
        let Columns::Named(named) = &rule.columns else { return None };
        let columns = named.iter().map(|column| {
            let mut column = Column::clone(column);
            if let (true, Some(adjust)) = (column.name.eq_ignore_ascii_case(name), &mut column.adjust) {
                adjust.misfits_are_null = false;
                column.on_error = Some(OnError::DeadLetter);
            }
            Arc::new(column)
        });
        let error = self.attempt(with_columns(rule, columns), goal.clone(), encoder, message)?.error?;
        error.column.as_ref().is_some_and(|column| column.eq_ignore_ascii_case(name)).then_some(error.message)
    }
}

fn with_columns(rule: &Rule, columns: impl Iterator<Item = Arc<Column>>) -> Arc<Rule> {
    Arc::new(Rule { columns: Columns::Named(columns.collect()), ..Rule::clone(rule) })
}

/// The column without all that is done to its values.
fn bare(column: &Column) -> Column {
    Column { declared: None, adjust: None, time: None, tz: None, default: None, required: false, ..column.clone() }
}

/// The table with columns that take adjusted values as they come.
fn as_it_comes(goal: &Goal, named: &[Arc<Column>]) -> Goal {
    let mut goal = goal.clone();
    let mut schema = TableSchema::clone(&goal.schema);
    for column in &mut schema.columns {
        let is_adjusted = |named: &Arc<Column>| named.adjust.is_some() && named.name.eq_ignore_ascii_case(&column.name);
        if named.iter().any(is_adjusted) {
            column.column_type = ColumnType::Any;
            column.not_null = false;
            goal.assumed.insert(column.name.clone());
        }
    }
    goal.schema = Arc::new(schema);
    goal
}

/// The adjustments, as the configuration names them, in the order in which they are made.
fn names(adjust: &Adjustments) -> Vec<&'static str> {
    let is_there = [
        ("decode", !adjust.decode.is_empty()),
        ("map", adjust.map.is_some()),
        ("decimal", adjust.decimal.is_some()),
        ("unit", adjust.ignores_unit),
        ("scale", adjust.scale.is_some()),
        ("shift", adjust.shift.is_some()),
    ];
    is_there.into_iter().filter(|(_, is_there)| *is_there).map(|(name, _)| name).collect()
}
