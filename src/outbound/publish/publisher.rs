//! The loop of one publication.
//!
//! | step | if the process dies after it |
//! |---|---|
//! | a unit of changes is read and composed | nothing has happened |
//! | its batch is handed over and sent | the broker may have a part of it; the whole unit is published again |
//! | the broker has acknowledged all of it | the same |
//! | its changes are deleted and the offset is moved, in one transaction | the transaction was applied or not |
//!
//! Several units are in flight, so the broker does not wait for the database. A lost database connection does not
//! affect them: units that were acknowledged meanwhile are finished on the next connection and not published again.
//!
//! A subscriber that keeps the highest offset and ignores messages at or below it gets each row once. The reasons:
//!
//! - Messages are sent in the order of their offsets, and the broker accepts them in that order. As long as it refuses
//!   none, it has a prefix of the sent messages. Repeated messages have their first offsets again, and exactly those
//!   above the subscriber's highest offset are new to it.
//! - A message that the broker refuses for a while leaves a gap if the broker accepted later ones. So nothing more is
//!   sent until all messages in flight are settled. One transaction then deletes the accepted changes, keeps the
//!   refused ones, and moves the offset past all sent messages. Accepted messages are not repeated, and refused ones
//!   get offsets above all others.
//! - If the broker accepted nothing after the first refused message, there is no gap, and all messages from there on
//!   keep their offsets.
//!
//! One case remains: the process dies between such a refusal and that transaction. Then the gap is not known, and the
//! row is published with its old offset.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::compose::{Composed, Composer};
use super::events;
use super::state::PublishState;
use super::unit::{Fate, Mark, Settling, Unit};
use crate::config::Retry;
use crate::mqtt::backoff::Backoff;
use crate::outbound::{Outbound, Published, Unknown};
use crate::shutdown::Shutdown;
use crate::sink::{Change, ChangeFeed, ChangeKey, Class, Done, Reading, SinkError};

/// Changes read at once. With 1,000 the transaction that finishes them costs little beside publishing them.
const READ_MAX: usize = 1_000;
/// And about so many bytes of rows, which are in memory twice.
const READ_BYTES_MAX: usize = 4 << 20;
/// Units under way.
const UNITS_MAX: usize = 3;
/// How often the table is compared with what is known of it.
const SETTLE_INTERVAL: Duration = Duration::from_secs(1);
/// How often the changes that wait are counted.
const COUNT_INTERVAL: Duration = Duration::from_secs(5);
/// How long a stop waits for acknowledgements; what comes later is published again at the next start.
const STOP_PATIENCE: Duration = Duration::from_secs(2);
/// A skipped change is logged at most so often.
const SKIP_LOG_INTERVAL: Duration = Duration::from_secs(60);

pub(super) struct Publisher<F> {
    pub(super) feed: F,
    composer: Composer,
    outbound: Outbound,
    pub(super) state: Arc<PublishState>,
    backoff: Backoff,
    shutdown: Shutdown,
    pub(super) units: VecDeque<Unit>,
    /// The last change that was read.
    cursor: ChangeKey,
    /// The database may be a copy of another time, with changes at or before the cursor: they are read once nothing is
    /// under way.
    reads_anew: bool,
    /// The offset of the next change that is published.
    next_offset: u64,
    count_due: Instant,
    skip_told: Option<Instant>,
    /// Changes wait for a transaction that has been open for long.
    is_held_back: bool,
}

/// Why a connection's work ends.
pub(super) enum Stop {
    /// A stop was asked for.
    Shutdown,
    Database(SinkError),
    /// The broker did not take a message; from there on all is read again.
    Refused {
        wait: Duration,
    },
}

impl From<SinkError> for Stop {
    fn from(error: SinkError) -> Stop {
        Stop::Database(error)
    }
}

impl From<Unknown> for Stop {
    fn from(Unknown: Unknown) -> Stop {
        Stop::Shutdown
    }
}

impl<F: ChangeFeed> Publisher<F> {
    pub(super) fn new(
        feed: F,
        composer: Composer,
        outbound: Outbound,
        state: Arc<PublishState>,
        retry: Retry,
        shutdown: Shutdown,
    ) -> Publisher<F> {
        Publisher {
            feed,
            composer,
            outbound,
            state,
            backoff: Backoff::new(retry),
            shutdown,
            units: VecDeque::new(),
            cursor: ChangeKey::FIRST,
            reads_anew: false,
            next_offset: 1,
            count_due: Instant::now(),
            skip_told: None,
            is_held_back: false,
        }
    }

    /// Until a stop is asked for.
    pub(super) async fn run(mut self) {
        loop {
            let begun = Instant::now();
            let mut shutdown = self.shutdown.clone();
            let overdue = async {
                shutdown.requested().await;
                tokio::time::sleep(STOP_PATIENCE).await;
            };
            // A database that does not answer must not hold up the stop.
            let stop = tokio::select! {
                biased;
                stop = self.connected() => stop,
                () = overdue => Stop::Shutdown,
            };
            let wait = match stop {
                Stop::Shutdown => break,
                Stop::Refused { wait } => wait,
                Stop::Database(error) if error.class == Class::OffsetMoved => {
                    events::moved(&self.state, &error);
                    self.start_over();
                    self.next_wait(begun)
                }
                Stop::Database(error) => {
                    let wait = self.next_wait(begun);
                    events::stopped(&self.state, &error, wait);
                    wait
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.shutdown.requested() => break,
            }
        }
        self.leave().await;
    }

    pub(super) fn next_wait(&mut self, begun: Instant) -> Duration {
        self.backoff.was_up(begun.elapsed());
        // Without randomness only the jitter is missing.
        self.backoff.next(getrandom::u32().unwrap_or(u32::MAX))
    }

    /// Forgets what is under way: it is read again.
    pub(super) fn start_over(&mut self) {
        self.units.clear();
        self.cursor = ChangeKey::FIRST;
    }

    /// Finishes what the broker acknowledges within a moment.
    async fn leave(&mut self) {
        let finishing = async {
            while !self.units.is_empty() {
                if let Some((index, settling)) = waiting(&mut self.units) {
                    let published = settling.await?;
                    self.settle(index, published);
                }
                self.finish_settled().await?;
            }
            Ok::<(), Stop>(())
        };
        // What is left is published again at the next start.
        let _ = tokio::time::timeout(STOP_PATIENCE, finishing).await;
        self.feed.close().await;
    }

    /// One database connection, until it ends.
    async fn connected(&mut self) -> Stop {
        match self.work().await {
            Ok(()) => Stop::Shutdown,
            Err(stop) => stop,
        }
    }

    async fn work(&mut self) -> Result<(), Stop> {
        self.feed.connect().await?;
        self.reads_anew = true;
        let mut settle_due = Instant::now();
        let mut is_missing = false;
        while !self.shutdown.is_requested() {
            if Instant::now() >= settle_due {
                is_missing = self.look_at_table().await?;
                settle_due = Instant::now() + SETTLE_INTERVAL;
            }
            self.count_when_due().await?;
            let is_idle = self.fill().await?;
            if is_idle && self.units.is_empty() && !is_missing && !self.is_held_back {
                self.state.set_error(None);
            }
            if !self.finish_settled().await?
                && let Some((index, published)) = self.wait(is_idle, settle_due).await?
            {
                self.settle(index, published);
            }
        }
        Ok(())
    }

    /// Whether the table is missing.
    async fn look_at_table(&mut self) -> Result<bool, Stop> {
        let settled = self.feed.settle().await?;
        let table = self.composer.publication.table.to_string();
        for news in settled.news {
            events::news(&self.state, &table, news);
            if news == crate::sink::News::Begun {
                self.start_over();
            }
        }
        if settled.is_missing {
            events::missing(&self.state, &table);
        }
        // A transaction whose COMMIT was not answered may have been applied.
        let is_applied = |unit: &Unit| {
            let done = unit.done;
            unit.is_through() && done.from != done.to && done.to == settled.next_offset
        };
        if self.units.front().is_some_and(is_applied) {
            self.units.pop_front();
        }
        match self.units.front() {
            Some(unit) if unit.done.from != settled.next_offset => self.start_over(),
            _ => {}
        }
        if self.units.is_empty() {
            if std::mem::take(&mut self.reads_anew) || self.next_offset != settled.next_offset {
                self.cursor = ChangeKey::FIRST;
            }
            self.next_offset = settled.next_offset;
        }
        self.state.set_next_offset(settled.next_offset);
        Ok(settled.is_missing)
    }

    async fn count_when_due(&mut self) -> Result<(), Stop> {
        if Instant::now() < self.count_due {
            return Ok(());
        }
        self.count_due = Instant::now() + COUNT_INTERVAL;
        let max_pending = self.composer.publication.max_pending;
        let pending = self.feed.pending(max_pending.saturating_add(1)).await?;
        self.state.set_pending(pending);
        if pending > max_pending
            && let Some(overflow) = self.feed.drop_oldest(max_pending).await?
        {
            events::overflown(&self.state, overflow);
            // The units in flight cannot be finished, and the remaining changes have other offsets than before.
            self.start_over();
            self.look_at_table().await?;
            self.state.set_pending(max_pending);
        }
        Ok(())
    }

    /// Reads and publishes as much as may be under way; whether there is no more.
    async fn fill(&mut self) -> Result<bool, Stop> {
        // What the broker refused has a place of its own only once the rest is settled.
        if self.units.iter().any(|unit| !unit.again.is_empty()) {
            return Ok(false);
        }
        while self.units.len() < UNITS_MAX {
            let Reading { changes, next_offset, held_back } =
                self.feed.read(self.cursor, READ_MAX, READ_BYTES_MAX).await?;
            if changes.is_empty() {
                self.is_held_back = held_back.is_some();
                held_back.into_iter().for_each(|why| events::held_back(&self.state, why));
                return Ok(true);
            }
            // A trigger may have dropped changes just now.
            let expected = self.units.front().map_or(self.next_offset, |unit| unit.done.from);
            if next_offset != Some(expected) {
                self.look_at_table().await?;
                return Ok(false);
            }
            crash_point!("publish.read");
            self.publish(changes).await?;
        }
        Ok(false)
    }

    /// Hands the changes over, in as many units as the batches are.
    async fn publish(&mut self, changes: Vec<Change>) -> Result<(), Stop> {
        let mut batch = self.outbound.batch();
        let mut marks: Vec<Mark> = Vec::new();
        let mut done: Option<Done> = None;
        for change in changes {
            let from = self.next_offset;
            let after = self.cursor;
            let mut so_far =
                done.unwrap_or(Done { from, to: from, after, last: change.key, changes: 0, published: 0, skipped: 0 });
            let composed = match self.composer.compose(&change, self.next_offset) {
                Composed::Message => match batch.push(&self.composer.message()) {
                    Ok(()) => Composed::Message,
                    Err(error) => Composed::Skipped(error.to_string()),
                },
                composed => composed,
            };
            match composed {
                Composed::Message => {
                    marks.push(Mark {
                        offset: self.next_offset,
                        key: change.key,
                        before: (so_far.changes > 0).then_some(so_far.last),
                        changes_before: so_far.changes,
                        skipped_before: so_far.skipped,
                    });
                    self.next_offset += 1;
                    so_far.published += 1;
                }
                Composed::Unwanted => {}
                Composed::Skipped(why) => {
                    so_far.skipped += 1;
                    self.tell_skipped(&why);
                }
            }
            so_far.to = self.next_offset;
            so_far.last = change.key;
            so_far.changes += 1;
            self.cursor = change.key;
            done = Some(so_far);
            if batch.is_full() {
                let full = std::mem::replace(&mut batch, self.outbound.batch());
                let ticket = self.outbound.publish(full).await?;
                self.units.push_back(Unit::new(so_far, std::mem::take(&mut marks), Some(ticket)));
                done = None;
            }
        }
        if let Some(done) = done {
            let ticket = if batch.is_empty() { None } else { Some(self.outbound.publish(batch).await?) };
            self.units.push_back(Unit::new(done, marks, ticket));
        }
        crash_point!("publish.handed_over");
        Ok(())
    }

    fn tell_skipped(&mut self, why: &str) {
        if self.skip_told.is_none_or(|told| told.elapsed() >= SKIP_LOG_INTERVAL) {
            self.skip_told = Some(Instant::now());
            events::skipped(&self.state, why);
        }
    }

    /// Waits for the broker's word on a unit, which it returns, or for a reason to look round.
    async fn wait(&mut self, is_idle: bool, until: Instant) -> Result<Option<(usize, Published)>, Stop> {
        let patience = until.saturating_duration_since(Instant::now());
        let (units, feed, shutdown) = (&mut self.units, &mut self.feed, &mut self.shutdown);
        let looking = async { if is_idle { feed.changed(patience).await } else { tokio::time::sleep(patience).await } };
        let answered = async {
            match waiting(units) {
                Some((index, settling)) => settling.await.map(|published| (index, published)),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            answered = answered => Ok(Some(answered?)),
            () = shutdown.requested() => Ok(None),
            () = looking => Ok(None),
        }
    }
}

/// The first unit that the broker has not answered for, with its place.
fn waiting(units: &mut VecDeque<Unit>) -> Option<(usize, &mut Settling)> {
    units.iter_mut().enumerate().find_map(|(index, unit)| match &mut unit.fate {
        Fate::Waiting(settling) => Some((index, settling)),
        Fate::Settled => None,
    })
}
