//! Looks at the bridge once a second, outside the data path, and remembers what no part of it keeps: since when it has been as
//! it is, how to mend a table whose rules are parked, and the last hour ([`History`]).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use super::history::{History, HistoryPart};
use super::status::Overview;
use crate::clock::{self, Timestamp};
use crate::delivery::{DatabaseState, Held, Parked};
use crate::journal::{Fs, JournalStatus};

/// How exactly it is known since when something is wrong; whoever asks for the status makes it look as well. A look costs
/// some microseconds.
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
    databases: Vec<DatabaseSeen>,
}

#[derive(Debug, Default)]
struct DatabaseSeen {
    connection: Flag,
    /// The last hold; it comes before its tables are parked.
    held: Option<Held>,
    /// By table: what is wrong with it, and what would mend that.
    mends: HashMap<String, (String, String)>,
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
        self.lock().databases.get(database).map(|seen| seen.connection).unwrap_or_default().since()
    }

    /// What would mend a table whose rules are parked. `None` if it has not been held for the same reason before.
    pub(super) fn mend(&self, database: usize, parked: &Parked) -> Option<String> {
        let seen = self.lock();
        let (reason, mend) = seen.databases.get(database)?.mends.get(&parked.table)?;
        (*reason == parked.reason).then(|| mend.clone())
    }

    pub(super) fn history(&self, names: impl Iterator<Item = String>, max_bytes: u64) -> HistoryPart {
        self.lock().history.part(Instant::now(), names, max_bytes)
    }

    /// Takes note of what is so now.
    pub(super) fn see(&self, glance: &Glance) {
        let mut seen = self.lock();
        seen.broker.see(glance.is_connected);
        seen.paused.see(glance.journal.paused);
        seen.databases.resize_with(glance.databases.len(), DatabaseSeen::default);
        seen.databases.iter_mut().zip(&glance.databases).for_each(|(seen, state)| seen.see(state));
        seen.history.sample(Instant::now(), glance);
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        // Hints for people: half an update is better than none.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DatabaseSeen {
    fn see(&mut self, state: &DatabaseState) {
        self.connection.see(state.connected);
        if state.held.is_some() && state.held != self.held {
            self.held.clone_from(&state.held);
        }
        self.mends.retain(|table, _| state.parked.iter().any(|parked| parked.table == *table));
        let Some(Held { reason, mend: Some(mend), .. }) = &self.held else { return };
        for Parked { table, reason: why, .. } in &state.parked {
            // Several tables may have been held together.
            if reason.contains(why.as_str()) && self.mends.get(table).is_none_or(|(known, _)| known != why) {
                self.mends.insert(table.clone(), (why.clone(), mend.clone()));
            }
        }
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

    #[test]
    fn what_mends_a_parked_table_is_known_from_the_hold_before_and_for_the_same_reason_only() {
        let parked = |reason: &str| Parked {
            rule: "r".into(),
            table: "readings".to_owned(),
            reason: reason.to_owned(),
            since: Timestamp(0),
        };
        let held = Held {
            reason: "no table other; no table readings; it stands at message 7".to_owned(),
            mend: Some("CREATE TABLE readings (id int)".to_owned()),
            since: Timestamp(0),
        };
        let mut seen = DatabaseSeen::default();
        seen.see(&DatabaseState { held: Some(held), ..DatabaseState::default() });
        seen.see(&DatabaseState { parked: vec![parked("no table readings")], ..DatabaseState::default() });
        let observer = Observer(Mutex::new(Seen { databases: vec![seen], ..Seen::default() }));
        let mend = observer.mend(0, &parked("no table readings"));
        assert_eq!(mend.as_deref(), Some("CREATE TABLE readings (id int)"));
        assert_eq!(observer.mend(0, &parked("no right to insert")), None);
        assert_eq!(observer.mend(1, &parked("no table readings")), None);
    }
}
