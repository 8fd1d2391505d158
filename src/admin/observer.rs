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

/// The precision of "since when something is wrong". A request for the status makes the observer look as well. A look
/// costs some microseconds.
const INTERVAL: Duration = Duration::from_secs(1);

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
        seen.history.sample(Instant::now(), glance);
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
    fn a_state_begins_when_it_changes_and_not_when_it_is_seen_again() {
        let mut flag = Flag(Some((true, Timestamp(1))));
        flag.see(true);
        assert_eq!(flag.since(), Timestamp(1));
        flag.see(false);
        assert!(flag.since() > Timestamp(1));
    }
}
