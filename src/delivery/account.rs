//! Closed accounting: per rule `matched = written + filtered + dead_lettered + dropped`, counted only once committed.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;

use crate::config::Rule;
use crate::telemetry::{Metrics, Outcome, OutcomeLabels, RuleLabels};

/// What became of the messages of a batch under one rule. `matched` is the sum of the four outcomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub written: u64,
    pub rows: u64,
    pub filtered: u64,
    pub dead_lettered: u64,
    pub dropped: u64,
}

/// The tallies of the batch that is being gathered, and the counters they end in.
pub(super) struct Account {
    tallies: Vec<Tally>,
    /// Rules with a tally that is not zero, so that ten thousand idle rules cost a commit nothing.
    touched: Vec<usize>,
    counters: Vec<RuleCounters>,
    /// Messages of the batch that no rule of any database took; counted by the first database only.
    pub unmatched: u64,
    unmatched_counter: Counter,
}

struct RuleCounters {
    written: Counter,
    rows: Counter,
    filtered: Counter,
    dead_lettered: Counter,
    dropped: Counter,
}

impl Account {
    /// `rules` in the order in which the mapper numbers them.
    pub(super) fn new(metrics: &Metrics, database: &str, rules: &[Arc<Rule>]) -> Account {
        let counters = rules.iter().map(|rule| RuleCounters::new(metrics, database, &rule.name)).collect();
        Account {
            tallies: vec![Tally::default(); rules.len()],
            touched: Vec::new(),
            counters,
            unmatched: 0,
            unmatched_counter: metrics.messages_unmatched.clone(),
        }
    }

    /// The tally of a rule, for adding to it.
    pub(super) fn rule(&mut self, index: usize) -> &mut Tally {
        let tally = &mut self.tallies[index];
        if *tally == Tally::default() {
            self.touched.push(index);
        }
        tally
    }

    /// The batch was committed: its tallies become counts.
    pub(super) fn commit(&mut self) {
        for index in self.touched.drain(..) {
            let tally = std::mem::take(&mut self.tallies[index]);
            let counters = &self.counters[index];
            counters.written.inc_by(tally.written);
            counters.rows.inc_by(tally.rows);
            counters.filtered.inc_by(tally.filtered);
            counters.dead_lettered.inc_by(tally.dead_lettered);
            counters.dropped.inc_by(tally.dropped);
        }
        self.unmatched_counter.inc_by(std::mem::take(&mut self.unmatched));
    }

    /// The batch came to nothing: it will be gathered again.
    pub(super) fn clear(&mut self) {
        for index in self.touched.drain(..) {
            self.tallies[index] = Tally::default();
        }
        self.unmatched = 0;
    }
}

impl RuleCounters {
    fn new(metrics: &Metrics, database: &str, rule: &str) -> RuleCounters {
        let outcome = |outcome| {
            let labels = OutcomeLabels { database: database.to_owned(), rule: rule.to_owned(), outcome };
            metrics.messages.get_or_create(&labels).clone()
        };
        let labels = RuleLabels { database: database.to_owned(), rule: rule.to_owned() };
        RuleCounters {
            written: outcome(Outcome::written),
            rows: metrics.rows_written.get_or_create(&labels).clone(),
            filtered: outcome(Outcome::filtered),
            dead_lettered: outcome(Outcome::dead_lettered),
            dropped: outcome(Outcome::dropped),
        }
    }
}

/// One rule's counts since the process started, for `status`.
pub fn totals(metrics: &Metrics, database: &str, rule: &str) -> Tally {
    let counters = RuleCounters::new(metrics, database, rule);
    Tally {
        written: counters.written.get(),
        rows: counters.rows.get(),
        filtered: counters.filtered.get(),
        dead_lettered: counters.dead_lettered.get(),
        dropped: counters.dropped.get(),
    }
}
