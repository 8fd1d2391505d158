//! The trait that encodes values in a database's wire format.

use crate::schema::{Cell, ColumnType, Dialect};

/// Turns cells into the sink's wire form. Stateless and cheap to clone.
pub trait RowEncoder: Clone + Send + 'static {
    /// The engine's ways with types and names.
    type Dialect: Dialect;

    /// Bytes that a row has here for each byte that goes to the database, about.
    const SPREAD: usize = 1;

    /// Appends what goes before a row's cells (Postgres: the COPY tuple's column count).
    fn begin_row(&self, column_count: usize, out: &mut Vec<u8>);

    /// Appends one cell. `cell` fits `column_type` (mapping's coercion made it so); `Cell::Null` fits any.
    fn cell(&self, column_type: &ColumnType, cell: Cell<'_>, out: &mut Vec<u8>);

    /// Why the database has no exact form for the cell that was appended last, whose bytes are `written`.
    #[inline(always)]
    fn misfit(&self, _written: &[u8]) -> Option<String> {
        None
    }
}
