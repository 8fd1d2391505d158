//! The latest messages that gave no row, for `status` and the page: the content of the log lines, kept in memory.
//!
//! The first message of each rule and reason is logged at once, later ones at most once a minute. So these entries are
//! at most a minute old and cost the data path nothing. There is one list per process, as there is one log.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Serialize, Serializer};

use crate::clock::Timestamp;

/// Rules and reasons that fit on a page. With topics and errors cut as they are for the log, 40 KiB at most.
const LIST_MAX: usize = 20;

/// Rules whose last error is remembered; beyond, the one with the oldest is forgotten. 200 KiB at most.
const RULES_MAX: usize = 200;

/// Messages of one rule that gave no row for one reason, told together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// When it was told.
    #[serde(serialize_with = "as_text")]
    pub at: Timestamp,
    pub database: String,
    /// As the log names it: `-` where no rule took the message.
    pub rule: String,
    pub reason: String,
    pub count: u64,
    /// The same with all that were told before, as long as they are remembered.
    pub total: u64,
    /// Of the first of them, as is `error`.
    pub topic: String,
    pub error: String,
    /// The command that lists the dead letters; `None` if the messages were dropped.
    pub list: Option<String>,
}

fn as_text<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

/// What is remembered.
#[derive(Debug, Clone, Default)]
pub struct Refusals {
    /// The last one of each rule and reason, newest first.
    pub list: VecDeque<Arc<Refusal>>,
    /// The last one of each rule, by its name and its database's.
    pub by_rule: HashMap<(String, String), Arc<Refusal>>,
}

static RECENT: Mutex<Option<Refusals>> = Mutex::new(None);

/// A snapshot.
pub fn recent() -> Refusals {
    lock().clone().unwrap_or_default()
}

pub(crate) fn remember(refusal: Refusal) {
    lock().get_or_insert_default().add(refusal);
}

fn lock() -> MutexGuard<'static, Option<Refusals>> {
    RECENT.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Refusals {
    fn add(&mut self, mut refusal: Refusal) {
        let kind = |of: &Refusal| (of.database.clone(), of.rule.clone(), of.reason.clone(), of.list.is_some());
        let former = self.list.iter().position(|known| kind(known) == kind(&refusal));
        refusal.total += former.and_then(|index| self.list.remove(index)).map_or(0, |former| former.total);
        let refusal = Arc::new(refusal);
        self.list.truncate(LIST_MAX - 1);
        self.list.push_front(Arc::clone(&refusal));
        self.by_rule.insert((refusal.rule.clone(), refusal.database.clone()), refusal);
        if self.by_rule.len() > RULES_MAX {
            let oldest = self.by_rule.iter().min_by_key(|(_, refusal)| refusal.at).map(|(rule, _)| rule.clone());
            oldest.and_then(|rule| self.by_rule.remove(&rule));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(n: i64, rule: String) -> Refusal {
        Refusal {
            at: Timestamp(n),
            database: "local".to_owned(),
            rule,
            reason: "value".to_owned(),
            count: 1,
            total: 1,
            topic: "t".to_owned(),
            error: format!("error {n}"),
            list: None,
        }
    }

    #[test]
    fn the_newest_come_first_and_the_oldest_are_forgotten() {
        let mut refusals = Refusals::default();
        let of = |rule: &str| (rule.to_owned(), "local".to_owned());
        (0..1_000).for_each(|n| refusals.add(refusal(n, format!("rule-{}", n % 500))));
        assert_eq!((refusals.list.len(), refusals.by_rule.len()), (LIST_MAX, RULES_MAX));
        assert_eq!((&*refusals.list[0].error, &*refusals.list[LIST_MAX - 1].error), ("error 999", "error 980"));
        assert_eq!(refusals.by_rule[&of("rule-499")].error, "error 999");
        assert!(!refusals.by_rule.contains_key(&of("rule-0")), "its error is older than that of 200 others");
    }

    #[test]
    fn a_chatty_rule_takes_one_place_and_its_messages_add_up() {
        let mut refusals = Refusals::default();
        refusals.add(refusal(1, "quiet".to_owned()));
        (2..50).for_each(|n| refusals.add(refusal(n, "chatty".to_owned())));
        let list: Vec<_> = refusals.list.iter().map(|one| (&*one.rule, &*one.error, one.count, one.total)).collect();
        assert_eq!(list, [("chatty", "error 49", 1, 48), ("quiet", "error 1", 1, 1)]);
    }
}
