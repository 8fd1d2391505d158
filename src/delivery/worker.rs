//! One database's loop: locate, gather, write, account; and what to do when any of it fails.
//!
//! At every instant: what the database holds is told by the offset row in it, which moves in the same transaction as the
//! rows. So a crash of this process, of the database or of the link between them at any point leaves nothing to repair:
//! the next connection reads the offset again and goes on from there. Nothing in memory here is truth.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::account::Account;
use super::backoff::Backoff;
use super::gather::{Gatherer, Halt, UnmatchedPolicy};
use super::place::Place;
use super::prepare;
use super::state::{Held, SharedState};
use crate::clock::{self, Timestamp};
use crate::config::{Bridge, Database, Rule};
use crate::journal::{Entry, Fs, JournalError, JournalHandle, Reader, Watermark};
use crate::message::Seq;
use crate::shutdown::Shutdown;
use crate::sink::{Class, OffsetMove, Refusal, Sink, SinkError};
use crate::telemetry::{DatabaseMetrics, Metrics, events};

/// How often dead letters past their age are looked for.
const PURGE_INTERVAL: Duration = Duration::from_secs(3_600);

/// Rounds of finding refused rows for one batch. Each removes at least one row, so more than a few mean that the
/// database's answer changes from one attempt to the next.
const REFUSAL_ROUNDS_MAX: u32 = 8;

/// A held database is looked at at least this often: whoever mends a table should not have to wait for it.
const HOLD_RECHECK_MAX: Duration = Duration::from_secs(5);

/// Everything one database's thread needs.
pub struct Setup<S: Sink, F: Fs> {
    pub sink: S,
    pub bridge: Bridge,
    pub database: Database,
    /// Index of this database in the configuration, which is its number as a reader of the journal.
    pub index: usize,
    /// Its rules, in the order of the file.
    pub rules: Arc<[Arc<Rule>]>,
    pub subscriptions: Arc<HashMap<String, u32>>,
    /// For the first database only.
    pub unmatched: Option<UnmatchedPolicy>,
    pub dead_letters_keep: Duration,
    pub journal: JournalHandle<F>,
    pub state: Arc<SharedState>,
    pub metrics: Arc<Metrics>,
    pub shutdown: Shutdown,
}

/// Why a connection's work ended early.
#[derive(Debug)]
pub(super) enum Stop {
    /// Goes away by itself.
    Retry(SinkError),
    /// The offset in the database is not where this connection left it: read it again at once.
    Relocate(String),
    /// A person is needed; looked at again now and then.
    Hold { reason: String, mend: Option<String> },
    /// The database refuses the batch as a whole, and no row of it by itself: fewer messages at a time, at once.
    Narrow(SinkError),
    /// The journal's disk did not answer.
    Journal(JournalError),
}

impl From<SinkError> for Stop {
    fn from(error: SinkError) -> Stop {
        match error.class {
            Class::Transient => Stop::Retry(error),
            Class::OffsetMoved => Stop::Relocate(error.message),
            Class::Row | Class::Table => Stop::Hold {
                reason: format!("{} ({})", error.message, error.code),
                mend: Some(error.advice.to_owned()),
            },
        }
    }
}

impl From<JournalError> for Stop {
    /// Damage under `journal.on_corruption: halt` is a person's affair; anything else may go away by itself.
    fn from(error: JournalError) -> Stop {
        if error.source.kind() == io::ErrorKind::InvalidData {
            return Stop::Hold { reason: error.to_string(), mend: None };
        }
        Stop::Journal(error)
    }
}

/// The loop of one database. Owns the sink, its reader and its place in the journal.
pub struct Worker<S: Sink, F: Fs> {
    pub(super) setup: Setup<S, F>,
    pub(super) reader: Reader<F>,
    watermark: watch::Receiver<Watermark>,
    metrics: DatabaseMetrics,
    backoff: Backoff,
    purge_due: Instant,
    /// Whether the offset was read once in this process.
    pub(super) is_located: bool,
    /// Fewer rows than `max_rows`, after a batch was refused as a whole; grows again with every commit.
    rows_limit: usize,
    /// A message under `on_error: halt`: the batch ends before it, and it is tried alone.
    halt_before: Option<Seq>,
}

impl<S: Sink, F: Fs> Worker<S, F> {
    pub fn new(setup: Setup<S, F>) -> Worker<S, F> {
        Worker {
            reader: setup.journal.reader(),
            watermark: setup.journal.watermark(),
            metrics: DatabaseMetrics::new(&setup.metrics, &setup.database.name),
            backoff: Backoff::new(setup.database.retry.min, setup.database.retry.max),
            purge_due: Instant::now(),
            rows_limit: setup.database.batch.max_rows,
            halt_before: None,
            is_located: false,
            setup,
        }
    }

    /// Runs until the shutdown is requested; then commits what is in flight and one more batch, and returns.
    pub async fn run(mut self) {
        loop {
            let stop = match self.deliver().await {
                Ok(()) => break,
                Err(stop) => stop,
            };
            let wait = self.report(stop);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.setup.shutdown.requested() => break,
            }
        }
        self.setup.sink.close().await;
        self.setup.state.update(|state| state.connected = false);
        self.metrics.connected.set(0);
    }

    /// One connection's life. `Ok` once the shutdown was requested and what was in flight is committed.
    async fn deliver(&mut self) -> Result<(), Stop> {
        self.setup.sink.connect().await?;
        loop {
            let place = self.locate().await?;
            let mapper = prepare::compile(
                &mut self.setup.sink,
                &self.setup.bridge,
                &self.setup.rules,
                &self.setup.subscriptions,
            )
            .await?;
            self.announce();
            let offset = OffsetMove {
                bridge: Arc::clone(&self.setup.bridge),
                journal: place.journal,
                from: self.reader.position(),
                to: self.reader.position(),
            };
            let account = Account::new(&self.setup.metrics, &self.setup.database.name, &self.setup.rules);
            let rules = Arc::clone(&self.setup.rules);
            let mut gatherer = Gatherer::new(mapper, rules, self.setup.unmatched.clone(), offset, account);
            if self.stream(&mut gatherer, &place).await? {
                return Ok(());
            }
        }
    }

    /// Batch after batch. `true` when stopping, `false` when the place's end was reached.
    async fn stream(&mut self, gatherer: &mut Gatherer<S::Encoder>, place: &Place) -> Result<bool, Stop> {
        let until = place.until;
        let mut waiting_since = None;
        loop {
            let is_renewed = until.is_none() && self.setup.journal.ids().last().is_some_and(|id| id.0 != place.journal);
            if is_renewed || until.is_some_and(|until| self.reader.position() >= until) {
                return Ok(false);
            }
            let stopping = self.setup.shutdown.is_requested();
            if !stopping {
                self.await_company(waiting_since.take()).await;
            }
            gatherer.clear(self.reader.position());
            let halted = self.gather(gatherer, until)?;
            if gatherer.batch.offset.to > gatherer.batch.offset.from {
                let begun = Instant::now();
                self.commit(gatherer, begun).await?;
                waiting_since = (self.watermark.borrow().next_seq > self.reader.position()).then_some(begun);
            } else if let Some(halt) = halted {
                return Err(hold_of(&halt));
            }
            if stopping {
                return Ok(true);
            }
            self.purge_when_due().await?;
        }
    }

    /// Connected, compiled and in place: says so once.
    fn announce(&mut self) {
        self.metrics.connected.set(1);
        let next_seq = self.reader.position();
        let mut news = false;
        self.setup.state.update(|state| {
            news = !state.connected || state.held.is_some();
            state.connected = true;
            state.held = None;
        });
        if news {
            let pending = self.watermark.borrow().next_seq.0.saturating_sub(next_seq.0);
            events::database_ready(&self.setup.database.name, next_seq, pending);
        }
    }

    /// Waits until there is something to write and it has had company, or a stop is requested.
    async fn await_company(&mut self, waiting_since: Option<Instant>) {
        let position = self.reader.position();
        let batch = &self.setup.database.batch;
        if waiting_since.is_none() {
            self.setup.state.update(|state| state.oldest_pending = None);
            tokio::select! {
                _ = self.watermark.wait_for(|mark| mark.next_seq > position) => {}
                () = self.setup.shutdown.requested() => return,
                () = tokio::time::sleep(PURGE_INTERVAL) => return,
            }
        }
        let since = waiting_since.unwrap_or_else(Instant::now);
        let enough = Seq(position.0 + batch.max_rows as u64);
        let due = tokio::time::sleep_until((since + batch.max_wait).into());
        tokio::select! {
            () = due => {}
            _ = self.watermark.wait_for(|mark| mark.next_seq >= enough) => {}
            () = self.setup.shutdown.requested() => {}
        }
    }

    /// Fills the batch from the journal. A halt leaves its message as the next one to read.
    fn gather(&mut self, gatherer: &mut Gatherer<S::Encoder>, until: Option<Seq>) -> Result<Option<Halt>, Stop> {
        let limits = &self.setup.database.batch;
        let mut oldest: Option<Timestamp> = None;
        while !gatherer.is_full(self.rows_limit, limits.max_bytes) {
            let position = self.reader.position();
            let is_halted = self.halt_before.is_some_and(|seq| position >= seq);
            if until.is_some_and(|until| position >= until) || (is_halted && !gatherer.is_empty()) {
                break;
            }
            match self.reader.next()? {
                None => break,
                Some(Entry::Message(message)) => {
                    oldest.get_or_insert(message.received_at);
                    if let Err(halt) = gatherer.add(&message) {
                        self.halt_before = Some(halt.seq);
                        self.reader.seek(halt.seq)?;
                        return Ok(Some(halt));
                    }
                }
                Some(Entry::Lost(lost)) => gatherer.add_lost(&lost),
            }
            if is_halted {
                break;
            }
        }
        self.setup.state.update(|state| state.oldest_pending = oldest);
        Ok(None)
    }

    /// Writes the batch, without the units that the database refuses.
    async fn commit(&mut self, gatherer: &mut Gatherer<S::Encoder>, begun: Instant) -> Result<(), Stop> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.setup.sink.write(&gatherer.batch).await {
                Ok(()) => break,
                Err(error) if error.class == Class::Row && attempts <= REFUSAL_ROUNDS_MAX => {
                    let refusals = self.setup.sink.refused_units(&gatherer.batch).await?;
                    let refusals = if refusals.is_empty() { self.narrow(gatherer, error)? } else { refusals };
                    self.refuse(gatherer, &refusals, attempts)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let to = gatherer.batch.offset.to;
        let rows = gatherer.batch.row_count();
        gatherer.account.commit();
        self.setup.journal.set_delivered(self.setup.index, to);
        self.setup.state.update(|state| {
            state.next_seq = Some(to);
            state.last_error = None;
        });
        if self.halt_before.is_some_and(|seq| seq < to) {
            self.halt_before = None;
        }
        self.rows_limit = self.rows_limit.saturating_mul(2).min(self.setup.database.batch.max_rows);
        self.backoff.reset();
        self.metrics.committed(rows, begun.elapsed());
        Ok(())
    }

    /// The batch is refused, and each of its rows by itself is not: two messages exclude each other, or the order of
    /// their tables does. So fewer messages go at a time, and of one that goes alone all rows are refused.
    fn narrow(&mut self, gatherer: &Gatherer<S::Encoder>, error: SinkError) -> Result<Vec<Refusal>, Stop> {
        let units = &gatherer.batch.units;
        if units.first().map(|unit| unit.seq) != units.last().map(|unit| unit.seq) {
            self.rows_limit = (units.len() / 2).max(1);
            return Err(Stop::Narrow(error));
        }
        let kept = (0..units.len()).filter(|&unit| !gatherer.batch.is_excluded(unit));
        let message = format!("{} ({})", error.message, error.code);
        Ok(kept.map(|unit| Refusal { unit, reason: "constraint", message: message.clone() }).collect())
    }

    /// Turns refused units into dead letters, reading their messages from the journal again.
    fn refuse(&mut self, gatherer: &mut Gatherer<S::Encoder>, refusals: &[Refusal], attempts: u32) -> Result<(), Stop> {
        let mut reader = self.setup.journal.reader();
        for refusal in refusals {
            let seq = gatherer.batch.units[refusal.unit].seq;
            reader.seek(seq)?;
            let Some(Entry::Message(message)) = reader.next()? else {
                return Err(Stop::Relocate(format!("message {seq} can no longer be read from the journal")));
            };
            if let Err(halt) = gatherer.refuse(refusal, &message, attempts) {
                let is_alone = gatherer.batch.offset.from == halt.seq;
                self.halt_before = Some(halt.seq);
                // First bring what came before it into the database; then try it alone.
                return Err(if is_alone { hold_of(&halt) } else { Stop::Relocate(halt.error) });
            }
        }
        Ok(())
    }

    async fn purge_when_due(&mut self) -> Result<(), Stop> {
        if Instant::now() < self.purge_due {
            return Ok(());
        }
        self.purge_due = Instant::now() + PURGE_INTERVAL;
        let keep_micros = i64::try_from(self.setup.dead_letters_keep.as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp(clock::now().as_micros().saturating_sub(keep_micros));
        let purged = self.setup.sink.purge_dead_letters(&self.setup.bridge, before).await?;
        if purged > 0 {
            tracing::info!(database = %self.setup.database.name, purged, "dead letters past their age deleted");
        }
        Ok(())
    }

    /// Logs and counts the stop, updates the state; returns how long to wait before the next connection.
    fn report(&mut self, stop: Stop) -> Duration {
        let database = &self.setup.database.name;
        let mut wait = self.backoff.next_wait();
        let state = &self.setup.state;
        match stop {
            Stop::Retry(error) => {
                let text = format!("{} ({})", error.message, error.code);
                events::database_lost(&self.metrics, database, &error, wait, state.snapshot().last_error.as_ref());
                state.update(|state| {
                    state.connected = false;
                    state.last_error = Some(text);
                });
                self.metrics.connected.set(0);
            }
            Stop::Narrow(error) => {
                wait = Duration::ZERO;
                events::batch_narrowed(&self.metrics, database, &error, self.rows_limit);
            }
            Stop::Relocate(why) => {
                events::offset_moved(&self.metrics, database, &why);
            }
            Stop::Hold { reason, mend } => {
                wait = wait.min(HOLD_RECHECK_MAX);
                let news = state.snapshot().held.is_none_or(|held| held.reason != reason);
                if news {
                    events::database_held(database, &reason, mend.as_deref());
                    let held = Held { reason: reason.clone(), mend, since: clock::now() };
                    state.update(|state| state.held = Some(held));
                }
                state.update(|state| state.last_error = Some(reason));
            }
            Stop::Journal(error) => {
                events::journal_unreadable(&self.metrics, database, &error);
                state.update(|state| state.last_error = Some(error.to_string()));
            }
        }
        wait
    }
}

fn hold_of(halt: &Halt) -> Stop {
    Stop::Hold {
        reason: format!(
            "rule {} says on_error: halt, and message {} gives no row: {}",
            halt.rule, halt.seq, halt.error
        ),
        mend: Some("mend the table or the rule, or set on_error: dead_letter, and restart".to_owned()),
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
