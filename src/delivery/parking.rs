//! Tables that accept no rows, and the rules that write to them.
//!
//! At first a bad table holds its database, because a migration may be running. After `park_after` only the rules of
//! that table wait: each of their messages becomes a dead letter of reason `table` in the same transaction as the rest
//! of its batch, and the other rules continue. Only the database records which messages are parked. Every connection
//! reads this from the database, so restarts, older copies of the database and changed rules need no special case. The
//! table is tested from time to time. Once it accepts rows, the letters are written in order, their rows in the
//! transaction that deletes the letters ([`replay`](super::replay)). New messages of these rules are parked behind them
//! until none is left.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::backoff::Backoff;
use super::commit::Repeated;
use super::gather::Gatherer;
use super::named::place_of;
use super::prepare;
use super::state::Parked;
use super::stop::{BadTable, Defect, Hold, Stop};
use super::worker::Worker;
use crate::batch::RowEncoder;
use crate::clock::{self, Timestamp};
use crate::config::{Database, Rule};
use crate::delivery::events;
use crate::journal::Fs;
use crate::rule::TableName;
use crate::sink::{ParkedRule, Sink};

/// A bad table is looked at this soon, and this late at most, but never later than `retry.max`.
const LOOK_MIN: Duration = Duration::from_secs(5);
const LOOK_MAX: Duration = Duration::from_secs(30);

/// How often a bad table is logged again, and how often the way of its messages is.
const REMINDER: Duration = Duration::from_secs(600);
pub(super) const PROGRESS: Duration = Duration::from_secs(10);

/// The cached knowledge of bad tables. These are hints only; the database is authoritative.
pub(super) struct Parking {
    park_after: Duration,
    look_max: Duration,
    /// Tables that the database is held for: since when, and whether that showed when the rules were compiled.
    held: HashMap<TableName, (Instant, bool)>,
    pub(super) tables: Vec<ParkedTable>,
    /// Rules with parked messages that are not in the configuration; each was logged once.
    told: HashSet<String>,
}

/// A table whose rules are parked.
pub(super) struct ParkedTable {
    pub(super) name: TableName,
    /// Indexes of all rules that write to it.
    pub(super) rules: Vec<usize>,
    pub(super) reason: Arc<str>,
    mend: Option<String>,
    since: Timestamp,
    /// When it is looked at; `None` while it takes rows, as far as is known.
    look_at: Option<Instant>,
    backoff: Backoff,
    /// Letters for one transaction, where fewer than usual go in.
    pub(super) limit: usize,
    /// Messages written since it takes rows.
    pub(super) replayed: u64,
    /// What came again and again when its messages were written.
    pub(super) repeated: Option<Repeated>,
    reminder_due: Instant,
    pub(super) progress_due: Instant,
    /// A batch went in since it was parked for a row. Before that no message of it is put aside, and an end of its parking
    /// would only bring the hold back.
    has_batch: bool,
}

impl ParkedTable {
    pub(super) fn is_mended(&self) -> bool {
        self.look_at.is_none()
    }
}

impl Parking {
    pub(super) fn new(database: &Database) -> Parking {
        Parking {
            park_after: database.park_after,
            look_max: database.retry.max,
            held: HashMap::new(),
            tables: Vec::new(),
            told: HashSet::new(),
        }
    }

    /// Whether the rules of a table are parked.
    pub(super) fn is_parked(&self, table: &TableName) -> bool {
        self.tables.iter().any(|parked| parked.name == *table)
    }

    /// A batch went in.
    pub(super) fn committed(&mut self) {
        self.held.clear();
        self.tables.iter_mut().for_each(|table| table.has_batch = true);
    }

    /// All tables fit their rules, but those that are parked.
    pub(super) fn compiled(&mut self) {
        self.held.retain(|_, (_, at_compile)| !*at_compile);
    }

    /// The rules have changed, or their numbers. Tables that rules still write to are tried at once, because the rules
    /// may have been repaired. Parked messages of other tables stay in the database and are reported as belonging to no
    /// rule.
    pub(super) fn take_rules(&mut self, rules: &[Arc<Rule>]) {
        self.told.clear();
        self.held.retain(|name, _| rules.iter().any(|rule| *place_of(rule) == *name));
        for table in &mut self.tables {
            table.rules = rules_of(rules, &table.name);
            table.look_at = None;
        }
        self.tables.retain(|table| !table.rules.is_empty());
    }

    /// The database is held for these tables. Parks those for which that has lasted; otherwise says when it will have.
    pub(super) fn hold(&mut self, tables: &[BadTable], rules: &[Arc<Rule>]) -> Held {
        let mut parked = Vec::new();
        let mut left = None;
        for bad in tables {
            let (since, _) = *self.held.entry(bad.name.clone()).or_insert((Instant::now(), bad.at_compile));
            let waits = self.park_after.saturating_sub(since.elapsed());
            if !waits.is_zero() {
                left = Some(left.map_or(waits, |left: Duration| left.min(waits)));
                continue;
            }
            self.held.remove(&bad.name);
            if !self.is_parked(&bad.name) {
                self.add(&bad.name, rules, clock::now(), bad.defect.reason.as_str().into());
                self.still_bad(self.tables.len() - 1, &bad.defect);
                // A fault that compiling finds is found again, without any message.
                self.tables.last_mut().expect("it was added").has_batch = bad.at_compile;
                parked.push(bad.clone());
            }
        }
        Held { parked, left }
    }

    fn add(&mut self, name: &TableName, rules: &[Arc<Rule>], since: Timestamp, reason: Arc<str>) {
        let rules = rules_of(rules, name);
        self.tables.push(ParkedTable {
            name: name.clone(),
            rules,
            reason,
            mend: None,
            since,
            look_at: None,
            backoff: Backoff::new(LOOK_MIN.min(self.look_max), LOOK_MAX.min(self.look_max)),
            limit: usize::MAX,
            replayed: 0,
            repeated: None,
            reminder_due: Instant::now() + REMINDER,
            progress_due: Instant::now(),
            has_batch: true,
        });
    }

    /// The parked messages according to the database. Tables that were not known are tried at once.
    fn recall(&mut self, stored: &[ParkedRule], rules: &[Arc<Rule>], database: &str) {
        for parked in stored {
            let Some(rule) = rules.iter().find(|rule| *rule.name == *parked.rule) else {
                if self.told.insert(parked.rule.clone()) {
                    events::parked_without_rule(database, &parked.rule, parked.messages);
                }
                continue;
            };
            let place = place_of(rule);
            match self.tables.iter_mut().find(|table| table.name == *place) {
                Some(table) => table.since = table.since.min(parked.since),
                None => self.add(&place, rules, parked.since, "messages were parked earlier".into()),
            }
        }
    }

    /// The table does not take rows yet.
    pub(super) fn still_bad(&mut self, index: usize, defect: &Defect) {
        let table = &mut self.tables[index];
        table.reason = defect.reason.as_str().into();
        table.mend.clone_from(&defect.mend);
        table.look_at = Some(Instant::now() + table.backoff.next_wait());
        table.replayed = 0;
    }

    /// A table that is to be looked at, or has messages to be written.
    fn due(&self) -> Option<usize> {
        let now = Instant::now();
        self.tables.iter().position(|table| table.look_at.is_none_or(|at| at <= now && table.has_batch))
    }

    /// When the next one is.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let looks = self.tables.iter().filter(|table| table.is_mended() || table.has_batch);
        looks.map(|table| table.look_at.unwrap_or_else(Instant::now)).min()
    }
}

/// The numbers of the rules that write to a table.
fn rules_of(rules: &[Arc<Rule>], table: &TableName) -> Vec<usize> {
    rules.iter().enumerate().filter(|(_, rule)| *place_of(rule) == *table).map(|(index, _)| index).collect()
}

/// The result of a hold.
pub(super) struct Held {
    /// Tables that are parked from now on.
    pub(super) parked: Vec<BadTable>,
    /// Until the next one is.
    pub(super) left: Option<Duration>,
}

impl<S: Sink, F: Fs> Worker<S, F> {
    /// Asks the database what is parked; to be called wherever its offset is read.
    pub(super) async fn recall_parked(&mut self) -> Result<(), Stop> {
        let stored = self.count_parked().await?;
        self.parking.recall(&stored, &self.rules, &self.setup.database.name);
        Ok(())
    }

    /// Asks the database how many messages are parked: somebody may have deleted some.
    async fn count_parked(&mut self) -> Result<Vec<ParkedRule>, Stop> {
        let stored = self.setup.sink.parked(&self.setup.bridge).await?;
        let count =
            |rule: &Rule| stored.iter().find(|parked| *parked.rule == *rule.name).map_or(0, |parked| parked.messages);
        for (index, rule) in self.rules.iter().enumerate() {
            self.account.set_parked(index, if stored.is_empty() { 0 } else { count(rule) });
        }
        Ok(stored)
    }

    /// After compiling, which found these faults in tables that are parked.
    pub(super) fn sort_parked<R: RowEncoder>(&mut self, faults: &[BadTable], gatherer: &mut Gatherer<R>) {
        for fault in faults {
            if let Some(index) = self.parking.tables.iter().position(|table| table.name == fault.name) {
                // A look that is yet to come stays where it is.
                if self.parking.tables[index].is_mended() {
                    self.parking.still_bad(index, &fault.defect);
                }
            }
        }
        for table in &self.parking.tables {
            table.rules.iter().for_each(|&rule| gatherer.park(rule, Some(&table.reason)));
        }
        self.tell_parked();
    }

    /// Brings `status` up to date.
    pub(super) fn tell_parked(&self) {
        let mut parked = Vec::new();
        for table in &self.parking.tables {
            parked.extend(table.rules.iter().map(|&rule| Parked {
                rule: Arc::clone(&self.rules[rule].name),
                table: table.name.to_string(),
                reason: table.reason.to_string(),
                mend: table.mend.clone(),
                since: table.since,
            }));
        }
        self.setup.state.update(|state| state.parked = parked);
    }

    /// Looks at a parked table that is due, or writes some of its messages. `true` if the rules are to be compiled again.
    pub(super) async fn tend_parked(&mut self, gatherer: &mut Gatherer<S::Encoder>) -> Result<bool, Stop> {
        let Some(index) = self.parking.due() else { return Ok(false) };
        // The others come before it is its turn again.
        let table = self.parking.tables.remove(index);
        self.parking.tables.push(table);
        let index = self.parking.tables.len() - 1;
        if self.parking.tables[index].is_mended() {
            self.replay_some(gatherer, index).await?;
            return Ok(std::mem::take(&mut self.is_outdated));
        }
        let is_mended = self.look_at_parked(index).await?;
        self.tell_parked();
        Ok(is_mended)
    }

    /// Whether the table fits its rules by now; if it takes rows as well, only a row can tell.
    async fn look_at_parked(&mut self, index: usize) -> Result<bool, Stop> {
        let rules: Vec<Arc<Rule>> =
            self.parking.tables[index].rules.iter().map(|&rule| Arc::clone(&self.rules[rule])).collect();
        let none = HashMap::new();
        match prepare::compile(&mut self.setup.sink, &self.setup.bridge, &rules, &none, |_| false).await {
            Ok(_) => {
                self.parking.tables[index].look_at = None;
                Ok(true)
            }
            Err(Stop::Hold(Hold { reason, mend, .. })) => {
                self.count_parked().await?;
                self.not_mended(index, &Defect { reason, mend });
                Ok(false)
            }
            Err(stop) => Err(stop),
        }
    }

    /// The table was tried again in vain.
    pub(super) fn not_mended(&mut self, index: usize, defect: &Defect) {
        self.parking.still_bad(index, defect);
        let messages = self.parked_messages(index);
        let table = &mut self.parking.tables[index];
        if Instant::now() >= table.reminder_due {
            table.reminder_due = Instant::now() + REMINDER;
            events::table_still_parked(&self.setup.database.name, &table.name, &defect.reason, messages);
        }
    }

    /// Nothing of the table is parked any more: its rules go straight in again.
    pub(super) fn unpark(&mut self, gatherer: &mut Gatherer<S::Encoder>, index: usize) {
        let table = self.parking.tables.remove(index);
        table.rules.iter().for_each(|&rule| gatherer.park(rule, None));
        events::table_unparked(&self.setup.database.name, &table.name, table.replayed);
        self.tell_parked();
    }

    pub(super) fn parked_messages(&self, index: usize) -> u64 {
        self.parking.tables[index].rules.iter().map(|&rule| self.account.parked(rule)).sum()
    }
}
