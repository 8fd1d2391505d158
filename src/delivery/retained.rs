//! `retained: changed`: the message that a rule stored last for each topic.
//!
//! A broker sends retained messages again at every subscription: after a restart with a new session, a reload, a lost
//! session. `rowbridge_retained` holds a hash of the payload that a rule stored last for each topic, retained or live,
//! written in the transaction of the message's rows. A retained message with an equal hash is filtered.
//!
//! *Dies anywhere:* hash and rows are in the database together or not at all. The hashes in memory are those of the
//! table and those that the current batch will add. They are discarded with every connection, and uncommitted ones with
//! every batch.

use std::collections::HashMap;

use xxhash_rust::xxh3::xxh3_64;

use crate::message::Message;

/// Topics whose last message is remembered here; of others the database is asked again. 16 bytes each and the table's own:
/// some megabytes.
const KNOWN_MAX: usize = 100_000;

/// Topics that are looked up together.
const WANTS_MAX: usize = 1_000;

/// A rule's topic, by its hash.
pub(super) type Place = (usize, i64);

/// What is known of the topics of rules with `retained: changed`.
#[derive(Debug, Default)]
pub(super) struct LastStored {
    /// As committed; `None` where the database has none. Two generations: the older one goes when the younger is full.
    young: HashMap<Place, Option<i64>>,
    old: HashMap<Place, Option<i64>>,
    /// The state after the current batch, and those before it in its transaction, are committed.
    pending: HashMap<Place, i64>,
    wants: Vec<Place>,
}

/// What a retained message is to a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The same as the last one that was stored.
    Same,
    Another,
    /// The database has to be asked.
    Unknown,
}

/// A message's topic and payload, as they are compared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hashes {
    pub(super) topic: i64,
    pub(super) content: i64,
}

impl Hashes {
    pub(super) fn of(message: &Message<'_>) -> Hashes {
        Hashes {
            topic: xxh3_64(message.topic.as_bytes()).cast_signed(),
            content: xxh3_64(message.payload).cast_signed(),
        }
    }
}

impl LastStored {
    /// What a retained message is to a rule.
    pub(super) fn verdict(&mut self, rule: usize, hashes: Hashes) -> Verdict {
        let place = (rule, hashes.topic);
        let last = match self.pending.get(&place) {
            Some(&content) => Some(content),
            None => match self.known(place) {
                Some(last) => last,
                None => return Verdict::Unknown,
            },
        };
        if last == Some(hashes.content) { Verdict::Same } else { Verdict::Another }
    }

    /// Has the database asked.
    pub(super) fn want(&mut self, rule: usize, hashes: Hashes) {
        let place = (rule, hashes.topic);
        if !self.wants.contains(&place) {
            self.wants.push(place);
        }
    }

    pub(super) fn has_enough_wants(&self) -> bool {
        self.wants.len() >= WANTS_MAX
    }

    pub(super) fn has_wants(&self) -> bool {
        !self.wants.is_empty()
    }

    pub(super) fn take_wants(&mut self) -> Vec<Place> {
        std::mem::take(&mut self.wants)
    }

    /// A rule stores a message: whether the database must store its hash, or has it already. After another message of
    /// the same batch the hash is always stored, because the database may refuse the other one.
    pub(super) fn store(&mut self, rule: usize, hashes: Hashes) -> bool {
        let place = (rule, hashes.topic);
        let is_news = self.pending.contains_key(&place) || self.known(place).flatten() != Some(hashes.content);
        if is_news {
            self.pending.insert(place, hashes.content);
        }
        is_news
    }

    /// What the database has at a place that was wanted.
    pub(super) fn learn(&mut self, place: Place, last: Option<i64>) {
        self.remember(place, last);
    }

    /// The stored messages are committed; with `is_whole`, all of them. Without `is_whole`, the database must be asked
    /// which ones it accepted.
    pub(super) fn committed(&mut self, is_whole: bool) {
        for (place, content) in std::mem::take(&mut self.pending) {
            match is_whole {
                true => self.remember(place, Some(content)),
                false => {
                    self.young.remove(&place);
                    self.old.remove(&place);
                }
            }
        }
    }

    /// Uncommitted messages are gathered again.
    pub(super) fn forget_pending(&mut self) {
        self.pending.clear();
    }

    fn known(&mut self, place: Place) -> Option<Option<i64>> {
        if let Some(&last) = self.young.get(&place) {
            return Some(last);
        }
        let last = self.old.remove(&place)?;
        self.remember(place, last);
        Some(last)
    }

    fn remember(&mut self, place: Place, last: Option<i64>) {
        if self.young.len() >= KNOWN_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(place, last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(topic: i64, content: i64) -> Hashes {
        Hashes { topic, content }
    }

    #[test]
    fn a_message_is_the_same_once_it_is_committed_and_what_was_not_is_forgotten() {
        let mut last = LastStored::default();
        assert_eq!(last.verdict(0, hashes(1, 10)), Verdict::Unknown);
        last.learn((0, 1), None);
        assert_eq!(last.verdict(0, hashes(1, 10)), Verdict::Another);
        assert!(last.store(0, hashes(1, 10)));
        assert!(last.store(0, hashes(1, 10)), "the one before may be refused");
        assert_eq!(last.verdict(0, hashes(1, 10)), Verdict::Same);
        last.forget_pending();
        assert_eq!(last.verdict(0, hashes(1, 10)), Verdict::Another);
        last.store(0, hashes(1, 11));
        last.committed(true);
        assert_eq!(last.verdict(0, hashes(1, 11)), Verdict::Same);
        assert_eq!(last.verdict(1, hashes(1, 11)), Verdict::Unknown, "another rule's");
        // What comes twice in one batch is remembered by either: the database may refuse the first.
        assert!(last.store(0, hashes(1, 13)) && last.store(0, hashes(1, 13)));
        last.forget_pending();
        // Some of it was refused.
        last.store(0, hashes(1, 12));
        last.committed(false);
        assert_eq!(last.verdict(0, hashes(1, 12)), Verdict::Unknown);
    }

    #[test]
    fn a_live_message_of_a_topic_that_was_not_asked_for_is_remembered() {
        let mut last = LastStored::default();
        assert!(last.store(0, hashes(1, 10)));
        last.committed(true);
        assert!(!last.store(0, hashes(1, 10)), "the database has it");
        assert_eq!(last.verdict(0, hashes(1, 10)), Verdict::Same);
    }

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let mut last = LastStored::default();
        last.learn((0, -1), Some(5));
        for topic in 0..3 * KNOWN_MAX as i64 {
            last.learn((0, topic), None);
            if topic % 1_000 == 0 {
                assert_eq!(last.verdict(0, hashes(-1, 5)), Verdict::Same);
            }
        }
        assert!(last.young.len() + last.old.len() <= KNOWN_MAX + 1);
        assert_eq!(last.verdict(0, hashes(1, 0)), Verdict::Unknown);
    }
}
