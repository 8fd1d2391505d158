//! The messages after the current batch, for a sink that takes more than one batch in a transaction.
//!
//! A distant database answers a transaction after a few round trips, whatever its size. So the more it lags behind, the
//! more batches share a transaction. If such a transaction fails, it is rolled back as a whole and its batches are
//! written one by one. Only in a batch by itself can a row be found at fault.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::account::Account;
use super::gather::{Gatherer, Halt};
use super::rules::{self, RuleFeed};
use crate::batch::{Batch, DeadLetter, OffsetMove, Portion, Remembered, RowEncoder};
use crate::clock::Timestamp;
use crate::journal::{Entry, Fs, JournalError, Reader, Watermark};
use crate::message::Seq;
use crate::shutdown::Shutdown;
use crate::sink::Series;

/// How long a transaction may be fed. 1 s: three round trips of 100 ms beside it cost a third; twice as long would gain
/// little for anybody nearer, and hold locks and the rows out of sight.
pub(super) const SERIES_TIME: Duration = Duration::from_secs(1);

/// Of `statement_timeout`, which the server applies to each COPY as a whole.
const STATEMENT_TIME_SHARE: u32 = 4;

/// A transaction holds at most so many times `batch.max_rows` rows.
const SERIES_BATCHES_MAX: usize = 200;

/// How much longer a series may be than the last one that went in: after a failure a few short ones find the culprit.
const SERIES_GROWTH: usize = 4;

/// Messages mapped at a time while rows go to one table only: few enough that the server does not run out of work
/// meanwhile, with what the socket's buffers hold.
const PORTION_ROWS: usize = 1_000;

/// Dead letters, and bytes of their payloads, that wait in memory for the end of a series; with more it ends.
const LETTERS_MAX: usize = 1_000;
const LETTER_BYTES_MAX: usize = 1 << 20;

/// What waits in memory to be remembered at the end of a series; with more it ends.
const REMEMBERED_MAX: usize = 100_000;

/// How many messages may go into one transaction: learnt from how the last ones went.
#[derive(Debug)]
pub(super) struct SeriesLimit {
    rows: usize,
    rows_max: usize,
    time: Duration,
    batch_rows: usize,
}

impl SeriesLimit {
    pub(super) fn new(batch_rows: usize, statement_timeout: Duration) -> SeriesLimit {
        let rows_max = batch_rows.saturating_mul(SERIES_BATCHES_MAX);
        let time = SERIES_TIME.min(statement_timeout / STATEMENT_TIME_SHARE);
        SeriesLimit { rows: rows_max, rows_max, time, batch_rows }
    }

    /// The next batch goes alone.
    pub(super) fn fall_back(&mut self) {
        self.rows = self.batch_rows;
    }

    /// All that was asked for went in, in that time; `is_clean` if no row was refused.
    pub(super) fn learn(&mut self, elapsed: Duration, is_clean: bool) {
        if !is_clean {
            return self.fall_back();
        }
        // The time of feeding is bounded by itself, but buffers on the way may have taken more than the way could carry.
        self.rows = if elapsed > SERIES_TIME * 2 {
            (self.rows / 2).max(self.batch_rows)
        } else {
            self.rows.saturating_mul(SERIES_GROWTH).min(self.rows_max)
        };
    }
}

/// What a batch is filled from, and how far.
pub(super) struct Filling<'a, F: Fs> {
    pub(super) reader: &'a mut Reader<F>,
    pub(super) rules: &'a RuleFeed,
    pub(super) account: &'a mut Account,
    pub(super) halt_before: &'a mut Option<Seq>,
    pub(super) until: Option<Seq>,
    pub(super) rows_max: usize,
    pub(super) bytes_max: usize,
}

/// What became of filling a batch.
pub(super) struct Filled {
    /// The next message to read is one that halts.
    pub(super) halted: Option<Halt>,
    /// When the oldest message in it was received.
    pub(super) oldest: Option<Timestamp>,
}

impl<F: Fs> Filling<'_, F> {
    /// Fills the batch from the journal. A halt leaves its message as the next one to read, and so do newer rules: what was
    /// read after they were published may be of a filter that only they have.
    pub(super) fn fill<R: RowEncoder>(&mut self, gatherer: &mut Gatherer<R>) -> Result<Filled, JournalError> {
        let mut filled = Filled { halted: None, oldest: None };
        while !gatherer.is_full(self.rows_max, self.bytes_max) {
            let position = self.reader.position();
            let is_halted = self.halt_before.is_some_and(|seq| position >= seq);
            if self.until.is_some_and(|until| position >= until) || (is_halted && !gatherer.is_empty()) {
                break;
            }
            let entry = self.reader.next();
            match &entry {
                Err(_) => return entry.map(|_| filled),
                Ok(None) => break,
                Ok(Some(Entry::Message(_))) if rules::has_newer(self.rules) => {
                    self.reader.seek(position)?;
                    break;
                }
                Ok(Some(Entry::Message(message))) => {
                    filled.oldest.get_or_insert(message.received_at);
                    match gatherer.add(message, self.account) {
                        Ok(true) => {}
                        Ok(false) => {
                            self.scan(gatherer)?;
                            self.reader.seek(position)?;
                            break;
                        }
                        Err(halt) => {
                            *self.halt_before = Some(halt.seq);
                            self.reader.seek(halt.seq)?;
                            filled.halted = Some(halt);
                            break;
                        }
                    }
                }
                Ok(Some(Entry::Lost(lost))) => gatherer.add_lost(lost, self.account),
            }
            if is_halted {
                break;
            }
        }
        Ok(filled)
    }

    /// Collects the tables that the next messages need, after one that needs a table, so that they are looked up
    /// together.
    fn scan<R: RowEncoder>(&mut self, gatherer: &mut Gatherer<R>) -> Result<(), JournalError> {
        for _ in 0..self.rows_max {
            match &self.reader.next()? {
                Some(Entry::Message(message)) if !rules::has_newer(self.rules) && gatherer.scan(message) => {}
                Some(Entry::Lost(_)) => {}
                _ => break,
            }
        }
        Ok(())
    }
}

/// The current batch and the backlog after it.
pub(super) struct Backlog<'a, R: RowEncoder, F: Fs> {
    pub(super) gatherer: &'a mut Gatherer<R>,
    pub(super) filling: Filling<'a, F>,
    watermark: &'a watch::Receiver<Watermark>,
    shutdown: &'a Shutdown,
    first: Seq,
    /// The number of rows of the batches before the current one, and of those that were taken out of it.
    earlier_rows: usize,
    earlier_letters: Vec<DeadLetter>,
    earlier_letter_bytes: usize,
    earlier_remembered: Vec<Remembered>,
    /// Whether more than the batch at hand was given out, or its rows were taken.
    is_series: bool,
    /// Tables that rows of the batch at hand were taken for.
    tables_taken: usize,
    end: Option<Seq>,
    /// Why the series ended before.
    unreadable: Option<JournalError>,
    /// What was there when the series began.
    waiting: Seq,
    time: Duration,
    /// Set when the first batch is written: to a far database, beginning takes a while by itself.
    due: Option<Instant>,
    batch_rows: usize,
}

impl<'a, R: RowEncoder, F: Fs> Backlog<'a, R, F> {
    /// `gatherer` holds the first batch.
    pub(super) fn new(
        gatherer: &'a mut Gatherer<R>,
        filling: Filling<'a, F>,
        limit: &SeriesLimit,
        watermark: &'a watch::Receiver<Watermark>,
        shutdown: &'a Shutdown,
    ) -> Backlog<'a, R, F> {
        let first = gatherer.batch.offset.from;
        let alone = limit.rows <= limit.batch_rows || filling.rows_max < limit.batch_rows;
        Backlog {
            gatherer,
            filling,
            watermark,
            shutdown,
            first,
            earlier_rows: 0,
            earlier_letters: Vec::new(),
            earlier_letter_bytes: 0,
            earlier_remembered: Vec::new(),
            is_series: false,
            tables_taken: 0,
            waiting: watermark.borrow().next_seq,
            end: (!alone).then_some(Seq(first.0.saturating_add(limit.rows as u64))),
            unreadable: None,
            time: limit.time,
            due: None,
            batch_rows: limit.batch_rows,
        }
    }

    /// Why the journal could not be read as far as the series was to go.
    pub(super) fn take_unreadable(&mut self) -> Option<JournalError> {
        self.unreadable.take()
    }

    /// Whether what was written is no longer at hand, so that after an error it must be gathered again.
    pub(super) fn is_series(&self) -> bool {
        self.is_series
    }

    /// Rows that are no longer in the batch at hand.
    pub(super) fn earlier_rows(&self) -> usize {
        self.earlier_rows
    }

    fn letters_fit(&self) -> bool {
        let letters = &self.gatherer.batch.dead_letters;
        let bytes: usize = letters.iter().map(DeadLetter::bytes).sum();
        self.earlier_letters.len() + letters.len() <= LETTERS_MAX
            && self.earlier_letter_bytes + bytes <= LETTER_BYTES_MAX
    }

    /// Rows for several tables come in larger portions: the sink collects them, or each takes a statement.
    fn portion_rows(&self) -> usize {
        let tables = self.gatherer.batch.portions.iter().filter(|portion| !portion.ends.is_empty()).count();
        if tables.max(self.tables_taken) > 1 { self.batch_rows } else { PORTION_ROWS.min(self.batch_rows) }
    }
}

impl<R: RowEncoder, F: Fs> Series for Backlog<'_, R, F> {
    fn batch(&self) -> &Batch {
        &self.gatherer.batch
    }

    fn may_advance(&self) -> bool {
        let position = self.gatherer.batch.offset.to;
        // Messages for less than a batch go into the next transaction, together with others. But a running series takes
        // the last messages that it began with.
        let is_last = self.is_series && position < self.waiting;
        let enough = if is_last { position } else { Seq(position.0.saturating_add(self.batch_rows as u64)) };
        self.end.is_some_and(|end| position < end)
            && self.filling.halt_before.is_none()
            && !self.gatherer.has_wants()
            && self.watermark.borrow().next_seq >= enough
            && self.letters_fit()
            && self.earlier_remembered.len() < REMEMBERED_MAX
            && !self.shutdown.is_requested()
            && !rules::has_newer(self.filling.rules)
            && self.due.is_none_or(|due| Instant::now() < due)
    }

    fn advance(&mut self) -> bool {
        self.due.get_or_insert_with(|| Instant::now() + self.time);
        if !self.may_advance() || self.filling.until.is_some_and(|until| self.filling.reader.position() >= until) {
            return false;
        }
        self.filling.rows_max = self.portion_rows();
        self.earlier_rows += self.gatherer.batch.row_count();
        let letters = &mut self.gatherer.batch.dead_letters;
        self.earlier_letter_bytes += letters.iter().map(DeadLetter::bytes).sum::<usize>();
        self.earlier_letters.append(letters);
        self.earlier_remembered.append(&mut self.gatherer.batch.remembered);
        // Whatever the series was judged by so far is compared at its end.
        let judged = std::mem::take(&mut self.gatherer.batch.judged);
        self.gatherer.clear(self.filling.reader.position());
        self.gatherer.batch.judged = judged;
        // A journal that cannot be read ends the series where it was read to. The next batch reads again.
        if let Err(error) = self.filling.fill(self.gatherer) {
            self.end = None;
            self.unreadable = Some(error);
        }
        self.is_series = true;
        true
    }

    fn take_rows(&mut self) -> Vec<Portion> {
        self.is_series = true;
        self.earlier_rows += self.gatherer.batch.row_count();
        let rows = self.gatherer.batch.take_rows();
        self.tables_taken = rows.len();
        rows
    }

    fn earlier_dead_letters(&self) -> &[DeadLetter] {
        &self.earlier_letters
    }

    fn earlier_remembered(&self) -> &[Remembered] {
        &self.earlier_remembered
    }

    fn offset(&self) -> OffsetMove {
        OffsetMove { from: self.first, ..self.gatherer.batch.offset.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_failure_a_batch_goes_alone_and_then_more_and_more_go_together() {
        let mut limit = SeriesLimit::new(100, Duration::from_secs(30));
        assert_eq!((limit.rows, limit.time), (20_000, SERIES_TIME));
        limit.fall_back();
        let grown: Vec<usize> = std::iter::repeat_with(|| {
            limit.learn(Duration::from_millis(10), true);
            limit.rows
        })
        .take(5)
        .collect();
        assert_eq!(grown, [400, 1_600, 6_400, 20_000, 20_000]);
        limit.learn(Duration::from_secs(9), true);
        assert_eq!(limit.rows, 10_000);
        limit.learn(Duration::from_millis(10), false);
        assert_eq!(limit.rows, 100, "a batch with refused rows has others like it behind it");
    }

    #[test]
    fn feeding_leaves_the_server_most_of_its_statement_timeout() {
        assert_eq!(SeriesLimit::new(100, Duration::from_secs(2)).time, Duration::from_millis(500));
    }
}
