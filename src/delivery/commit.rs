//! One batch: filled from the journal, written, and written without the units that the database refuses.

use tokio::time::Instant;

use super::backlog::{Backlog, Filling};
use super::gather::{Gatherer, Halt};
use super::named;
use super::stop::Stop;
use super::worker::Worker;
use crate::config::Database;
use crate::delivery::events;
use crate::journal::{Entry, Fs};
use crate::message::Seq;
use crate::sink::{Class, Refusal, Refusals, Sink, SinkError, Written};

/// How often a mostly transient error occurs at the same message before rows are searched that cause it: three seconds
/// with the default backoff. A deadlock is over by then.
const TIMES_BEFORE_A_WALK: u32 = 5;

/// The least number of rows of a batch, whatever `batch.max_rows` says, if other rows must show that one is at fault.
pub(super) const COMPANY_ROWS: usize = 32;

/// An error that may be one row's fault or go away by itself, and how often it came.
#[derive(Debug)]
pub(super) struct Repeated {
    at: Seq,
    times: u32,
    /// When the first of these attempts began.
    since: Instant,
    /// How many of them ended the session.
    ends: u32,
    /// That a row is searched which ends the session was told.
    is_told: bool,
    /// The search was made, and blames no row.
    is_searched: bool,
}

impl Repeated {
    /// Whether to search for rows that may be at fault, or a table. After a mostly transient error only once it has occurred a
    /// few times at the same place, counted in `repeated`, or for so long that a table which does it would be parked. One row, or
    /// several, may cause errors with different codes, now this one, now that.
    pub(super) fn calls_for_a_search(
        repeated: &mut Option<Repeated>,
        database: &Database,
        error: &SinkError,
        at: Seq,
        begun: Instant,
    ) -> bool {
        if !matches!(error.class, Class::RowOrTransient | Class::SessionEnded) {
            return error.class.may_be_a_row();
        }
        let known = repeated.take_if(|known| known.at == at);
        let known = repeated.insert(known.unwrap_or(Repeated {
            at,
            times: 0,
            ends: 0,
            since: begun,
            is_told: false,
            is_searched: false,
        }));
        known.times += 1;
        let is_due = known.times >= TIMES_BEFORE_A_WALK || known.since.elapsed() >= database.park_after;
        known.ends += u32::from(error.class == Class::SessionEnded);
        // Once is the network's or the server's affair.
        if is_due && known.ends > 1 && !std::mem::replace(&mut known.is_told, true) {
            events::looks_for_ender(&database.name, at, error);
        }
        is_due
    }

    /// Whether it came before at this place.
    pub(super) fn is_again(&self) -> bool {
        self.times > 1
    }
}

impl<S: Sink, F: Fs> Worker<S, F> {
    /// Fills the batch from the journal. A halt leaves its message as the next one to read.
    pub(super) fn gather(
        &mut self,
        gatherer: &mut Gatherer<S::Encoder>,
        until: Option<Seq>,
    ) -> Result<Option<Halt>, Stop> {
        let mut filling = Filling {
            reader: &mut self.reader,
            rules: &self.setup.rules,
            account: &mut self.account,
            halt_before: &mut self.halt_before,
            until,
            rows_max: self.rows_limit,
            bytes_max: self.setup.database.batch.max_bytes,
        };
        let filled = filling.fill(gatherer)?;
        self.setup.state.update(|state| state.oldest_pending = filled.oldest);
        Ok(filled.halted)
    }

    /// Writes the batch, with more of the backlog if the sink takes it, without the units that the database refuses,
    /// and counts it. Batches that were refused in a shared transaction must be gathered again, one by one.
    pub(super) async fn commit(
        &mut self,
        gatherer: &mut Gatherer<S::Encoder>,
        until: Option<Seq>,
        begun: Instant,
    ) -> Result<(), Stop> {
        let from = gatherer.batch.offset.from;
        crash_point!("delivery.gathered");
        let mut backlog = Backlog::new(
            gatherer,
            Filling {
                reader: &mut self.reader,
                rules: &self.setup.rules,
                account: &mut self.account,
                halt_before: &mut self.halt_before,
                until,
                rows_max: self.rows_limit,
                bytes_max: self.setup.database.batch.max_bytes,
            },
            &self.series_limit,
            &self.watermark,
            &self.setup.shutdown,
        );
        let written = self.setup.sink.write_series(&mut backlog).await;
        let (is_series, earlier_rows) = (backlog.is_series(), backlog.earlier_rows());
        // Told even if reading again helps: a disk that fails now and then fails more often later.
        if let Some(error) = backlog.take_unreadable() {
            events::journal_unreadable(&self.metrics, &self.setup.database.name, &error);
        }
        let to = gatherer.batch.offset.to;
        self.known = self.known.max(to);
        let written = match written {
            Err(error) if is_series && (error.class.may_be_a_row() || error.class == Class::Table) => {
                events::series_refused(&self.metrics, &self.setup.database.name, &error, from, to);
                self.series_limit.fall_back();
                return Ok(self.reader.seek(from)?);
            }
            written if is_series => written.map_err(Stop::from),
            written => self.write(gatherer, written, begun).await,
        };
        let written = match written {
            Ok(written) => written,
            Err(stop) => return Err(self.not_committed(stop, from, to, is_series)),
        };
        crash_point!("delivery.committed");
        self.account.swallow(&written.swallowed);
        self.account.commit();
        gatherer.committed();
        self.tables.committed();
        self.parking.committed();
        self.setup.journal.set_delivered(self.setup.index, to);
        self.committed_at = Instant::now();
        crash_point!("delivery.accounted");
        let mut was_held = false;
        self.setup.state.update(|state| {
            was_held = state.held.take().is_some();
            state.next_seq = Some(to);
            state.unwritten = self.account.unwritten();
            state.last_error = None;
            state.rows_swallowed += written.rows_swallowed();
        });
        self.swallow_log.tell(&self.setup.database.name, &written.swallowed);
        if was_held {
            let pending = self.watermark.borrow().next_seq.0.saturating_sub(to.0);
            events::database_ready(&self.setup.database.name, to, pending);
        }
        if self.halt_before.is_some_and(|seq| seq < to) {
            self.halt_before = None;
        }
        self.rows_limit = self.rows_limit.saturating_mul(2).min(self.setup.database.batch.max_rows);
        self.series_limit.learn(begun.elapsed(), gatherer.batch.excluded.is_empty());
        self.backoff.reset();
        self.repeated = None;
        self.keeps_company = false;
        self.may_knock = true;
        self.metrics.committed(earlier_rows + gatherer.batch.row_count(), begun.elapsed());
        Ok(())
    }

    /// The conclusion from the failure of the batch from `from` to `to`.
    fn not_committed(&mut self, stop: Stop, from: Seq, to: Seq, is_series: bool) -> Stop {
        if let Stop::Changed(_) = stop {
            return stop;
        }
        self.series_limit.fall_back();
        match stop {
            Stop::Retry(_) => {
                self.account.doubt(from, to);
                // After a statement timeout or on a bad link, smaller batches help. But an error that may be one row's
                // fault is only recognised in a batch with several rows.
                if !is_series {
                    let needs_company = self.repeated.as_ref().is_some_and(|repeated| !repeated.is_searched);
                    let least = if needs_company { COMPANY_ROWS } else { 1 };
                    self.rows_limit = (self.rows_limit / 2).max(least);
                }
            }
            Stop::Hold(_) => self.rows_limit = self.rows_limit.max(COMPANY_ROWS),
            _ => {}
        }
        stop
    }

    /// `written` is what came of writing the batch the first time, at `begun`.
    async fn write(
        &mut self,
        gatherer: &mut Gatherer<S::Encoder>,
        mut written: Result<Written, SinkError>,
        begun: Instant,
    ) -> Result<Written, Stop> {
        // Each round takes at least one unit out, so the rounds end.
        for attempts in 1.. {
            let error = match written {
                Ok(written) => return Ok(written),
                Err(error) => error,
            };
            self.look_again(gatherer, &error).await?;
            let (database, from) = (&self.setup.database, gatherer.batch.offset.from);
            if error.class != Class::Table
                && !Repeated::calls_for_a_search(&mut self.repeated, database, &error, from, begun)
            {
                return Err(error.into());
            }
            let Refusals { units: mut refusals, closed } = self.setup.sink.refused_units(&gatherer.batch).await?;
            let named = named::refused(gatherer, &closed, &self.rules);
            if !named.is_empty() {
                refusals = named;
            } else if let Some(seq) = closed.iter().map(|closed| gatherer.batch.units[closed.unit].seq).min() {
                let may_end_before = refusals.is_empty() || !self.keeps_company;
                if may_end_before && seq > gatherer.batch.offset.from {
                    // First bring what came before it into the database.
                    self.end_before = Some(seq);
                    return Err(Stop::Narrow(error));
                }
                let stop = Stop::of_closed(closed, &gatherer.batch, &self.rules);
                if matches!(stop, Stop::Retry(_)) && self.end_before.take().is_some() {
                    self.keeps_company = true;
                }
                return Err(stop);
            }
            if refusals.is_empty() {
                match self.setup.sink.write_in_order(&gatherer.batch).await {
                    Err(again) if again.class.may_be_a_row() => refusals = self.narrow(gatherer, error)?,
                    Err(again) if again.class == Class::SessionEnded => {
                        // Several rows at once may be too much for the session.
                        self.repeated.iter_mut().for_each(|repeated| repeated.is_searched = true);
                        return Err(again.into());
                    }
                    written => return Ok(written?),
                }
            }
            self.refuse(gatherer, &refusals, attempts)?;
            crash_point!("delivery.refusing");
            written = self.setup.sink.write(&gatherer.batch).await;
        }
        unreachable!("there are fewer units than attempts to count")
    }

    /// The batch is refused as a whole and in journal order, although none of its rows is refused alone. So fewer
    /// messages go into the next batch. If a single message is refused in this way, all of its rows are refused, if the
    /// code blames rows.
    fn narrow(&mut self, gatherer: &Gatherer<S::Encoder>, error: SinkError) -> Result<Vec<Refusal>, Stop> {
        let units = &gatherer.batch.units;
        if units.first().map(|unit| unit.seq) != units.last().map(|unit| unit.seq) {
            self.rows_limit = (units.len() / 2).max(1);
            return Err(Stop::Narrow(error));
        }
        if error.class != Class::Row {
            return Err(Stop::from(error));
        }
        let kept = (0..units.len()).filter(|&unit| !gatherer.batch.is_excluded(unit));
        let message = format!("{} ({})", error.message, error.code);
        Ok(kept.map(|unit| Refusal { unit, reason: "constraint", message: message.clone() }).collect())
    }

    /// Turns refused units into dead letters, reading their messages from the journal again.
    fn refuse(&mut self, gatherer: &mut Gatherer<S::Encoder>, refusals: &[Refusal], attempts: u32) -> Result<(), Stop> {
        let mut reader = self.setup.journal.reader();
        let seqs: Vec<Seq> = refusals.iter().map(|refusal| gatherer.batch.units[refusal.unit].seq).collect();
        // Units are in the order of the journal: a message under several rules is read once, and none backwards.
        let mut done = 0;
        for of_message in seqs.chunk_by(Seq::eq) {
            let seq = of_message[0];
            reader.seek(seq)?;
            let Some(Entry::Message(message)) = reader.next()? else {
                return Err(Stop::Relocate(format!("message {seq} can no longer be read from the journal")));
            };
            let refused = &refusals[done..done + of_message.len()];
            done += of_message.len();
            for refusal in refused {
                if let Err(halt) = gatherer.refuse(refusal, &message, attempts, &mut self.account) {
                    let is_alone = gatherer.batch.offset.from == halt.seq;
                    self.halt_before = Some(halt.seq);
                    // First bring what came before it into the database; then try it alone.
                    return Err(if is_alone { Stop::from(&halt) } else { Stop::Relocate(halt.error) });
                }
            }
        }
        Ok(())
    }
}
