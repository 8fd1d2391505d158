//! Several batches in one transaction, for a database that lags behind.

use crate::batch::{Batch, DeadLetter, OffsetMove, Portion, Remembered};

/// The batch at hand and what of the backlog may go in the same transaction behind it.
///
/// The sink writes the rows of the batch at hand, calls [`Series::advance`], and so on until that says no; then all dead
/// letters, the compare-and-swap of [`Series::offset`], and COMMIT. What is not at hand any more cannot be asked for
/// again: whoever gave the series begins it anew after an error.
pub trait Series {
    /// The batch at hand; no unit of it is excluded.
    fn batch(&self) -> &Batch;

    /// Whether [`Series::advance`] would go on now. If not from the start, this is one batch and [`super::Sink::write`]'s
    /// affair.
    fn may_advance(&self) -> bool;

    /// Puts the next batch in the place of the one at hand; `false` if none is to follow, and the one at hand stays.
    fn advance(&mut self) -> bool;

    /// Takes the rows out of the batch at hand, for a sink that writes them on a thread of its own while the next batch
    /// is made. After that they cannot be asked for again either.
    fn take_rows(&mut self) -> Vec<Portion>;

    /// Dead letters of the batches before the one at hand.
    fn earlier_dead_letters(&self) -> &[DeadLetter];

    /// What batches before the one at hand have to remember.
    fn earlier_remembered(&self) -> &[Remembered];

    /// From the beginning of the first batch to the end of the one at hand.
    fn offset(&self) -> OffsetMove;
}
