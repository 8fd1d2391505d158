//! Counts whose sums are exact: per rule `matched = written + filtered + dead_lettered + dropped`, counted only after
//! the commit. A parked message is counted when it is taken out again and its outcome is known.

use std::collections::HashSet;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::answers::{Answered, Answers};
use super::refusals::{Fate, RefusalLog, Refusals, Unwritten};
use crate::config::Rule;
use crate::message::{Message, Seq};
use crate::rule::TableName;
use crate::sink::Swallowed;
use crate::telemetry::tap::{self, Notes, Recorder};
use crate::telemetry::{Metrics, Outcome, OutcomeLabels, RuleLabels};

/// The outcomes of a batch's messages under one rule. `matched` is the sum of the four outcomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub written: u64,
    pub rows: u64,
    pub filtered: u64,
    pub dead_lettered: u64,
    pub dropped: u64,
    /// Rows of written messages that the table did not take, without an error; not among `rows`.
    pub rows_swallowed: u64,
    /// Values of written messages that did not fit and became NULL.
    pub nulled: u64,
    /// Messages that were parked, less those that were taken out again: neither matched nor any of the outcomes until then.
    pub parked: i64,
}

/// So many batches without an answer are remembered at most; only after a long row of lost answers are there more than
/// two, as each is half as large as the one before.
const DOUBTS_MAX: usize = 16;

/// The tallies of the batch that is being gathered, and the counters they end in.
pub(super) struct Account {
    tallies: Vec<Tally>,
    /// Rules with a tally that is not zero, so that ten thousand idle rules cost a commit nothing.
    touched: Vec<usize>,
    counters: Vec<Arc<RuleCounters>>,
    /// Messages of the batch that no rule of any database took; counted by the first database only.
    pub unmatched: u64,
    unmatched_counter: Counter,
    /// Swallowed rows that belong to no known rule: see [`Swallowed::rule`].
    swallowed_counter: Counter,
    /// Messages of the batch that gave no row.
    refusals: Refusals,
    pub(super) refusal_log: RefusalLog,
    /// Shows the outcomes of messages to clients that follow them.
    pub(super) tap: Recorder,
    /// Says it to those who sent them.
    pub(super) answers: Answers,
    /// Batches after the present offset that were sent and not answered. At most one of them was applied, or will be:
    /// bytes in the network may arrive after the next connection has read the offset.
    doubts: Vec<Doubt>,
    /// A batch of parked messages that was sent and not answered.
    replay_doubt: Option<ReplayDoubt>,
}

/// The counts of a batch of parked messages without an answer, if its letters turn out to be deleted.
struct ReplayDoubt {
    table: TableName,
    /// The id of the first of them.
    first: i64,
    tallies: Counted,
    refusals: Refusals,
    notes: Notes,
}

/// The counts of a batch without an answer, if the database turns out to have it.
struct Doubt {
    from: Seq,
    to: Seq,
    tallies: Counted,
    unmatched: u64,
    refusals: Refusals,
    notes: Notes,
    answers: Vec<Answered>,
}

/// Tallies with their counters, because the rules may get other numbers before it is known whether the tallies count.
type Counted = Vec<(Arc<RuleCounters>, Tally)>;

struct RuleCounters {
    written: Counter,
    rows: Counter,
    filtered: Counter,
    dead_lettered: Counter,
    dropped: Counter,
    rows_swallowed: Counter,
    nulled: Counter,
    parked: Gauge,
}

impl Account {
    /// `rules` in the order in which the mapper numbers them.
    pub(super) fn new(metrics: &Metrics, database: &Arc<str>, rules: &[Arc<Rule>], answers: Answers) -> Account {
        Account {
            tallies: vec![Tally::default(); rules.len()],
            touched: Vec::new(),
            counters: counters(metrics, database, rules),
            unmatched: 0,
            unmatched_counter: metrics.messages_unmatched.clone(),
            swallowed_counter: metrics
                .rows_swallowed
                .get_or_create(&RuleLabels { database: Arc::clone(database), rule: "".into() })
                .clone(),
            refusals: Refusals::default(),
            refusal_log: RefusalLog::new(Arc::clone(database)),
            tap: Recorder::new(Arc::clone(&metrics.taps), Arc::clone(database)),
            answers,
            doubts: Vec::new(),
            replay_doubt: None,
        }
    }

    /// So many messages of a rule are parked, says the database.
    pub(super) fn set_parked(&mut self, rule: usize, messages: u64) {
        self.counters[rule].parked.set(i64::try_from(messages).unwrap_or(i64::MAX));
    }

    /// How many messages of a rule are parked.
    pub(super) fn parked(&self, rule: usize) -> u64 {
        self.counters[rule].parked.get().max(0).unsigned_abs()
    }

    /// A message gave no row under a rule, or no rule took it. The caller counts it in the rule's tally; it is reported
    /// once committed.
    pub(super) fn refuse(
        &mut self,
        rule: Option<&Arc<str>>,
        reason: &'static str,
        fate: Fate,
        message: &Message<'_>,
        error: &str,
    ) {
        self.refusals.add(rule, reason, fate, message, error);
        match fate {
            Fate::DeadLetter => self.tap.refused(rule, tap::Fate::DeadLettered, message, reason, error),
            Fate::Dropped => self.tap.refused(rule, tap::Fate::Dropped, message, reason, error),
            Fate::Nulled => self.tap.nulled(rule, message.seq, error),
        }
    }

    /// Messages that gave no row, since the start.
    pub(super) fn unwritten(&self) -> Unwritten {
        self.refusal_log.total
    }

    /// The tally of a rule, for adding to it.
    pub(super) fn rule(&mut self, index: usize) -> &mut Tally {
        let tally = &mut self.tallies[index];
        if *tally == Tally::default() {
            self.touched.push(index);
        }
        tally
    }

    /// Of the batch that was committed, these rows are not in their tables. Comes before [`Account::commit`].
    pub(super) fn swallow(&mut self, swallowed: &[Swallowed]) {
        for Swallowed { rule, rows, .. } in swallowed {
            let Some(rule) = *rule else {
                self.swallowed_counter.inc_by(*rows);
                continue;
            };
            let tally = self.rule(rule);
            tally.rows = tally.rows.saturating_sub(*rows);
            tally.rows_swallowed += rows;
        }
        for Swallowed { rule, rows, .. } in swallowed {
            if let Some(rule) = *rule
                && (self.tallies[rule].rows == 0 || self.tallies[rule].written <= 1)
            {
                self.answers.swallow(rule, *rows);
            }
        }
    }

    /// The batch was committed: its tallies become counts. No batch in doubt can be applied any more.
    pub(super) fn commit(&mut self) {
        self.doubts.clear();
        self.count();
        self.answers.publish();
    }

    /// A batch of parked messages was committed. It did not move the offset, so a batch in doubt may be applied yet.
    pub(super) fn commit_replay(&mut self) {
        self.replay_doubt = None;
        self.count();
        // They were answered when they were parked.
        self.answers.clear();
    }

    /// A batch of a table's parked messages, of which `first` is the first, was sent and not answered.
    pub(super) fn doubt_replay(&mut self, table: &TableName, first: i64) {
        let tallies = self.take_tallies();
        let refusals = std::mem::take(&mut self.refusals);
        let notes = self.tap.take();
        self.answers.clear();
        self.replay_doubt = Some(ReplayDoubt { table: table.clone(), first, tallies, refusals, notes });
    }

    /// The first message that is parked for a table now: a batch in doubt counts if its own first one is gone.
    pub(super) fn settle_replay(&mut self, table: &TableName, first: Option<i64>) {
        if let Some(mut doubt) = self.replay_doubt.take_if(|doubt| doubt.table == *table && first != Some(doubt.first))
        {
            for (counters, tally) in doubt.tallies {
                // How many are left was read from the database since.
                counters.count(&Tally { parked: 0, ..tally });
            }
            self.refusal_log.note(&mut doubt.refusals);
            self.tap.publish_later(doubt.notes);
        }
    }

    /// Goes by other rules from now on. Rules that keep their name keep their counts, and so does one that comes back.
    pub(super) fn take_rules(
        &mut self,
        metrics: &Metrics,
        database: &Arc<str>,
        before: &[Arc<Rule>],
        rules: &[Arc<Rule>],
    ) {
        self.clear();
        let names: HashSet<&str> = rules.iter().map(|rule| &*rule.name).collect();
        for gone in before.iter().filter(|rule| !names.contains(&*rule.name)) {
            // The parked messages of the remaining rules are read from the database again.
            metrics.parked.remove(&RuleLabels { database: Arc::clone(database), rule: Arc::clone(&gone.name) });
        }
        self.tallies = vec![Tally::default(); rules.len()];
        self.counters = counters(metrics, database, rules);
    }

    fn take_tallies(&mut self) -> Counted {
        let touched = self.touched.drain(..);
        touched.map(|index| (Arc::clone(&self.counters[index]), std::mem::take(&mut self.tallies[index]))).collect()
    }

    fn count(&mut self) {
        for index in self.touched.drain(..) {
            let tally = std::mem::take(&mut self.tallies[index]);
            self.counters[index].count(&tally);
        }
        self.unmatched_counter.inc_by(std::mem::take(&mut self.unmatched));
        self.refusal_log.note(&mut self.refusals);
        self.tap.publish();
    }

    /// The batch from `from` to `to` was sent, and not answered.
    pub(super) fn doubt(&mut self, from: Seq, to: Seq) {
        let tallies = self.take_tallies();
        let unmatched = std::mem::take(&mut self.unmatched);
        let refusals = std::mem::take(&mut self.refusals);
        let (notes, answers) = (self.tap.take(), self.answers.take());
        let doubt = Doubt { from, to, tallies, unmatched, refusals, notes, answers };
        // The same messages were sent before: what they count now is as good.
        self.doubts.retain(|other| other.to != to);
        if self.doubts.len() == DOUBTS_MAX {
            self.doubts.remove(0);
        }
        self.doubts.push(doubt);
    }

    /// The database's offset is `stored`: a batch in doubt that ends there was applied, and counts. A batch that begins
    /// there may still be applied.
    pub(super) fn settle(&mut self, stored: Seq) {
        self.clear();
        if let Some(applied) = self.doubts.iter().position(|doubt| doubt.to == stored) {
            let mut doubt = self.doubts.swap_remove(applied);
            for (counters, tally) in doubt.tallies {
                counters.count(&tally);
            }
            self.unmatched_counter.inc_by(doubt.unmatched);
            self.refusal_log.note(&mut doubt.refusals);
            self.tap.publish_later(doubt.notes);
            self.answers.publish_later(doubt.answers);
        }
        self.doubts.retain(|doubt| doubt.from == stored);
    }

    /// The batch came to nothing: it will be gathered again.
    pub(super) fn clear(&mut self) {
        for index in self.touched.drain(..) {
            self.tallies[index] = Tally::default();
        }
        self.unmatched = 0;
        self.refusals.clear();
        self.tap.begin();
        self.answers.clear();
    }
}

fn counters(metrics: &Metrics, database: &Arc<str>, rules: &[Arc<Rule>]) -> Vec<Arc<RuleCounters>> {
    rules.iter().map(|rule| Arc::new(RuleCounters::new(metrics, database, &rule.name))).collect()
}

impl RuleCounters {
    fn count(&self, tally: &Tally) {
        let counts = [
            (&self.written, tally.written),
            (&self.rows, tally.rows),
            (&self.filtered, tally.filtered),
            (&self.dead_lettered, tally.dead_lettered),
            (&self.dropped, tally.dropped),
            (&self.rows_swallowed, tally.rows_swallowed),
            (&self.nulled, tally.nulled),
        ];
        if tally.parked != 0 {
            self.parked.inc_by(tally.parked);
        }
        // Each counter has its own memory, so unchanged counters are not read.
        for (counter, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            counter.inc_by(count);
        }
    }

    fn new(metrics: &Metrics, database: &Arc<str>, rule: &Arc<str>) -> RuleCounters {
        let outcome = |outcome| {
            let labels = OutcomeLabels { database: Arc::clone(database), rule: Arc::clone(rule), outcome };
            metrics.messages.get_or_create(&labels).clone()
        };
        let labels = RuleLabels { database: Arc::clone(database), rule: Arc::clone(rule) };
        RuleCounters {
            written: outcome(Outcome::written),
            rows: metrics.rows_written.get_or_create(&labels).clone(),
            filtered: outcome(Outcome::filtered),
            dead_lettered: outcome(Outcome::dead_lettered),
            dropped: outcome(Outcome::dropped),
            rows_swallowed: metrics.rows_swallowed.get_or_create(&labels).clone(),
            nulled: metrics.values_nulled.get_or_create(&labels).clone(),
            parked: metrics.parked.get_or_create(&labels).clone(),
        }
    }
}

/// One rule's counts since the process started, for `status`.
pub fn totals(metrics: &Metrics, database: &Arc<str>, rule: &Arc<str>) -> Tally {
    let counters = RuleCounters::new(metrics, database, rule);
    Tally {
        written: counters.written.get(),
        rows: counters.rows.get(),
        filtered: counters.filtered.get(),
        dead_lettered: counters.dead_lettered.get(),
        dropped: counters.dropped.get(),
        rows_swallowed: counters.rows_swallowed.get(),
        nulled: counters.nulled.get(),
        parked: counters.parked.get(),
    }
}
