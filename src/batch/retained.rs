//! The payload hashes that a batch stores for rules with `retained: changed`.

use std::collections::HashSet;
use std::sync::Arc;

/// A rule stored this as the last message of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// The unit that holds its rows, an index into [`Batch::units`](super::Batch::units): without them it is not to be
    /// remembered. `None` for a message that is parked.
    pub unit: Option<usize>,
    pub rule: Arc<str>,
    pub topic_hash: i64,
    pub content_hash: i64,
}

/// Of each rule and topic the last one, in no order: a statement may not write a row twice.
pub fn last_of<'a>(remembered: impl DoubleEndedIterator<Item = &'a Remembered>) -> Vec<&'a Remembered> {
    let mut seen = HashSet::new();
    remembered.rev().filter(|one| seen.insert((&*one.rule, one.topic_hash))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_messages_of_a_topic_the_last_one_counts() {
        let one = |rule: &str, topic_hash, content_hash| Remembered {
            unit: None,
            rule: rule.into(),
            topic_hash,
            content_hash,
        };
        let all = [one("a", 1, 10), one("b", 1, 11), one("a", 2, 12), one("a", 1, 13)];
        assert_eq!(last_of(all.iter()), [&all[3], &all[2], &all[1]]);
    }
}
