//! COPY of a batch's rows, without the excluded units. Tables that take rows by INSERT only are written in their turn.
//!
//! The driver must prepare a COPY (one round trip) and waits for the server's response (another) before it sends data.
//! Both overlap with earlier work: all tables are prepared together, and the start of the next table's COPY is sent
//! after the data of this one.

use std::ops::Range;
use std::pin::{Pin, pin};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::SinkExt as _;
use tokio_postgres::{Client, CopyInSink, Error, Statement};

use super::encode::{COPY_HEADER, COPY_TRAILER};
use super::session::Session;
use super::{insert, merge, sqlstate};
use crate::batch::{Batch, Owner, Portion, Target};
use crate::rule::quote;
use crate::sink::{Class, SinkError, Written};

/// Bytes per CopyData message: large enough that the message's own cost vanishes, small enough to copy piece by piece.
const PIECE_BYTES: usize = 256 << 10;

/// Cells of rows that are inserted rather than copied. Measured with 11 columns, server's processor time for one table: COPY
/// 130 to 170 µs, INSERT of one row 80, of two 100, of five 140, of ten 250; and COPY needs a wake-up more on both sides.
const FEW_CELLS: usize = 64;

/// Bytes of such rows: COPY sends more of them piece by piece.
const FEW_BYTES: usize = 64 << 10;

/// The rows of one table that are to be written.
pub(super) struct Rows<'a> {
    portion: &'a Portion,
    /// Byte ranges of `portion.bytes`, neighbours merged.
    ranges: Vec<Range<usize>>,
    /// How many rows.
    count: usize,
    /// The rows themselves, by unit: `(unit, rows)`, to find a row's unit again. Empty where nobody asks for it.
    units: Vec<(usize, usize)>,
    owner: Owner,
}

impl<'a> Rows<'a> {
    /// The rows of `units` (indexes into `batch.units`, ascending) by portion, in the order of writing.
    pub(super) fn collect(batch: &'a Batch, units: impl Iterator<Item = usize>) -> Vec<Rows<'a>> {
        let order = batch.writing_order();
        let mut place = vec![usize::MAX; batch.portions.len()];
        order.iter().enumerate().for_each(|(at, &portion)| place[portion] = at);
        let mut all: Vec<Rows<'a>> = order.iter().map(|&portion| Rows::none_of(&batch.portions[portion])).collect();
        for index in units {
            let owner = Owner::Rule(batch.units[index].rule);
            for run in batch.runs_of(index) {
                let rows = &mut all[place[run.portion]];
                rows.units.push((index, run.row_count));
                rows.count += run.row_count;
                rows.owner = rows.owner.and(owner);
                rows.add(run.first_row, run.row_count);
            }
        }
        all.retain(|rows| !rows.ranges.is_empty());
        all
    }

    /// All rows of a batch of which no unit is excluded, as [`Rows::collect`] gives them, but without their units.
    pub(super) fn all_of(batch: &'a Batch) -> Vec<Rows<'a>> {
        let portions = batch.writing_order().into_iter().map(|at| &batch.portions[at]);
        let whole = portions.map(|portion| Rows {
            ranges: std::iter::once(0..portion.bytes.len()).collect(),
            count: portion.ends.len(),
            owner: portion.owner,
            ..Rows::none_of(portion)
        });
        whole.collect()
    }

    fn none_of(portion: &'a Portion) -> Rows<'a> {
        Rows { portion, ranges: Vec::new(), count: 0, units: Vec::new(), owner: Owner::Nobody }
    }

    pub(super) fn owner(&self) -> Owner {
        self.owner
    }

    /// How many rows.
    pub(super) fn count(&self) -> u64 {
        self.count as u64
    }

    fn add(&mut self, first: usize, count: usize) {
        let start = if first == 0 { 0 } else { self.portion.ends[first - 1] };
        let end = self.portion.ends[first + count - 1];
        match self.ranges.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => self.ranges.push(start..end),
        }
    }

    /// The unit that gave row `line` (from 1) of this COPY.
    pub(super) fn unit_of_line(&self, line: usize) -> Option<usize> {
        let mut rows = 0;
        self.units
            .iter()
            .find(|(_, count)| {
                rows += count;
                line > 0 && line <= rows
            })
            .map(|&(unit, _)| unit)
    }

    /// Whether rows of this unit are among them.
    pub(super) fn holds(&self, unit: usize) -> bool {
        self.units.iter().any(|&(held, _)| held == unit)
    }

    /// For messages.
    pub(super) fn doing(&self) -> String {
        let Target { table, .. } = &*self.portion.target;
        match self.portion.target.has_statement() {
            true => table.name.described(),
            false => format!("writing to table {}", table.name),
        }
    }

    fn statement(&self) -> String {
        let Target { table: schema, columns, .. } = &*self.portion.target;
        let columns: Vec<_> = columns.iter().map(|&index| quote(&schema.columns[index].name)).collect();
        format!("COPY {} ({}) FROM STDIN (FORMAT binary)", schema.name.quoted(), columns.join(", "))
    }

    /// Whether the rows go by INSERT; then there is nothing to prepare and nothing to start.
    pub(super) fn by_insert(&self) -> bool {
        self.portion.target.table.intake.by_insert || merge::takes(&self.portion.target)
    }

    /// Whether the rows are so few that an INSERT takes the server less than a COPY, which has two round trips of its own.
    pub(super) fn are_few(&self) -> bool {
        let cells = self.count * self.portion.target.columns.len();
        (1..=FEW_CELLS).contains(&cells) && self.byte_count() <= FEW_BYTES
    }

    /// Inserts the rows; how many the server counted.
    pub(super) async fn insert(&self, client: &Client) -> Result<u64, Error> {
        match merge::takes(&self.portion.target) {
            true => merge::insert(client, self).await,
            false => insert::insert(client, self).await,
        }
    }

    /// How many statements the rows take, for the patience with them.
    pub(super) fn statement_count(&self) -> u32 {
        let target = &self.portion.target;
        match () {
            () if merge::takes(target) => merge::statement_count(target, self.count(), self.portion.bytes.len()),
            () if self.by_insert() => insert::statement_count(self.count(), target.columns.len()),
            () => 1,
        }
    }

    pub(super) fn byte_count(&self) -> usize {
        self.ranges.iter().map(ExactSizeIterator::len).sum()
    }

    /// The rows' bytes, in runs.
    pub(super) fn bytes(&self) -> impl Iterator<Item = &'a [u8]> {
        let bytes = self.portion.bytes.as_slice();
        self.ranges.iter().map(move |range| &bytes[range.clone()])
    }

    /// Prepares the COPY, if the rows go by one.
    pub(super) async fn prepare(&self, client: &Client) -> Result<Option<Statement>, Error> {
        if self.by_insert() {
            return Ok(None);
        }
        client.prepare(&self.statement()).await.map(Some)
    }

    /// Starts the COPY; the statement is closed as soon as the server has taken it up.
    pub(super) async fn start(
        &self,
        client: &Client,
        statement: Option<Statement>,
    ) -> Result<Option<CopyInSink<Bytes>>, Error> {
        match statement {
            Some(statement) => client.copy_in(&statement).await.map(Some),
            None => Ok(None),
        }
    }

    /// What the server has if we die while sending.
    #[cfg(feature = "fault-injection")]
    async fn send_half(&self, mut copy: std::pin::Pin<&mut CopyInSink<Bytes>>) -> Result<(), Error> {
        let bytes = &self.portion.bytes[self.ranges[0].clone()];
        copy.feed(Bytes::copy_from_slice(&bytes[..bytes.len() / 2])).await?;
        copy.flush().await?;
        // The driver's own task brings it to the socket.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        Ok(())
    }

    /// Where they go.
    pub(super) fn target(&self) -> &Arc<Target> {
        &self.portion.target
    }

    /// Sends the rows and waits for the server to have them; how many it took.
    async fn send(&self, client: &Client, copy: Option<CopyInSink<Bytes>>) -> Result<u64, Error> {
        let Some(copy) = copy else { return self.insert(client).await };
        let mut copy = pin!(copy);
        begin(copy.as_mut()).await?;
        crash_point!("postgres.rows.half", self.send_half(copy).await);
        self.feed(copy.as_mut()).await?;
        end(copy).await
    }

    /// Notes how many of the rows the server took.
    pub(super) fn note(&self, taken: u64, written: &mut Written) {
        written.note(&self.portion.target, self.owner.rule(), self.count(), taken);
    }

    /// Sends the rows into a COPY that has begun.
    pub(super) async fn feed(&self, mut copy: Pin<&mut CopyInSink<Bytes>>) -> Result<(), Error> {
        for piece in self.bytes().flat_map(|bytes| bytes.chunks(PIECE_BYTES)) {
            copy.feed(Bytes::copy_from_slice(piece)).await?;
        }
        Ok(())
    }
}

/// Sends what goes before the first row.
pub(super) async fn begin(mut copy: Pin<&mut CopyInSink<Bytes>>) -> Result<(), Error> {
    copy.feed(Bytes::from_static(COPY_HEADER)).await
}

/// Sends what goes behind the last row and waits for the server to have them all; how many it took.
pub(super) async fn end(mut copy: Pin<&mut CopyInSink<Bytes>>) -> Result<u64, Error> {
    copy.feed(Bytes::from_static(COPY_TRAILER)).await?;
    copy.finish().await
}

/// A COPY that failed.
pub(super) struct CopyError {
    /// Index of the table.
    pub(super) table: usize,
    pub(super) error: Error,
    /// Before any row was sent: then no row is at fault, whatever the code says.
    pub(super) at_start: bool,
    /// The row, from 1, where that is known beside the server's words.
    pub(super) line: Option<usize>,
}

impl CopyError {
    /// The error as delivery is to see it.
    pub(super) fn explain(&self, session: &Session, tables: &[Rows<'_>]) -> SinkError {
        let doing = tables[self.table].doing();
        if self.at_start {
            explain_start(session, &self.error, &doing)
        } else {
            session.explain_rows(&self.error, &doing)
        }
    }
}

/// The error of a COPY that took no row, as delivery is to see it.
pub(super) fn explain_start(session: &Session, error: &Error, doing: &str) -> SinkError {
    let mut explained = session.explain(error, doing);
    if explained.class == Class::Row {
        explained.class = Class::Table;
        explained.advice = "the table refuses every row: look at its triggers and rules";
    }
    if explained.class == Class::Transient && sqlstate::may_be_of_one_table(&explained.code) {
        explained.class = Class::RowOrTransient;
    }
    explained
}

/// When a COPY is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// Behind the data of the table before it, without waiting. If that one fails, the server refuses this start, which
    /// the driver answers with a Sync too many ("unexpected message from server"): the session is lost.
    Ahead,
    /// When the table before it has been taken: one more round trip, and a refused row costs no session.
    InTurn,
}

/// Runs all COPYs, prepared as `statements`, and INSERTs, then `last`, which is sent directly after the last table's
/// data.
///
/// Round trips: one for the first start, one per table for its data, which carries the next start (unless they go
/// [`Start::InTurn`]) or `last` with it. The server must refuse `last` if a COPY failed, as it does COMMIT and RELEASE.
/// Rows that tables swallowed are added to `written`.
pub(super) async fn run<T>(
    session: &Session,
    tables: &[Rows<'_>],
    statements: Vec<Option<Statement>>,
    start: Start,
    last: impl Future<Output = T>,
    written: &mut Written,
) -> Result<T, CopyError> {
    let starting = |table| move |error| CopyError { table, error, at_start: true, line: None };
    let sending = |table| move |error| CopyError { table, error, at_start: false, line: None };
    assert_eq!(tables.len(), statements.len(), "each table's COPY is prepared");
    let client = session.client();
    let mut last = Some(last);
    let mut statements = statements.into_iter();
    let mut next = match (tables.first(), statements.next()) {
        (Some(rows), Some(statement)) => Some(rows.start(client, statement).await.map_err(starting(0))?),
        _ => None,
    };
    for (index, rows) in tables.iter().enumerate() {
        let Some(copy) = next.take() else { break };
        match (tables.get(index + 1), statements.next()) {
            (Some(following), Some(statement)) => {
                let following = following.start(client, statement);
                let (taken, started) = match start {
                    Start::Ahead => tokio::join!(biased; rows.send(client, copy), following),
                    Start::InTurn => {
                        let taken = rows.send(client, copy).await.map_err(sending(index))?;
                        (Ok(taken), following.await)
                    }
                };
                rows.note(taken.map_err(sending(index))?, written);
                session.answered();
                next = Some(started.map_err(starting(index + 1))?);
            }
            _ => {
                let Some(last) = last.take() else { break };
                crash_point!("postgres.rows.sent", rows.send(client, copy).await);
                crash_point!("postgres.commit.sent", {
                    let both = async { tokio::join!(biased; rows.send(client, copy), last) };
                    // Perhaps the server has come to the COMMIT by then, perhaps not.
                    let patience = std::time::Duration::from_micros(50 * crate::crash_point::cut());
                    tokio::time::timeout(patience, both).await.map(drop)
                });
                let (taken, finished) = tokio::join!(biased; rows.send(client, copy), last);
                rows.note(taken.map_err(sending(index))?, written);
                return Ok(finished);
            }
        }
    }
    match last {
        Some(last) => Ok(last.await),
        None => unreachable!("`last` is taken by the branch that returns"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::batch::{OffsetMove, Unit};
    use crate::journal_id::JournalId;
    use crate::message::Seq;
    use crate::rule::TableName;
    use crate::schema::TableSchema;

    /// One table; `rows[i]` rows of one byte each for unit `i`.
    fn batch(rows: &[usize]) -> Batch {
        let name = TableName { schema: None, name: "t".into() };
        let target = Arc::new(Target::insert(0, Arc::new(TableSchema::new(name, Vec::new())), Arc::from([])));
        let offset = OffsetMove { bridge: "b".into(), journal: JournalId([0; 16]), from: Seq(1), to: Seq(2) };
        let mut batch = Batch::new(offset);
        for &row_count in rows {
            let first_run = batch.runs.len();
            let portion = batch.open(&target);
            for _ in 0..row_count {
                batch.portions[portion].bytes.push(0);
                batch.add_row(portion, first_run, 0);
            }
            batch.units.push(Unit { rule: 0, seq: Seq(1), runs: first_run..batch.runs.len() });
        }
        batch
    }

    #[test]
    fn rows_between_excluded_units_are_sent_as_few_ranges() {
        let batch = batch(&[2, 1, 0, 3, 1]);
        let rows = Rows::collect(&batch, [0, 1, 2, 4].into_iter());
        assert_eq!(rows[0].ranges, [0..3, 6..7]);
        assert!(Rows::collect(&batch, std::iter::once(2)).is_empty());
    }

    #[test]
    fn a_line_of_the_copy_leads_back_to_its_unit() {
        let batch = batch(&[2, 1, 0, 3, 1]);
        let rows = Rows::collect(&batch, [0, 3, 4].into_iter());
        let units: Vec<_> = (0..8).map(|line| rows[0].unit_of_line(line)).collect();
        assert_eq!(units, [None, Some(0), Some(0), Some(3), Some(3), Some(3), Some(4), None]);
    }
}
