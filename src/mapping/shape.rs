//! Rows of one plan that fill different columns.
//!
//! If a column has a default in the database and the message has no value for it, the row omits the column, so that the
//! default applies. All rows of a statement fill the same columns. So each set of columns that occurs, a *shape*, is a
//! separate target with its own column list, written in the same transaction. The full shape of each plan exists from
//! the start; others are added when they first occur.
//!
//! A table's rows are written shape by shape, and in journal order within a shape, which also is the order of serial
//! columns. If a rule changes existing rows (`mode: upsert`), all rows of that table keep journal order. So do the rows
//! of all rules with a `statement`.
//!
//! Every shape of a batch is a statement, and for a distant database a round trip. When a plan has [`SHAPES_MAX`]
//! shapes the batch should end; [`Targets::forget`] then makes room, so no message is refused for its set of fields.

use std::collections::HashMap;
use std::sync::Arc;

use crate::batch::{Batch, Target, Verb};
use crate::rule::TableName;
use crate::schema::TableSchema;

/// Shapes of one plan besides the full one. Weighed against searching them one by one for each message, and against the
/// round trips of a batch: the rows of a device with six optional fields still go together.
const SHAPES_MAX: usize = 64;

/// Where each plan's rows go.
#[derive(Debug, Default)]
pub(super) struct Targets {
    all: Vec<Arc<Target>>,
    /// Where in `all` a table, a column list and what is done there are.
    known: HashMap<(TableName, Arc<[usize]>, Verb), usize>,
    /// `None`: all statements, which may be about the same rows.
    table_ids: HashMap<Option<TableName>, usize>,
    /// So many of them, from the first, are full shapes.
    full_count: usize,
    plans: Vec<Shapes>,
    is_crowded: bool,
}

/// The targets of one plan.
#[derive(Debug)]
struct Shapes {
    /// The one that has all of the plan's columns.
    full: usize,
    others: Vec<Shape>,
}

#[derive(Debug)]
struct Shape {
    /// Positions in the plan's column list, ascending.
    left_out: Box<[usize]>,
    target: usize,
}

impl Targets {
    /// Adds the next plan, which fills `columns` of its table. To be called before any other shape is asked for.
    pub(super) fn add_plan(&mut self, schema: &Arc<TableSchema>, columns: Arc<[usize]>, verb: Verb) {
        let full = self.place(schema, columns, verb);
        self.full_count = self.all.len();
        self.plans.push(Shapes { full, others: Vec::new() });
        let table_id = self.all[full].table_id;
        let of_table = |target: &&mut Arc<Target>| target.table_id == table_id;
        let is_in_order = self.all.iter_mut().filter(of_table).any(|target| target.verb != Verb::Insert);
        if is_in_order {
            self.all.iter_mut().filter(of_table).for_each(|target| Arc::make_mut(target).in_order = true);
        }
    }

    /// The target of rows under `plan` without the columns at these positions of its list, ascending.
    #[inline]
    pub(super) fn of(&mut self, plan: usize, left_out: &[usize]) -> &Arc<Target> {
        let target = match left_out {
            [] => self.plans[plan].full,
            _ => self.of_part(plan, left_out),
        };
        &self.all[target]
    }

    fn of_part(&mut self, plan: usize, left_out: &[usize]) -> usize {
        let shapes = &self.plans[plan];
        if let Some(known) = shapes.others.iter().find(|shape| *shape.left_out == *left_out) {
            return known.target;
        }
        let full = Arc::clone(&self.all[shapes.full]);
        let kept = full.columns.iter().enumerate().filter(|(position, _)| left_out.binary_search(position).is_err());
        let kept = kept.map(|(_, column)| *column).collect();
        let target = self.place(&full.table, kept, full.verb.clone());
        let shapes = &mut self.plans[plan];
        shapes.others.push(Shape { left_out: left_out.into(), target });
        self.is_crowded |= shapes.others.len() >= SHAPES_MAX;
        target
    }

    /// The target of a plan's rows that fill all of its columns.
    pub(super) fn full(&self, plan: usize) -> &Arc<Target> {
        &self.all[self.plans[plan].full]
    }

    /// The table of a plan.
    pub(super) fn table(&self, plan: usize) -> &Arc<TableSchema> {
        &self.full(plan).table
    }

    /// The tables of all plans, one for each full shape.
    pub(super) fn full_tables(&self) -> impl Iterator<Item = &Arc<TableSchema>> {
        self.all[..self.full_count].iter().map(|target| &target.table)
    }

    #[cfg(test)]
    pub(super) fn columns(&self) -> Vec<Vec<usize>> {
        self.all.iter().map(|target| target.columns.to_vec()).collect()
    }

    /// Whether a plan has as many shapes as a batch should have.
    pub(super) fn is_crowded(&self) -> bool {
        self.is_crowded
    }

    /// Forgets all but the full shapes. No batch may hold rows of others.
    pub(super) fn drop_parts(&mut self) {
        self.all.truncate(self.full_count);
        self.known.retain(|_, target| *target < self.full_count);
        self.plans.iter_mut().for_each(|shapes| shapes.others.clear());
        self.is_crowded = false;
    }

    /// Those of these plans only, in this order.
    pub(super) fn of_plans(&self, plans: &[usize]) -> Targets {
        let mut targets = Targets::default();
        for plan in plans {
            let full = &self.all[self.plans[*plan].full];
            targets.add_plan(&full.table, Arc::clone(&full.columns), full.verb.clone());
        }
        targets
    }

    /// If crowded, forgets all but the full shapes. `batch` must be without rows. A pool may hold rows of the forgotten targets: it
    /// knows these by themselves, not by their numbers.
    pub(super) fn forget(&mut self, batch: &Batch) {
        if self.is_crowded {
            assert!(batch.units.is_empty(), "no row lies in a target that goes");
            self.drop_parts();
        }
    }

    /// The index of a target, added if it is new: plans that fill the same columns share one.
    fn place(&mut self, table: &Arc<TableSchema>, columns: Arc<[usize]>, verb: Verb) -> usize {
        let id = self.all.len();
        let target = *self.known.entry((table.name.clone(), Arc::clone(&columns), verb.clone())).or_insert(id);
        if target == id {
            let next_table = self.table_ids.len();
            let ordered_by = (!matches!(verb, Verb::Statement(_))).then(|| table.identity());
            let table_id = *self.table_ids.entry(ordered_by).or_insert(next_table);
            let in_order = self.all.iter().any(|other| other.table_id == table_id && other.in_order);
            self.all.push(Arc::new(Target { id, table_id, table: Arc::clone(table), columns, verb, in_order }));
        }
        target
    }
}
