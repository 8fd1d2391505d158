//! Rows of one plan that fill different columns.
//!
//! A column that has a default in the database and no value in the message is left out of the row, so that the default
//! applies. All rows of a statement fill the same columns, so each set of columns that occurs, a shape, is a target of
//! its own: an entry of [`Batch::tables`] with its own column list, written in the same transaction. The full shape of
//! each plan is there from the start, others come when they first occur.
//!
//! Within a shape rows go in the order of the journal, shape by shape within a table; a serial column counts so.
//!
//! Every shape of a batch is a statement, to a far database a round trip. When a plan has [`SHAPES_MAX`] of them the
//! batch should end; [`Targets::forget`] then makes room, so no message is refused for its choice of fields.

use std::collections::HashMap;
use std::sync::Arc;

use crate::batch::{Batch, TableRows};
use crate::rule::TableName;
use crate::schema::TableSchema;

/// Shapes of one plan besides the full one. Weighed against searching them one by one for each message, and against the
/// round trips of a batch: the rows of a device with six optional fields still go together.
const SHAPES_MAX: usize = 64;

/// Where each plan's rows go. The order is that of [`Batch::tables`].
#[derive(Debug, Default)]
pub(super) struct Targets {
    all: Vec<(Arc<TableSchema>, Arc<[usize]>)>,
    /// Where in `all` a table and column list are.
    known: HashMap<(TableName, Arc<[usize]>), usize>,
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
    pub(super) fn add_plan(&mut self, schema: &Arc<TableSchema>, columns: Arc<[usize]>) {
        let full = self.place(schema, columns);
        self.full_count = self.all.len();
        self.plans.push(Shapes { full, others: Vec::new() });
    }

    /// The target of rows under `plan` without the columns at these positions of its list, ascending.
    pub(super) fn of(&mut self, plan: usize, left_out: &[usize]) -> usize {
        let shapes = &self.plans[plan];
        if left_out.is_empty() {
            return shapes.full;
        }
        if let Some(known) = shapes.others.iter().find(|shape| *shape.left_out == *left_out) {
            return known.target;
        }
        let (schema, columns) = &self.all[shapes.full];
        let schema = Arc::clone(schema);
        let kept = columns.iter().enumerate().filter(|(position, _)| left_out.binary_search(position).is_err());
        let kept = kept.map(|(_, column)| *column).collect();
        let target = self.place(&schema, kept);
        let shapes = &mut self.plans[plan];
        shapes.others.push(Shape { left_out: left_out.into(), target });
        self.is_crowded |= shapes.others.len() >= SHAPES_MAX;
        target
    }

    /// Gives `batch` the entries that came since.
    pub(super) fn extend(&self, batch: &mut Batch) {
        assert!(batch.tables.len() >= self.full_count, "the batch was made from this mapper's targets");
        if batch.tables.len() < self.all.len() {
            let new = self.all[batch.tables.len()..].iter().map(without_rows);
            batch.tables.extend(new);
        }
    }

    /// All that are known, without rows.
    pub(super) fn tables(&self) -> Vec<TableRows> {
        self.all.iter().map(without_rows).collect()
    }

    /// The table of a plan.
    pub(super) fn table(&self, plan: usize) -> &Arc<TableSchema> {
        &self.all[self.plans[plan].full].0
    }

    /// The tables of all plans, one for each full shape.
    pub(super) fn full_tables(&self) -> impl Iterator<Item = &Arc<TableSchema>> {
        self.all[..self.full_count].iter().map(|(table, _)| table)
    }

    /// Whether a plan has as many shapes as a batch should have.
    pub(super) fn is_crowded(&self) -> bool {
        self.is_crowded
    }

    /// If crowded, forgets all but the full shapes. `batch` must be without rows, and the only one.
    pub(super) fn forget(&mut self, batch: &mut Batch) {
        if self.is_crowded {
            assert!(batch.units.is_empty(), "no row lies in an entry that goes");
            batch.tables.truncate(self.full_count);
            self.all.truncate(self.full_count);
            self.known.retain(|_, target| *target < self.full_count);
            self.plans.iter_mut().for_each(|shapes| shapes.others.clear());
            self.is_crowded = false;
        }
    }

    /// The index of a table and column list, added if it is new: plans that fill the same columns share one.
    fn place(&mut self, schema: &Arc<TableSchema>, columns: Arc<[usize]>) -> usize {
        let new = self.all.len();
        let target = *self.known.entry((schema.name.clone(), Arc::clone(&columns))).or_insert(new);
        if target == new {
            self.all.push((Arc::clone(schema), columns));
        }
        target
    }
}

fn without_rows((table, columns): &(Arc<TableSchema>, Arc<[usize]>)) -> TableRows {
    TableRows { table: Arc::clone(table), columns: Arc::clone(columns), bytes: Vec::new(), ends: Vec::new() }
}
