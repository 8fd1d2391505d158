//! Several batches in one transaction, for a database that lags behind.

use crate::batch::{Batch, DeadLetter, OffsetMove, Portion, Remembered};

/// The current batch and the part of the backlog that may share its transaction.
///
/// The sink writes the rows of the current batch and calls [`Series::advance`], until that returns false; then all dead
/// letters, the compare-and-swap of [`Series::offset`], and COMMIT. An earlier batch cannot be requested again: after
/// an error the caller starts the series anew.
pub trait Series {
    /// The current batch; no unit of it is excluded.
    fn batch(&self) -> &Batch;

    /// Whether [`Series::advance`] would go on now. If not from the start, this is one batch and [`super::Sink::write`]'s
    /// affair.
    fn may_advance(&self) -> bool;

    /// Makes the next batch the current one; `false` if none is to follow, and the current one stays.
    fn advance(&mut self) -> bool;

    /// Takes the rows out of the current batch, for a sink that writes them on a second thread while the next batch is
    /// made. After that they cannot be requested again either.
    fn take_rows(&mut self) -> Vec<Portion>;

    /// Dead letters of the batches before the current one.
    fn earlier_dead_letters(&self) -> &[DeadLetter];

    /// The payload hashes to store for batches before the current one.
    fn earlier_remembered(&self) -> &[Remembered];

    /// From the beginning of the first batch to the end of the current one.
    fn offset(&self) -> OffsetMove;
}
