//! The outcomes of messages, for clients that follow them (`rowbridge tap`).
//!
//! Once per batch a database's thread checks whether anybody follows. If so, it notes the outcomes of the batch's
//! messages, and hands the notes over after the commit, so only committed outcomes are shown. The notes of a
//! transaction, the notes that wait for a follower, and the followers are bounded. Surplus notes are counted and
//! dropped; the thread never waits. Messages that gave no row have their own bound, so that a flood of written messages
//! does not hide them.

mod note;
mod recorder;

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;

pub use note::{Fate, Notes};
use recorder::Interest;
pub use recorder::Recorder;

/// Followers at a time: a few people at a few terminals.
pub const FOLLOWERS_MAX: usize = 8;

/// Messages a second that a follower may ask for; with as many that gave no row. More than anybody reads.
pub const RATE_MAX: usize = 1_000;

/// A follower that asks for nothing for so long is gone.
const ABSENCE: Duration = Duration::from_secs(10);

/// Notes that wait until a follower asks: a second's, good and bad. Some 4 MiB for each follower at the very most.
const WAITING_MAX: usize = 2 * RATE_MAX;

/// Those who follow.
#[derive(Debug, Default)]
pub struct Taps {
    /// As many as `list` has. Read by the data path, once per batch.
    count: AtomicUsize,
    list: Mutex<Vec<Follower>>,
}

#[derive(Debug)]
struct Follower {
    id: u64,
    /// `None`: all of them, and what no rule takes.
    rules: Option<HashSet<String>>,
    rate: usize,
    /// Since when `well` and `ill` count.
    second: Instant,
    well: usize,
    ill: usize,
    waiting: VecDeque<Value>,
    not_shown: u64,
    asked: Instant,
    came: Arc<Notify>,
}

/// The answer to a follower's request.
#[derive(Debug)]
pub struct Taken {
    pub messages: Vec<Value>,
    /// Beyond the follower's rate, since it asked before.
    pub not_shown: u64,
    /// Told when there is more.
    pub came: Arc<Notify>,
}

impl Taps {
    /// A new follower of these rules, of all if there are none; its id. `None` if there are too many.
    pub fn open(&self, rules: Vec<String>, rate: usize) -> Option<u64> {
        let id = getrandom::u64().ok()?;
        let now = Instant::now();
        let mut list = self.lock();
        list.retain(|follower| follower.is_there(now));
        let is_possible = list.len() < FOLLOWERS_MAX;
        if is_possible {
            list.push(Follower {
                id,
                rules: (!rules.is_empty()).then(|| rules.into_iter().collect()),
                rate: rate.clamp(1, RATE_MAX),
                second: now,
                well: 0,
                ill: 0,
                waiting: VecDeque::new(),
                not_shown: 0,
                asked: now,
                came: Arc::default(),
            });
        }
        self.count.store(list.len(), Ordering::Relaxed);
        is_possible.then_some(id)
    }

    /// The new notes for a follower; `None` if it asked too late and is no longer a follower.
    pub fn take(&self, id: u64) -> Option<Taken> {
        let mut list = self.lock();
        let follower = list.iter_mut().find(|follower| follower.id == id)?;
        follower.asked = Instant::now();
        Some(Taken {
            messages: follower.waiting.drain(..).collect(),
            not_shown: std::mem::take(&mut follower.not_shown),
            came: Arc::clone(&follower.came),
        })
    }

    fn interest(&self) -> Option<Interest> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let now = Instant::now();
        let mut list = self.lock();
        list.retain(|follower| follower.is_there(now));
        self.count.store(list.len(), Ordering::Relaxed);
        let rules = list.iter().map(|follower| follower.rules.as_ref()).collect::<Option<Vec<_>>>();
        let rules = rules.map(|rules| rules.into_iter().flatten().cloned().collect());
        list.iter().map(|follower| follower.rate).max().map(|rate| Interest { rules, rate })
    }

    fn publish(&self, database: &str, mut notes: Notes) {
        let now = Instant::now();
        // The messages that the database refused were noted last.
        notes.list.sort_by_key(|note| note.seq);
        let mut list = self.lock();
        list.retain(|follower| follower.is_there(now));
        self.count.store(list.len(), Ordering::Relaxed);
        for follower in list.iter_mut() {
            follower.offer(database, &notes, now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Follower>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower {
    fn is_there(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.asked) < ABSENCE
    }

    fn offer(&mut self, database: &str, notes: &Notes, now: Instant) {
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.well, self.ill) = (now, 0, 0);
        }
        let rules = self.rules.take();
        let wants =
            |rule: Option<&str>| rules.as_ref().is_none_or(|rules| rule.is_some_and(|rule| rules.contains(rule)));
        for note in notes.list.iter().filter(|note| wants(note.rule.as_deref())) {
            let used = if note.fate.is_well() { &mut self.well } else { &mut self.ill };
            if *used < self.rate && self.waiting.len() < WAITING_MAX {
                *used += 1;
                self.waiting.push_back(note.json(database));
            } else {
                self.not_shown += 1;
            }
        }
        let skipped = notes.skipped.iter().filter(|(rule, _)| wants(rule.as_deref()));
        self.not_shown += skipped.map(|(_, count)| count).sum::<u64>();
        self.rules = rules;
        if !self.waiting.is_empty() || self.not_shown > 0 {
            self.came.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
