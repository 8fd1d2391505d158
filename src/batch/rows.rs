//! Encoded rows: their target tables, and their layout in a batch.

use std::sync::Arc;

use crate::rule::Statement;
use crate::schema::TableSchema;

/// Where rows go: a table, the columns they fill, and what is done with them there.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Its number among the targets of one mapper.
    pub id: usize,
    /// The table's number among those of one mapper, in the order of the rules.
    pub table_id: usize,
    pub table: Arc<TableSchema>,
    /// The columns that the rows fill: indexes into `table.columns`, in row order.
    pub columns: Arc<[usize]>,
    pub verb: Verb,
    /// Rows of this table are written in journal order, across its targets, because some of them change others.
    pub in_order: bool,
}

/// How a row is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Verb {
    Insert,
    /// Inserted, unless there is a row with the same values in these columns (indexes into the table's).
    Ignore(Arc<[usize]>),
    /// Inserted, or put in place of the row with the same values in these columns.
    Upsert(Arc<[usize]>),
    /// The values are the statement's binds, in their order; the table describes them.
    Statement(Arc<Statement>),
}

/// Rows of one target, one after the other.
#[derive(Debug, Clone)]
pub struct Portion {
    pub target: Arc<Target>,
    /// All rows, one after the other, in the sink's wire form.
    pub bytes: Vec<u8>,
    /// `ends[i]` is the byte offset just past row `i`.
    pub ends: Vec<usize>,
    pub owner: Owner,
}

/// Neighbouring rows of a portion that belong to one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Index into [`Batch::portions`](super::Batch::portions).
    pub portion: usize,
    pub first_row: usize,
    pub row_count: usize,
}

/// Whose rows they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Owner {
    #[default]
    Nobody,
    Rule(usize),
    Several,
}

impl Target {
    /// One into which rows are inserted, the only one of its table.
    pub fn insert(id: usize, table: Arc<TableSchema>, columns: Arc<[usize]>) -> Target {
        Target { id, table_id: id, table, columns, verb: Verb::Insert, in_order: false }
    }

    /// Whether a statement of the rule's own runs for each row.
    pub fn has_statement(&self) -> bool {
        matches!(self.verb, Verb::Statement(_))
    }

    /// Whether rows of the two can go into one statement.
    pub fn is_like(&self, other: &Target) -> bool {
        Arc::ptr_eq(&self.table, &other.table) && self.columns == other.columns && self.verb == other.verb
    }
}

impl Portion {
    /// One without rows.
    pub fn new(target: Arc<Target>) -> Portion {
        Portion { target, bytes: Vec::new(), ends: Vec::new(), owner: Owner::Nobody }
    }

    /// The bytes of row `index`.
    pub fn row(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }

    /// Cuts the rows from `len` on off.
    pub(super) fn truncate(&mut self, len: usize) {
        self.ends.truncate(len);
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
    }
}

impl Owner {
    pub fn and(self, other: Owner) -> Owner {
        match (self, other) {
            (Owner::Nobody, owner) | (owner, Owner::Nobody) => owner,
            (one, other) if one == other => one,
            _ => Owner::Several,
        }
    }

    /// Index into the compiled rules, if there is but one.
    pub fn rule(self) -> Option<usize> {
        if let Owner::Rule(rule) = self { Some(rule) } else { None }
    }
}
