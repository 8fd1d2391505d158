//! The rules in versions: a start creates the first, each reload publishes the next.
//!
//! Each database uses one version at a time and changes between two batches, so in each database every message is
//! mapped by exactly one version. A version is published here *before* the session subscribes to its filters. Every
//! worker looks for a newer one after it has read a message and before it maps it, so no message of a new filter is
//! mapped by old rules.
//!
//! If the process dies before a version is published, the next start reads the file as it is then. If it dies after,
//! each database's offset tells which batches it has, and all other messages are mapped by the rules of the next start.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::events;
use super::gather::UnmatchedPolicy;
use super::worker::Worker;
use crate::config::{Batch, Config, Rule, Unmatched};
use crate::journal::Fs;
use crate::mapping::Router;
use crate::sink::Sink;

/// One version of the rules, and of what else may change while the bridge runs.
#[derive(Debug)]
pub struct RuleSet {
    /// 1 at the start.
    pub version: u64,
    /// Of all databases, in the order of the file.
    pub rules: Vec<Arc<Rule>>,
    by_database: Vec<Arc<[Arc<Rule>]>>,
    batches: Vec<Batch>,
    unmatched: Unmatched,
    dead_letters_keep: Duration,
    /// The MQTT 5 subscription identifier under which each filter's messages come.
    identifiers: HashMap<String, u32>,
    /// Identifiers of filters that are gone; see [`crate::mapping::Mapper::retire`].
    retired: Vec<(u32, u32)>,
}

/// The sending side: its owner publishes new versions.
pub type RuleSets = watch::Sender<Arc<RuleSet>>;

/// The receiving side.
pub type RuleFeed = watch::Receiver<Arc<RuleSet>>;

impl RuleSet {
    /// The rules of `config`, with the identifiers of its subscriptions.
    pub fn new(version: u64, config: &Config, identifiers: HashMap<String, u32>, retired: Vec<(u32, u32)>) -> RuleSet {
        let of = |index| config.rules.iter().filter(|rule| rule.database == index).map(Arc::clone).collect();
        RuleSet {
            version,
            rules: config.rules.clone(),
            by_database: (0..config.databases.len()).map(of).collect(),
            batches: config.databases.iter().map(|database| database.batch.clone()).collect(),
            unmatched: config.unmatched,
            dead_letters_keep: config.dead_letters.keep,
            identifiers,
            retired,
        }
    }

    pub(super) fn of(&self, database: usize) -> Arc<[Arc<Rule>]> {
        Arc::clone(&self.by_database[database])
    }

    pub(super) fn identifiers(&self) -> &HashMap<String, u32> {
        &self.identifiers
    }

    pub(super) fn retired(&self) -> &[(u32, u32)] {
        &self.retired
    }

    pub(super) fn dead_letters_keep(&self) -> Duration {
        self.dead_letters_keep
    }

    /// Messages that no rule takes belong to the first database alone, so that each is counted and kept once.
    pub(super) fn unmatched(&self, database: usize) -> Option<UnmatchedPolicy> {
        (database == 0).then(|| {
            let others = self.rules.iter().filter(|rule| rule.database != 0);
            let elsewhere = Router::of_rules(&others.map(Arc::clone).collect::<Vec<_>>());
            UnmatchedPolicy { elsewhere, unmatched: self.unmatched }
        })
    }
}

/// Whether there is a newer version than the one in use. One atomic read, because it is called for every message.
pub(super) fn has_newer(feed: &RuleFeed) -> bool {
    // Whoever published is gone at a stop only.
    feed.has_changed().unwrap_or(false)
}

/// Returns once there is a newer version, and leaves it to be taken. Cancel-safe.
pub(super) async fn newer(feed: &RuleFeed) {
    let mut feed = feed.clone();
    if feed.changed().await.is_err() {
        std::future::pending().await
    }
}

fn names(rules: &[Arc<Rule>]) -> HashSet<&str> {
    rules.iter().map(|rule| &*rule.name).collect()
}

impl<S: Sink, F: Fs> Worker<S, F> {
    /// Uses the newest version from now on. Must be called between two batches: batches in doubt are counted for the
    /// rules that mapped them, and every other reference to a rule by its number is renumbered.
    pub(super) fn take_rules(&mut self) {
        if !has_newer(&self.setup.rules) {
            return;
        }
        let set = Arc::clone(&self.setup.rules.borrow_and_update());
        let before = std::mem::replace(&mut self.rules, set.of(self.setup.index));
        let set_before = std::mem::replace(&mut self.set, set);
        self.tell_of_moved_rules(&before, &set_before);
        let metrics = &self.setup.metrics;
        self.account.take_rules(metrics, &self.setup.database.name, &before, &self.rules);
        self.account.answers.take_rules(&self.set, &self.setup.bridge, self.setup.index);
        self.parking.take_rules(&self.rules);
        let batch = &self.set.batches[self.setup.index];
        if self.setup.database.batch != *batch {
            self.setup.database.batch = batch.clone();
            self.limit_batches();
        }
        let database = &self.setup.database.name;
        tracing::info!(%database, version = self.set.version, rules = self.rules.len(), "the database goes by new rules");
    }

    /// What waits and only rules took that are gone goes nowhere, or to a database that may have passed it. What waits and a
    /// rule takes that wrote to another database, that one may have stored.
    fn tell_of_moved_rules(&self, before: &[Arc<Rule>], set_before: &RuleSet) {
        // The reader is ahead of a batch that is tried again.
        let confirmed = self.setup.state.snapshot().next_seq;
        let (from, end) = (confirmed.unwrap_or(self.reader.position()), self.watermark.borrow().next_seq);
        if from >= end {
            return;
        }
        let [ours, ours_before, all_before] = [&self.rules[..], before, &set_before.rules].map(names);
        let gone: Vec<&str> = before.iter().map(|rule| &*rule.name).filter(|name| !ours.contains(name)).collect();
        let is_moved = |name: &&str| !ours_before.contains(name) && all_before.contains(name);
        let moved: Vec<&str> = self.rules.iter().map(|rule| &*rule.name).filter(is_moved).collect();
        if !gone.is_empty() {
            events::rules_gone(&self.setup.database.name, &gone.join(", "), from, end);
        }
        if !moved.is_empty() {
            events::rules_came(&self.setup.database.name, &moved.join(", "), from, end);
        }
    }
}
