//! The loop of one database: locate, gather, write, count; and the reaction to each failure.
//!
//! At every moment the offset row of the database says which messages it holds, because the offset moves in the same
//! transaction as the rows. So a crash of this process, of the database or of the link between them leaves nothing to
//! repair: the next connection reads the offset again and continues there. The state in memory is never authoritative.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::account::Account;
use super::answers::{AnswerSender, Answers};
use super::backlog::SeriesLimit;
use super::backoff::Backoff;
use super::changed::KnownTables;
use super::commit::Repeated;
use super::company::{self, Waiting, sleep_until};
use super::first_contact::FirstContact;
use super::gather::Gatherer;
use super::parking::Parking;
use super::place::Place;
use super::prepare;
use super::rules::{self, RuleFeed, RuleSet};
use super::state::SharedState;
use super::stop::Stop;
use super::swallowed::SwallowLog;
use super::window::Window;
use crate::batch::OffsetMove;
use crate::clock::{self, Evenness, Timestamp};
use crate::config::{Bridge, Database, Rule};
use crate::delivery::events::{self, DatabaseMetrics};
use crate::journal::{Fs, JournalHandle, Reader, Watermark};
use crate::journal_id::JournalId;
use crate::mapping::Served;
use crate::message::Seq;
use crate::shutdown::Shutdown;
use crate::sink::{Class, Sink};
use crate::telemetry::Metrics;

/// The interval of the search for old dead letters, and how long the wall clock must have run evenly before it. A clock
/// that is a year ahead for a moment, as at the start of a device without a battery, must not delete them all.
const PURGE_INTERVAL: Duration = Duration::from_secs(3_600);

/// How often an unreachable server is knocked at: a few packets each time, also over a metered link.
const KNOCK_INTERVAL: Duration = Duration::from_secs(2);

/// While nothing is written, a database that has gone, or an older copy that took its place, is noticed this late at most.
const IDLE_LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// Everything one database's thread needs.
pub struct Setup<S: Sink, F: Fs> {
    pub sink: S,
    pub bridge: Bridge,
    pub database: Database,
    /// Index of this database in the configuration, which is its number as a reader of the journal.
    pub index: usize,
    /// The rules of all databases, in versions.
    pub rules: RuleFeed,
    /// Holds what is noted about databases that were not reached yet.
    pub data_dir: PathBuf,
    pub journal: JournalHandle<F>,
    pub state: Arc<SharedState>,
    pub metrics: Arc<Metrics>,
    /// Takes what is to be answered to those who sent the messages.
    pub answers: Option<AnswerSender>,
    pub shutdown: Shutdown,
}

/// The loop of one database. Owns the sink, its reader and its place in the journal.
pub struct Worker<S: Sink, F: Fs> {
    pub(super) setup: Setup<S, F>,
    /// The version of the rules in use.
    pub(super) set: Arc<RuleSet>,
    /// Of these, its own, in the order of the file.
    pub(super) rules: Arc<[Arc<Rule>]>,
    pub(super) reader: Reader<F>,
    pub(super) watermark: watch::Receiver<Watermark>,
    pub(super) metrics: DatabaseMetrics,
    pub(super) backoff: Backoff,
    waiting: Waiting,
    /// How much the broker keeps in flight, where acknowledgements wait for this database.
    pub(super) window: Window,
    pub(super) committed_at: Instant,
    purge_due: Instant,
    clock_evenness: Evenness,
    pub(super) contact: FirstContact,
    /// This process has begun its offset's row, if its journal is volatile.
    pub(super) has_begun: bool,
    /// Of an earlier process's journal, whose row it took over.
    pub(super) predecessor: Option<JournalId>,
    /// As far as this journal has ever been sent to this database; see [`FirstContact`].
    pub(super) known: Seq,
    /// Tallies of the batch that is being gathered, and of batches without an answer to their commit.
    pub(super) account: Account,
    /// Cleared by an answer to a knock, until a batch is committed: with a server that accepts connections but no
    /// login, the backoff applies.
    pub(super) may_knock: bool,
    pub(super) tables: KnownTables,
    /// Tables are others than the rules were compiled for, by our own doing.
    pub(super) is_outdated: bool,
    /// When tables that are to be made of their first payload are looked for again.
    pub(super) absent_look_due: Instant,
    /// Fewer rows than `max_rows`, after a batch was refused as a whole; grows again with every commit.
    pub(super) rows_limit: usize,
    /// How much may go into one transaction, where the sink takes more than a batch.
    pub(super) series_limit: SeriesLimit,
    /// A message under `on_error: halt`: the batch ends before it, and it is tried alone.
    pub(super) halt_before: Option<Seq>,
    pub(super) swallow_log: SwallowLog,
    /// Tables that take nothing, and their rules.
    pub(super) parking: Parking,
    /// A message that a table refuses: the messages before it are written first, without it.
    pub(super) end_before: Option<Seq>,
    /// A batch that ended before such a message lacked the later rows that show one of its own to be at fault: the database is
    /// held for the table instead, until that is parked.
    pub(super) keeps_company: bool,
    /// The error that the batch at this place met last, if a row may be at fault.
    pub(super) repeated: Option<Repeated>,
}

/// How a wait for messages ended.
#[derive(Debug, PartialEq, Eq)]
enum Company {
    /// There may be something to write.
    Some,
    /// Nothing came.
    None,
}

impl<S: Sink, F: Fs> Worker<S, F> {
    pub fn new(mut setup: Setup<S, F>) -> Worker<S, F> {
        let set = Arc::clone(&setup.rules.borrow_and_update());
        let rules = set.of(setup.index);
        let (contact, known) = FirstContact::awaited(
            setup.journal.fs(),
            &setup.data_dir,
            &setup.database.name,
            &setup.journal.ids(),
            setup.journal.first_seq_of_run(),
        );
        let answers = Answers::new(setup.answers.clone(), &setup.metrics, &set, &setup.bridge, setup.index);
        Worker {
            contact,
            known,
            account: Account::new(&setup.metrics, &setup.database.name, &rules, answers),
            reader: setup.journal.reader(),
            watermark: setup.journal.watermark(),
            metrics: DatabaseMetrics::new(&setup.metrics, &setup.database.name),
            backoff: Backoff::new(setup.database.retry.min, setup.database.retry.max),
            waiting: Waiting::default(),
            window: Window::default(),
            committed_at: Instant::now(),
            has_begun: false,
            predecessor: None,
            // In this order, here and below: the clock has then run for an hour when the purge is due.
            clock_evenness: Evenness::begin(),
            purge_due: Instant::now() + PURGE_INTERVAL,
            rows_limit: setup.database.batch.max_rows,
            series_limit: SeriesLimit::new(setup.database.batch.max_rows, setup.database.statement_timeout),
            halt_before: None,
            tables: KnownTables::default(),
            is_outdated: false,
            absent_look_due: Instant::now(),
            swallow_log: SwallowLog::default(),
            parking: Parking::new(&setup.database),
            end_before: None,
            keeps_company: false,
            repeated: None,
            may_knock: true,
            set,
            rules,
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
            let is_away = matches!(&stop, Stop::Retry(error) if error.code == "connect");
            let wait = self.report(stop);
            let mut shutdown = self.setup.shutdown.clone();
            let feed = self.setup.rules.clone();
            tokio::select! {
                biased;
                () = tokio::time::sleep(wait) => {}
                () = self.come_back(), if is_away && self.may_knock => {
                    self.may_knock = false;
                    self.backoff.reset();
                }
                () = shutdown.requested() => break,
                // They may be what frees a held database.
                () = rules::newer(&feed) => {}
            }
        }
        self.account.refusal_log.tell_rest();
        if let Err(error) = self.setup.sink.close().await {
            events::closed_unfinished(&self.setup.database.name, &error);
        }
        self.setup.state.update(|state| state.connected = false);
        self.metrics.connected.set(0);
    }

    /// Waits until the server is reachable again. After a long outage the next attempt may be half a minute away, while
    /// the journal fills.
    async fn come_back(&mut self) {
        loop {
            tokio::time::sleep(KNOCK_INTERVAL).await;
            if self.setup.sink.is_reachable().await {
                return;
            }
        }
    }

    /// One connection's life. `Ok` once the shutdown was requested and what was in flight is committed.
    async fn deliver(&mut self) -> Result<(), Stop> {
        self.take_rules();
        if let Err(error) = self.setup.sink.connect().await {
            self.setup.state.update(|state| state.connected = false);
            self.metrics.connected.set(0);
            return Err(error.into());
        }
        let mut looked_again = false;
        let mut served = Served::default();
        loop {
            self.take_rules();
            let place = self.locate().await?;
            self.metrics.connected.set(1);
            // Also while it is held.
            let was_connected = self.setup.state.snapshot().connected;
            self.setup.state.update(|state| state.connected = true);
            self.recall_parked().await?;
            let (mut mapper, faults) = prepare::compile(
                &mut self.setup.sink,
                &self.setup.bridge,
                &self.rules,
                self.set.identifiers(),
                |table| self.parking.is_parked(table),
            )
            .await?;
            mapper.retire(self.set.retired());
            mapper.recall_served(std::mem::take(&mut served));
            self.is_outdated = false;
            self.parking.compiled();
            self.tables.compiled(&self.setup.database.name, &mapper);
            self.announce(was_connected);
            let offset = OffsetMove {
                bridge: Arc::clone(&self.setup.bridge),
                journal: place.journal,
                from: self.reader.position(),
                to: self.reader.position(),
            };
            let unmatched = self.set.unmatched(self.setup.index);
            let mut gatherer = Gatherer::new(mapper, Arc::clone(&self.rules), unmatched, offset);
            self.sort_parked(&faults, &mut gatherer);
            match self.stream(&mut gatherer, &place).await {
                Ok(true) => return Ok(()),
                Ok(false) => served = gatherer.take_served(),
                Err(Stop::Changed(_)) if self.tables.may_change_again() => {}
                // A table that changed since it was looked at: compiling says better what is wrong, if anything still is.
                Err(Stop::Hold(_)) if !looked_again => looked_again = true,
                Err(stop) => return Err(stop),
            }
        }
    }

    /// Batch after batch. `true` when stopping, `false` when the place's end was reached or there are newer rules.
    async fn stream(&mut self, gatherer: &mut Gatherer<S::Encoder>, place: &Place) -> Result<bool, Stop> {
        let until = place.until;
        let mut waiting_since = None;
        loop {
            let is_renewed = until.is_none() && self.setup.journal.ids().last().is_some_and(|id| id.0 != place.journal);
            if is_renewed || until.is_some_and(|until| self.reader.position() >= until) {
                return Ok(false);
            }
            if rules::has_newer(&self.setup.rules) {
                return Ok(false);
            }
            let stopping = self.setup.shutdown.is_requested();
            self.account.refusal_log.tell_due();
            if !stopping && self.tend_parked(gatherer).await? {
                return Ok(false);
            }
            let is_idle = !stopping && self.await_company(waiting_since.take()).await == Company::None;
            if !is_idle && self.has_come(gatherer).await? {
                return Ok(false);
            }
            gatherer.begin(self.reader.position());
            self.account.clear();
            let end_before = self.end_before.filter(|seq| *seq > self.reader.position());
            let until = until.into_iter().chain(end_before).min();
            let halted = self.gather(gatherer, until)?;
            if gatherer.batch.offset.to > gatherer.batch.offset.from {
                let begun = Instant::now();
                self.commit(gatherer, until, begun).await?;
                waiting_since = (self.watermark.borrow().next_seq > self.reader.position()).then_some(begun);
            } else if gatherer.has_wants() {
                self.look_up_wanted(gatherer).await?;
                if std::mem::take(&mut self.is_outdated) {
                    return Ok(false);
                }
                // They have waited for company before.
                waiting_since = Instant::now().checked_sub(self.setup.database.batch.max_wait);
            } else if let Some(halt) = halted {
                self.look_again_at(&halt).await?;
                return Err(Stop::from(&halt));
            } else if is_idle {
                self.look(place).await?;
            }
            if stopping {
                return Ok(true);
            }
            self.purge_when_due().await?;
        }
    }

    /// Connected, compiled and in place. A hold is over only once a batch went in, or none waits.
    fn announce(&mut self, was_connected: bool) {
        let next_seq = self.reader.position();
        let pending = self.watermark.borrow().next_seq.0.saturating_sub(next_seq.0);
        let mut is_news = false;
        self.setup.state.update(|state| {
            let is_held = state.held.is_some() && pending > 0;
            is_news = !is_held && (!was_connected || state.held.is_some());
            // A batch without an answer may have been counted since.
            state.unwritten = self.account.unwritten();
            state.held = state.held.take().filter(|_| is_held);
        });
        if is_news {
            events::database_ready(&self.setup.database.name, next_seq, pending);
        }
    }

    /// Waits until there is something to write and it has had company, or a stop is requested; or for a while in vain.
    async fn await_company(&mut self, waiting_since: Option<Instant>) -> Company {
        let position = self.reader.position();
        let (max_wait, max_rows) = (self.setup.database.batch.max_wait, self.setup.database.batch.max_rows);
        if waiting_since.is_none() {
            if self.watermark.borrow().next_seq <= position {
                self.setup.state.update(|state| state.oldest_pending = None);
            }
            tokio::select! {
                biased;
                _ = self.watermark.wait_for(|mark| mark.next_seq > position) => {}
                () = self.setup.shutdown.requested() => return Company::Some,
                () = sleep_until(self.parking.next_due()) => return Company::Some,
                () = rules::newer(&self.setup.rules) => return Company::Some,
                () = tokio::time::sleep(IDLE_LOOK_INTERVAL) => return Company::None,
            }
        }
        let now = Instant::now();
        let due = match waiting_since {
            Some(since) => self.waiting.go_on(since, now, max_wait),
            None => self.waiting.begin(now, max_wait),
        };
        let enough = Seq(position.0 + max_rows as u64);
        if self.setup.journal.unacknowledged().is_some() {
            self.await_window(due, enough, max_wait).await;
            return Company::Some;
        }
        let mut is_first = true;
        while self.watermark.borrow().next_seq < enough {
            let waiting = self.watermark.borrow().next_seq.0.saturating_sub(position.0);
            let is_far = !std::mem::replace(&mut is_first, false) && company::is_far(waiting, max_rows);
            let Some(pause) = company::glance(due, Instant::now(), is_far) else { break };
            tokio::select! {
                biased;
                () = tokio::time::sleep(pause) => {}
                () = self.setup.shutdown.requested() => break,
            }
        }
        Company::Some
    }

    /// After the limits of batches were changed.
    pub(super) fn limit_batches(&mut self) {
        self.rows_limit = self.setup.database.batch.max_rows;
        self.series_limit = SeriesLimit::new(self.rows_limit, self.setup.database.statement_timeout);
        self.setup.state.update(|state| state.max_wait = self.setup.database.batch.max_wait);
    }

    async fn purge_when_due(&mut self) -> Result<(), Stop> {
        if Instant::now() < self.purge_due {
            return Ok(());
        }
        let clock_ran_evenly = self.clock_evenness.lasted();
        self.purge_due = Instant::now() + PURGE_INTERVAL;
        if clock_ran_evenly < PURGE_INTERVAL {
            tracing::warn!(
                database = %self.setup.database.name,
                "the clock was set; dead letters past their age are deleted once it has run evenly for an hour"
            );
            return Ok(());
        }
        let keep_micros = i64::try_from(self.set.dead_letters_keep().as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp(clock::now().as_micros().saturating_sub(keep_micros));
        let purged = match self.setup.sink.purge_dead_letters(&self.setup.bridge, before).await {
            // Too many dead letters are no reason to stop taking messages.
            Err(error) if error.class == Class::Table => {
                tracing::warn!(database = %self.setup.database.name, %error, "old dead letters cannot be deleted");
                0
            }
            purged => purged?,
        };
        if purged > 0 {
            tracing::info!(database = %self.setup.database.name, purged, "dead letters past their age deleted");
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
