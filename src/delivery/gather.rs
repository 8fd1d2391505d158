//! From journal entries to a batch: map each message, sort its outcomes, keep the tallies.

mod letters;
mod outcomes;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) use self::letters::Again;
use super::account::Account;
use super::dead_letter;
use super::retained::{Hashes, LastStored, Place, Verdict};
use crate::batch::{Batch, OffsetMove, Remembered, RowEncoder};
use crate::config::{Retained, Rule, Unmatched};
use crate::mapping::{Mapper, Outcome, Router, Served, Want};
use crate::message::{Message, Seq};
use crate::rule::TableName;
use crate::schema::TableSchema;
use crate::sink::RetainedPlace;

/// Dead letters that one batch may hold besides rows; past it the batch ends. Weighed against a stream in which every
/// message is bad: their payloads sit in memory until the commit.
const DEAD_LETTERS_MAX: usize = 5_000;

/// How long a table that messages name and that was not there is taken for missing: its messages are dead letters so long.
const MISSING_FOR: Duration = Duration::from_secs(1);

/// How long a column that could not be added is not tried again: each time is a failed transaction in the server's log.
const REFUSED_FOR: Duration = Duration::from_secs(10);

/// A rule with `on_error: halt` met a message that gives no row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Halt {
    pub seq: Seq,
    pub rule: Arc<str>,
    /// What the rule is held and parked by: see [`place_of`](super::named::place_of).
    pub target: TableName,
    pub error: String,
    /// The rule's table, which may have decided it; none where messages name their tables.
    pub table: Option<Arc<TableSchema>>,
}

impl Halt {
    /// Why the rule waits.
    pub(super) fn reason(&self) -> String {
        format!("rule {} says on_error: halt, and message {} gives no row: {}", self.rule, self.seq, self.error)
    }
}

/// The messages that no rule of any database takes are the first database's affair.
#[derive(Debug, Clone)]
pub(super) struct UnmatchedPolicy {
    /// Patterns of the rules of the other databases.
    pub elsewhere: Router,
    pub unmatched: Unmatched,
}

/// The compiled rules of one connection, and the batch being gathered with them.
pub(super) struct Gatherer<R: RowEncoder> {
    mapper: Mapper<R>,
    /// A table is to be made of its first payload.
    awaits_tables: bool,
    rules: Arc<[Arc<Rule>]>,
    unmatched: Option<UnmatchedPolicy>,
    outcomes: Vec<(usize, Outcome)>,
    /// Where a rule says `retained: changed`.
    last_stored: Option<LastStored>,
    /// Rules whose messages are put aside, and why.
    parked: HashMap<usize, Arc<str>>,
    /// When tables that are not there were last forgotten.
    missing_since: Instant,
    /// When a column was last refused, if one is.
    refused_since: Option<Instant>,
    /// Journaled bytes of the batch's messages, which `batch.max_bytes` bounds.
    bytes: usize,
    pub batch: Batch,
}

impl<R: RowEncoder> Gatherer<R> {
    pub(super) fn new(
        mapper: Mapper<R>,
        rules: Arc<[Arc<Rule>]>,
        unmatched: Option<UnmatchedPolicy>,
        offset: OffsetMove,
    ) -> Gatherer<R> {
        let awaits_tables = mapper.absent_tables().next().is_some();
        let remembers = rules.iter().any(|rule| rule.retained == Retained::Changed);
        Gatherer {
            last_stored: remembers.then(LastStored::default),
            mapper,
            awaits_tables,
            rules,
            unmatched,
            outcomes: Vec::new(),
            parked: HashMap::new(),
            missing_since: Instant::now(),
            refused_since: None,
            bytes: 0,
            batch: Batch::new(offset),
        }
    }

    /// Begins the next batch at `from`, with nothing in the same transaction before it.
    pub(super) fn begin(&mut self, from: Seq) {
        self.last_stored.iter_mut().for_each(LastStored::forget_pending);
        self.clear(from);
    }

    /// All that was gathered since [`Gatherer::begin`] is committed.
    pub(super) fn committed(&mut self) {
        let is_whole = self.batch.excluded.is_empty();
        self.last_stored.iter_mut().for_each(|last_stored| last_stored.committed(is_whole));
    }

    /// Begins the next batch at `from`.
    pub(super) fn clear(&mut self, from: Seq) {
        self.batch.clear(from);
        if self.missing_since.elapsed() >= MISSING_FOR {
            self.missing_since = Instant::now();
            self.mapper.forget_missing();
        }
        if self.refused_since.is_some_and(|since| since.elapsed() >= REFUSED_FOR) {
            self.refused_since = None;
            self.mapper.forget_refused();
        }
        self.mapper.begin_batch(&self.batch);
        self.bytes = 0;
    }

    /// Whether another message would make the batch too large.
    pub(super) fn is_full(&self, rows_max: usize, bytes_max: usize) -> bool {
        self.batch.row_count_of_all().max(self.batch.units.len()) >= rows_max
            || self.batch.byte_count() >= bytes_max
            || self.batch.dead_letters.len() >= DEAD_LETTERS_MAX.min(rows_max)
            || self.bytes >= bytes_max
            || self.mapper.is_crowded()
    }

    /// Whether nothing was added yet.
    pub(super) fn is_empty(&self) -> bool {
        self.batch.offset.to == self.batch.offset.from
    }

    /// Adds a message: its rows, or its dead letters. `false` if a table has to be looked up first, see
    /// [`Gatherer::bind`]. Then, and on `Err`, the batch is as it was before.
    pub(super) fn add(&mut self, message: &Message<'_>, account: &mut Account) -> Result<bool, Halt> {
        if let Some(fault) = message.fault {
            self.bytes += message.encoded_len();
            self.add_faulty(message, dead_letter::reason_of_fault(fault), account);
            return Ok(true);
        }
        if self.last_stored.is_some() && !self.compare_retained(message) {
            return Ok(false);
        }
        let units_before = self.batch.units.len();
        if !self.mapper.map(message, &mut self.batch, &mut self.outcomes) {
            return Ok(false);
        }
        self.bytes += message.encoded_len();
        if let Some(halt) = self.halting_outcome(message.seq) {
            self.batch.truncate_units(units_before);
            return Err(halt);
        }
        if self.outcomes.is_empty() {
            self.add_unmatched(message, account);
        }
        if self.last_stored.is_some() {
            self.remember(message, units_before);
        }
        let mut unit = units_before;
        let mut outcomes = std::mem::take(&mut self.outcomes);
        for (rule, outcome) in outcomes.drain(..) {
            self.settle(rule, outcome, message, &mut unit, account);
        }
        self.outcomes = outcomes;
        self.batch.offset.to = message.seq.next();
        Ok(true)
    }

    /// Has the mapper pass over the rules that stored just this as the last message of its topic. `false` if the database
    /// has to be asked first.
    fn compare_retained(&mut self, message: &Message<'_>) -> bool {
        let Some(last_stored) = self.last_stored.as_mut().filter(|_| message.retain) else { return true };
        let hashes = Hashes::of(message);
        let mut same = Vec::new();
        for rule in self.mapper.takers(message) {
            if self.rules[rule].retained == Retained::Changed {
                match last_stored.verdict(rule, hashes) {
                    Verdict::Same => same.push(rule),
                    Verdict::Another => {}
                    Verdict::Unknown => last_stored.want(rule, hashes),
                }
            }
        }
        self.mapper.pass_over(same);
        !last_stored.has_wants()
    }

    /// Remembers a message under the rules that store it, or put it aside. Its first unit is the one at `unit`.
    fn remember(&mut self, message: &Message<'_>, mut unit: usize) {
        let Some(last_stored) = &mut self.last_stored else { return };
        let mut hashes = None;
        for (rule, outcome) in &self.outcomes {
            let place = match outcome {
                Outcome::Written => {
                    unit += 1;
                    Some(unit - 1)
                }
                Outcome::Parked => None,
                Outcome::Filtered | Outcome::Refused(_) => continue,
            };
            if self.rules[*rule].retained != Retained::Changed {
                continue;
            }
            let hashes = *hashes.get_or_insert_with(|| Hashes::of(message));
            if last_stored.store(*rule, hashes) {
                let (rule, Hashes { topic: topic_hash, content: content_hash }) =
                    (Arc::clone(&self.rules[*rule].name), hashes);
                self.batch.remembered.push(Remembered { unit: place, rule, topic_hash, content_hash });
            }
        }
    }

    /// Looks what a message that comes later will want. `false` if there is enough to be looked up together.
    pub(super) fn scan(&mut self, message: &Message<'_>) -> bool {
        let is_compared = message.fault.is_some() || self.compare_retained(message);
        let has_enough = !is_compared && self.last_stored.as_ref().is_some_and(LastStored::has_enough_wants);
        self.mapper.scan(message) && !has_enough
    }

    pub(super) fn has_wants(&self) -> bool {
        self.mapper.has_wants() || self.last_stored.as_ref().is_some_and(LastStored::has_wants)
    }

    /// The topics of which the database is to be asked what it stored last.
    pub(super) fn take_retained_wants(&mut self) -> Vec<Place> {
        self.last_stored.as_mut().map_or(Vec::new(), LastStored::take_wants)
    }

    /// As the database names it.
    pub(super) fn retained_place(&self, (rule, topic_hash): Place) -> RetainedPlace {
        (Arc::clone(&self.rules[rule].name), topic_hash)
    }

    /// What the database says of places that were wanted.
    pub(super) fn learn_last_stored(&mut self, wanted: &[Place], found: &HashMap<RetainedPlace, i64>) {
        let contents: Vec<Option<i64>> =
            wanted.iter().map(|place| found.get(&self.retained_place(*place)).copied()).collect();
        if let Some(last_stored) = &mut self.last_stored {
            wanted.iter().zip(contents).for_each(|(place, content)| last_stored.learn(*place, content));
        }
    }

    pub(super) fn take_wants(&mut self) -> Vec<Want> {
        self.mapper.take_wants()
    }

    /// See [`Mapper::take_served`].
    pub(super) fn take_served(&mut self) -> Served {
        self.mapper.take_served()
    }

    /// See [`Mapper::refuse_column`].
    pub(super) fn refuse_column(&mut self, table: &TableName, column: &str, why: &Arc<str>) {
        self.refused_since = Some(Instant::now());
        self.mapper.refuse_column(table, column, why);
    }

    /// See [`Mapper::refuse_table`].
    pub(super) fn refuse_table(&mut self, table: &TableName, why: &str) {
        self.mapper.refuse_table(table, why);
    }

    /// See [`Mapper::absent_tables`].
    pub(super) fn absent_tables(&self) -> Vec<&TableName> {
        if self.awaits_tables { self.mapper.absent_tables().collect() } else { Vec::new() }
    }

    /// See [`Mapper::bind`]; the batch is emptied.
    pub(super) fn bind(&mut self, bound: Vec<(Want, Result<Arc<TableSchema>, String>)>, from: Seq) {
        self.clear(from);
        for (want, live) in bound {
            self.mapper.bind(&want, live);
        }
    }
}
