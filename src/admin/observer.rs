//! Samples the bridge once a second, outside the data path. Keeps what no other part keeps: since when the bridge has
//! been in its present state, and the last hour ([`History`]).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use super::history::{History, HistoryPart};
use super::status::Overview;
use crate::clock::{self, Timestamp};
use crate::delivery::DatabaseState;
use crate::journal::{Fs, JournalStatus};
use crate::message::Seq;

/// The precision of "since when something is wrong". A request for the status makes the observer look as well. A look
/// costs some microseconds.
const INTERVAL: Duration = Duration::from_secs(1);

/// A connected database that has committed nothing for so long, beyond `batch.max_wait`, while messages waited, does not
/// answer. 10 s: far above a transaction of a second, far below `statement_timeout` times the statements of a batch.
const UNANSWERED: Duration = Duration::from_secs(10);

/// What is looked at.
#[derive(Debug)]
pub(super) struct Glance {
    /// To the broker.
    pub(super) is_connected: bool,
    pub(super) journal: JournalStatus,
    /// In the order of the configuration.
    pub(super) databases: Vec<DatabaseState>,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Observer(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    history: History,
    broker: Flag,
    paused: Flag,
    /// The connections, in the order of the configuration.
    databases: Vec<Flag>,
    /// In the same order.
    progress: Vec<Progress>,
}

/// When a database last committed something, lacked nothing, or was away.
#[derive(Debug, Clone, Copy)]
struct Progress {
    next_seq: Option<Seq>,
    at: Timestamp,
    seen: Instant,
}

impl Progress {
    fn new(now: Instant) -> Progress {
        Progress { next_seq: None, at: clock::now(), seen: now }
    }

    fn see(&mut self, state: &DatabaseState, journal_end: Seq, now: Instant) {
        let is_idle = !state.connected || state.held.is_some() || state.next_seq.is_none_or(|next| next >= journal_end);
        if is_idle || state.next_seq != self.next_seq {
            *self = Progress { next_seq: state.next_seq, ..Progress::new(now) };
        }
    }

    /// `None` while it answers. A batch waits for more messages up to `max_wait`.
    fn unanswered_since(self, max_wait: Duration, now: Instant) -> Option<Timestamp> {
        (now - self.seen >= UNANSWERED + max_wait).then_some(self.at)
    }
}

/// Something that is so or not, and since when.
#[derive(Debug, Clone, Copy, Default)]
struct Flag(Option<(bool, Timestamp)>);

impl Flag {
    fn see(&mut self, is_so: bool) {
        if self.0.is_none_or(|(was_so, _)| was_so != is_so) {
            self.0 = Some((is_so, clock::now()));
        }
    }

    /// Since when it has been as it was last seen.
    fn since(self) -> Timestamp {
        self.0.map_or_else(clock::now, |(_, since)| since)
    }
}

impl Observer {
    /// Since when the broker has been connected, or not.
    pub(super) fn broker_since(&self) -> Timestamp {
        self.lock().broker.since()
    }

    /// Since when the journal has been paused, or not.
    pub(super) fn paused_since(&self) -> Timestamp {
        self.lock().paused.since()
    }

    /// Since when the database of that number in the configuration has been connected, or not.
    pub(super) fn connection_since(&self, database: usize) -> Timestamp {
        self.lock().databases.get(database).copied().unwrap_or_default().since()
    }

    /// Since when a database that is connected has not answered, if it should have.
    pub(super) fn unanswered_since(&self, database: usize, max_wait: Duration) -> Option<Timestamp> {
        self.lock().progress.get(database)?.unanswered_since(max_wait, Instant::now())
    }

    pub(super) fn history(&self, names: impl Iterator<Item = String>, max_bytes: u64) -> HistoryPart {
        self.lock().history.part(Instant::now(), names, max_bytes)
    }

    /// Takes note of what is so now.
    pub(super) fn see(&self, glance: &Glance) {
        let mut seen = self.lock();
        seen.broker.see(glance.is_connected);
        seen.paused.see(glance.journal.paused);
        seen.databases.resize(glance.databases.len(), Flag::default());
        seen.databases.iter_mut().zip(&glance.databases).for_each(|(seen, state)| seen.see(state.connected));
        let now = Instant::now();
        seen.progress.resize(glance.databases.len(), Progress::new(now));
        let progress = seen.progress.iter_mut().zip(&glance.databases);
        progress.for_each(|(progress, state)| progress.see(state, glance.journal.next_seq, now));
        seen.history.sample(now, glance);
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        // Hints for people: half an update is better than none.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks for ever.
pub async fn observe<F: Fs>(overview: Arc<Overview<F>>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        overview.look();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_commits_nothing_while_messages_wait_does_not_answer() {
        let begin = Instant::now();
        let after = |seconds: u64| begin + Duration::from_secs(seconds);
        let at = |next: u64| DatabaseState { connected: true, next_seq: Some(Seq(next)), ..DatabaseState::default() };
        let max_wait = Duration::from_secs(2);
        let mut progress = Progress::new(begin);
        progress.see(&at(5), Seq(5), after(100));
        progress.see(&at(5), Seq(9), after(101));
        assert_eq!(progress.unanswered_since(max_wait, after(111)), None, "nothing waited until a moment ago");
        assert!(progress.unanswered_since(max_wait, after(112)).is_some());
        progress.see(&at(6), Seq(9), after(112));
        assert_eq!(progress.unanswered_since(max_wait, after(120)), None, "it has committed");
        progress.see(&DatabaseState { connected: false, ..at(6) }, Seq(9), after(130));
        assert_eq!(progress.unanswered_since(max_wait, after(131)), None, "it is known to be away");
    }

    #[test]
    fn a_state_begins_when_it_changes_and_not_when_it_is_seen_again() {
        let mut flag = Flag(Some((true, Timestamp(1))));
        flag.see(true);
        assert_eq!(flag.since(), Timestamp(1));
        flag.see(false);
        assert!(flag.since() > Timestamp(1));
    }
}
