//! From values to a database's wire form.

use crate::schema::{Cell, ColumnType};

/// Turns cells into the sink's wire form. Stateless and cheap to clone.
pub trait RowEncoder: Clone + Send + 'static {
    /// Whether a text column takes the NUL character. SQLite's does, Postgres' does not.
    const TEXT_TAKES_NUL: bool;

    /// Whether column names compare without regard to case. SQLite's do, Postgres' do not; they go together so far.
    const NAMES_FOLD_CASE: bool = Self::TEXT_TAKES_NUL;

    /// Appends what goes before a row's cells (Postgres: the COPY tuple's column count).
    fn begin_row(&self, column_count: usize, out: &mut Vec<u8>);

    /// Appends one cell. `cell` fits `column_type` (mapping's coercion made it so); `Cell::Null` fits any.
    fn cell(&self, column_type: &ColumnType, cell: Cell<'_>, out: &mut Vec<u8>);
}
