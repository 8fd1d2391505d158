//! From journal entries to a batch: map each message, sort its outcomes, keep the tallies.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::account::Account;
use super::dead_letter::{self, Reason};
use super::refusals::Fate;
use super::retained::{Hashes, LastStored, Place, Verdict};
use crate::batch::{Batch, DeadLetter, OffsetMove, Remembered, RowEncoder};
use crate::config::{OnError, Retained, Rule, Unmatched};
use crate::journal::Lost;
use crate::mapping::{Mapper, Outcome, Router, Want};
use crate::message::{Message, Seq};
use crate::rule::TableName;
use crate::schema::TableSchema;
use crate::sink::{ParkedLetter, Refusal, RetainedPlace};
use crate::telemetry::tap;

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
    /// The table as the rule names it.
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

/// What a dead letter's message gives when it is mapped again.
pub(super) enum Again {
    Written,
    Filtered,
    /// A dead letter's short code, and the error.
    Refused(&'static str, String),
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

    /// See [`Mapper::refuse_column`].
    pub(super) fn refuse_column(&mut self, table: &TableName, column: &str, why: &Arc<str>) {
        self.refused_since = Some(Instant::now());
        self.mapper.refuse_column(table, column, why);
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

    /// Counts what became of a message under a rule, and keeps its dead letter. `unit` is the next one that was added.
    fn settle(
        &mut self,
        rule: usize,
        outcome: Outcome,
        message: &Message<'_>,
        unit: &mut usize,
        account: &mut Account,
    ) {
        let tally = account.rule(rule);
        match outcome {
            Outcome::Written => {
                let rows = self.batch.rows_of(*unit);
                tally.written += 1;
                tally.rows += rows as u64;
                let tables = self.batch.tables_of(*unit).map(|table| &table.name);
                account.tap.written(&self.rules[rule].name, message, tables, rows);
                account.answers.note(rule, message, rows, None);
                *unit += 1;
                if let Some(nulled) = self.mapper.nulled(rule) {
                    account.rule(rule).nulled += nulled.count;
                    account.refuse(Some(&self.rules[rule].name), "value", Fate::Nulled, message, &nulled.why);
                }
            }
            Outcome::Filtered => {
                tally.filtered += 1;
                account.tap.passed(Some(&self.rules[rule].name), tap::Fate::Filtered, message);
                account.answers.note(rule, message, 0, None);
            }
            Outcome::Parked => {
                tally.parked += 1;
                let why = self.parked.get(&rule).map_or("the table takes no rows", |why| why);
                account.tap.refused(Some(&self.rules[rule].name), tap::Fate::Parked, message, "table", why);
                account.answers.note(rule, message, 0, Some(why));
                let letter = dead_letter::parked(&self.rules[rule].name, message, why);
                self.keep(letter);
            }
            Outcome::Refused(fault) if fault.on_error == OnError::Drop => {
                tally.dropped += 1;
                let name = Some(&self.rules[rule].name);
                account.refuse(name, fault.reason, Fate::Dropped, message, &fault.message);
                account.answers.note(rule, message, 0, Some(&fault.message));
            }
            Outcome::Refused(fault) => {
                tally.dead_lettered += 1;
                let name = Some(&self.rules[rule].name);
                account.refuse(name, fault.reason, Fate::DeadLetter, message, &fault.message);
                account.answers.note(rule, message, 0, Some(&fault.message));
                let reason = Reason { code: fault.reason, error: fault.message, attempts: 0 };
                let letter = dead_letter::of_message(name, message, reason);
                self.keep(letter);
            }
        }
    }

    /// Puts the messages of a rule aside from now on, with the reason; or no longer.
    pub(super) fn park(&mut self, rule: usize, why: Option<&Arc<str>>) {
        self.mapper.park(rule, why.is_some());
        match why {
            Some(why) => self.parked.insert(rule, Arc::clone(why)),
            None => self.parked.remove(&rule),
        };
    }

    /// Adds a message that was parked, which is taken out of the dead letters with this batch; how many units it gave, none
    /// if a table has to be looked up first. Then, and on `Err`, the batch is as it was before.
    pub(super) fn add_parked(&mut self, letter: &ParkedLetter, account: &mut Account) -> Result<Option<usize>, Halt> {
        let Some(rule) = self.rules.iter().position(|rule| *rule.name == *letter.rule) else { return Ok(Some(0)) };
        let name = Arc::clone(&self.rules[rule].name);
        let units_before = self.batch.units.len();
        match letter.message() {
            Ok(message) => {
                if !self.mapper.map_parked(rule, &message, &mut self.batch, &mut self.outcomes) {
                    return Ok(None);
                }
                self.bytes += message.encoded_len();
                if let Some(halt) = self.halting_outcome(message.seq) {
                    self.batch.truncate_units(units_before);
                    return Err(halt);
                }
                let mut unit = units_before;
                match self.outcomes.pop() {
                    Some((rule, outcome)) => self.settle(rule, outcome, &message, &mut unit, account),
                    None => {
                        account.rule(rule).dead_lettered += 1;
                        let error = "the rule's topic pattern does not take it any more".to_owned();
                        account.tap.refused(Some(&name), tap::Fate::DeadLettered, &message, "unmatched", &error);
                        let reason = Reason { code: "unmatched", error, attempts: 0 };
                        self.keep(dead_letter::of_message(Some(&name), &message, reason));
                    }
                }
            }
            Err(error) => {
                account.rule(rule).dead_lettered += 1;
                self.keep(dead_letter::unreadable(&name, letter, &error));
            }
        }
        account.rule(rule).parked -= 1;
        self.batch.released.push(letter.id);
        Ok(Some(self.batch.units.len() - units_before))
    }

    /// Adds the rows of a dead letter's message, as the only rule has them now. `None` if a table has to be looked up first. Then, and
    /// where it gives no row, the batch is as it was before. What to do with the letter is left to the caller, whatever
    /// `on_error` says.
    pub(super) fn add_again(&mut self, message: &Message<'_>) -> Option<Again> {
        const RULE: usize = 0;
        if !self.mapper.map_parked(RULE, message, &mut self.batch, &mut self.outcomes) {
            return None;
        }
        self.bytes += message.encoded_len();
        Some(match self.outcomes.pop() {
            Some((_, Outcome::Written)) => Again::Written,
            Some((_, Outcome::Filtered)) => Again::Filtered,
            Some((_, Outcome::Refused(fault))) => Again::Refused(fault.reason, fault.message),
            Some((_, Outcome::Parked)) => unreachable!("no rule of this gatherer is parked"),
            None => Again::Refused("unmatched", "the rule's topic pattern does not take it any more".to_owned()),
        })
    }

    /// Takes a unit out of the rows.
    pub(super) fn exclude(&mut self, unit: usize) {
        if let Err(place) = self.batch.excluded.binary_search(&unit) {
            self.batch.excluded.insert(place, unit);
        }
    }

    /// Adds the record of messages that are gone.
    pub(super) fn add_lost(&mut self, lost: &Lost, account: &mut Account) {
        let letter = dead_letter::of_lost_range(lost);
        account.tap.lost(lost.from, &letter.error);
        self.keep(letter);
        self.batch.offset.to = lost.to;
    }

    /// Takes a unit that the database refused out of the rows. `message` is what it was made of.
    pub(super) fn refuse(
        &mut self,
        refusal: &Refusal,
        message: &Message<'_>,
        attempts: u32,
        account: &mut Account,
    ) -> Result<(), Halt> {
        let unit = self.batch.units[refusal.unit].clone();
        let rule = Arc::clone(&self.rules[unit.rule]);
        let tally = account.rule(unit.rule);
        match rule.on_error {
            OnError::Halt => {
                let error = refusal.message.clone();
                let (name, target) = (Arc::clone(&rule.name), rule.table.clone());
                let table = self.batch.tables_of(refusal.unit).next().cloned();
                return Err(Halt { seq: unit.seq, rule: name, target, error, table });
            }
            OnError::Drop => {
                tally.dropped += 1;
                account.refuse(Some(&rule.name), refusal.reason, Fate::Dropped, message, &refusal.message);
            }
            OnError::DeadLetter => {
                tally.dead_lettered += 1;
                account.refuse(Some(&rule.name), refusal.reason, Fate::DeadLetter, message, &refusal.message);
                let reason = Reason { code: refusal.reason, error: refusal.message.clone(), attempts };
                let letter = dead_letter::of_message(Some(&rule.name), message, reason);
                self.keep(letter);
            }
        }
        let tally = account.rule(unit.rule);
        tally.written -= 1;
        tally.rows -= self.batch.rows_of(refusal.unit) as u64;
        account.tap.withdraw(&rule.name, unit.seq);
        account.answers.withdraw(unit.rule, unit.seq, self.batch.rows_of(refusal.unit), &refusal.message);
        self.exclude(refusal.unit);
        Ok(())
    }

    /// A message that can never become a row is a dead letter of every rule that would have taken it, or of none.
    fn add_faulty(&mut self, message: &Message<'_>, reason: Reason, account: &mut Account) {
        let takers = self.mapper.takers_at_fault(message);
        for &rule in &takers {
            account.rule(rule).dead_lettered += 1;
            account.refuse(Some(&self.rules[rule].name), reason.code, Fate::DeadLetter, message, &reason.error);
            account.answers.note(rule, message, 0, Some(&reason.error));
            let letter = dead_letter::of_message(Some(&self.rules[rule].name), message, reason.clone());
            self.keep(letter);
        }
        if takers.is_empty() && self.is_unmatched_everywhere(message) {
            account.unmatched += 1;
            account.refuse(None, reason.code, Fate::DeadLetter, message, &reason.error);
            self.keep(dead_letter::of_message(None, message, reason));
        }
        self.batch.offset.to = message.seq.next();
    }

    fn add_unmatched(&mut self, message: &Message<'_>, account: &mut Account) {
        if !self.is_unmatched_everywhere(message) {
            return;
        }
        account.unmatched += 1;
        if self.unmatched.as_ref().is_some_and(|policy| policy.unmatched == Unmatched::DeadLetter) {
            let error = "no rule's topic pattern fits; add a rule, or set unmatched: ignore".to_owned();
            let reason = Reason { code: "unmatched", error, attempts: 0 };
            account.refuse(None, reason.code, Fate::DeadLetter, message, &reason.error);
            self.keep(dead_letter::of_message(None, message, reason));
        } else {
            account.tap.passed(None, tap::Fate::Unmatched, message);
        }
    }

    /// Each dead letter holds the message again, which counts against `batch.max_bytes` like the message itself.
    fn keep(&mut self, letter: DeadLetter) {
        self.bytes += letter.payload.len() + letter.envelope.as_ref().map_or(0, Vec::len);
        self.batch.dead_letters.push(letter);
    }

    fn is_unmatched_everywhere(&mut self, message: &Message<'_>) -> bool {
        self.unmatched.as_mut().is_some_and(|policy| !policy.elsewhere.takes(message.topic))
    }

    fn halting_outcome(&self, seq: Seq) -> Option<Halt> {
        self.outcomes.iter().find_map(|(rule, outcome)| match outcome {
            Outcome::Refused(fault) if fault.on_error == OnError::Halt => {
                let table = self.mapper.table_of(*rule).cloned();
                let rule = &self.rules[*rule];
                let (name, target) = (Arc::clone(&rule.name), rule.table.clone());
                Some(Halt { seq, rule: name, target, error: fault.message.clone(), table })
            }
            _ => None,
        })
    }
}
