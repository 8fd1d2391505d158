//! Changes in flight together: read in succession, published as one batch, finished as one prefix.

use std::collections::VecDeque;
use std::pin::Pin;

use crate::outbound::{Published, RefusedMessage, Ticket, Unknown};
use crate::sink::{ChangeKey, Done};

/// MQTT 5 reasons that say nothing against the message itself: it may go another time.
const PASSING: [u8; 4] = [0x80, 0x83, 0x87, 0x97];

pub(super) type Settling = Pin<Box<dyn Future<Output = Result<Published, Unknown>> + Send>>;

/// What the broker has to say yet.
pub(super) enum Fate {
    Waiting(Settling),
    /// Every message is acknowledged, given up, or among those that go another time.
    Settled,
}

/// A message of a unit, and what was finished before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) offset: u64,
    /// Its change.
    pub(super) key: ChangeKey,
    /// The change before its own; `None` if the unit begins with it.
    pub(super) before: Option<ChangeKey>,
    pub(super) changes_before: u64,
    pub(super) skipped_before: u64,
}

/// See the module.
pub(super) struct Unit {
    pub(super) done: Done,
    pub(super) marks: Vec<Mark>,
    pub(super) fate: Fate,
    /// Messages that were refused and may go another time.
    pub(super) again: Vec<RefusedMessage>,
    /// Indexes of messages that were refused for good.
    given_up: Vec<usize>,
}

/// What of several units may be finished, where messages were refused that are to go another time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// `None`: the very first message was refused, and the broker took none behind it.
    pub(super) done: Option<Done>,
    /// Changes among them that are still to be published.
    pub(super) kept: Vec<ChangeKey>,
}

impl Unit {
    /// One whose messages, if there are any, are on their way.
    pub(super) fn new(done: Done, marks: Vec<Mark>, ticket: Option<Ticket>) -> Unit {
        let fate = match ticket {
            Some(ticket) => Fate::Waiting(Box::pin(ticket.settled())),
            None => Fate::Settled,
        };
        Unit { done, marks, fate, again: Vec::new(), given_up: Vec::new() }
    }

    pub(super) fn is_settled(&self) -> bool {
        matches!(self.fate, Fate::Settled)
    }

    /// Whether all of it may be finished.
    pub(super) fn is_through(&self) -> bool {
        self.is_settled() && self.again.is_empty()
    }

    /// The broker's answer. Those messages that were refused for good are returned, and counted as skipped.
    pub(super) fn settle(&mut self, refused: Vec<RefusedMessage>) -> Vec<RefusedMessage> {
        let is_passing = |refused: &RefusedMessage| refused.code.is_some_and(|code| PASSING.contains(&code));
        let (again, for_good): (Vec<_>, Vec<_>) = refused.into_iter().partition(is_passing);
        self.done.published -= (again.len() + for_good.len()) as u64;
        self.done.skipped += for_good.len() as u64;
        self.given_up = for_good.iter().map(|refused| refused.index).collect();
        (self.again, self.fate) = (again, Fate::Settled);
        for_good
    }

    /// Takes the next unit's changes into this one; both are through.
    pub(super) fn absorb(&mut self, next: &Unit) {
        join(&mut self.done, &next.done);
    }

    fn is_refused(&self, index: usize) -> bool {
        self.again.iter().any(|refused| refused.index == index)
    }

    fn is_taken(&self, index: usize) -> bool {
        !self.is_refused(index) && !self.given_up.contains(&index)
    }

    /// What comes before a message.
    fn part(&self, index: usize) -> Option<Done> {
        let mark = self.marks[index];
        let given_up = self.given_up.iter().filter(|given_up| **given_up < index).count() as u64;
        mark.before.map(|last| Done {
            to: mark.offset,
            last,
            changes: mark.changes_before,
            published: mark.offset - self.done.from - given_up,
            skipped: mark.skipped_before + given_up,
            ..self.done
        })
    }
}

fn join(done: &mut Done, next: &Done) {
    (done.to, done.last) = (next.to, next.last);
    done.changes += next.changes;
    done.published += next.published;
    done.skipped += next.skipped;
}

/// The changes that may be finished of all units in flight. All units are settled, and at least one message must be
/// sent another time.
///
/// If the broker accepted no message after the first of these, everything before it is finished, and the rest keeps its
/// offsets, because no subscriber has any of them. Otherwise all accepted messages are finished, and the refused ones
/// get offsets after all that were sent.
pub(super) fn outcome(units: &VecDeque<Unit>) -> Outcome {
    let all = || units.iter().flat_map(|unit| (0..unit.marks.len()).map(move |index| (unit, index)));
    let has_holes =
        all().skip_while(|(unit, index)| !unit.is_refused(*index)).any(|(unit, index)| unit.is_taken(index));
    let mut done: Option<Done> = None;
    let mut add = |next: &Done| match &mut done {
        Some(done) => join(done, next),
        None => done = Some(*next),
    };
    for unit in units {
        match unit.again.first() {
            Some(first) if !has_holes => {
                unit.part(first.index).iter().for_each(add);
                break;
            }
            _ => add(&unit.done),
        }
    }
    let kept = all().filter(|(unit, index)| has_holes && unit.is_refused(*index));
    let kept = kept.map(|(unit, index)| unit.marks[index].key).collect();
    Outcome { done, kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of so many changes from an offset on, each with a message, and what the broker says to them: `y` yes, `l` later, `n` never.
    fn unit(from: u64, answers: &str) -> Unit {
        let key = |place: usize| ChangeKey { xact: 1, number: from as i64 + place as i64 };
        let count = answers.len() as u64;
        let (after, last) = (ChangeKey { xact: 1, number: from as i64 - 1 }, key(answers.len() - 1));
        let done = Done { from, to: from + count, after, last, changes: count, published: count, skipped: 0 };
        let mark = |place: usize| Mark {
            offset: from + place as u64,
            key: key(place),
            before: place.checked_sub(1).map(key),
            changes_before: place as u64,
            skipped_before: 0,
        };
        let mut unit = Unit::new(done, (0..answers.len()).map(mark).collect(), None);
        let refused = answers.char_indices().filter_map(|(index, answer)| {
            let code = match answer {
                'l' => 0x97,
                'n' => 0x90,
                _ => return None,
            };
            Some(RefusedMessage { index, code: Some(code), why: String::new() })
        });
        unit.settle(refused.collect());
        unit
    }

    /// From, to, changes, published, skipped.
    type Numbers = (u64, u64, u64, u64, u64);

    /// What is done, and what is kept.
    fn found(answers: &[&str]) -> (Option<Numbers>, Vec<i64>) {
        let mut from = 1;
        let units = answers.iter().map(|answers| {
            let unit = unit(from, answers);
            from = unit.done.to;
            unit
        });
        let Outcome { done, kept } = outcome(&units.collect());
        let done = done.map(|done| {
            assert_eq!(done.last.number as u64, done.from + done.changes - 1);
            (done.from, done.to, done.changes, done.published, done.skipped)
        });
        (done, kept.iter().map(|key| key.number).collect())
    }

    #[test]
    fn what_nobody_has_keeps_its_offset_and_what_later_offsets_overtook_gets_a_new_one() {
        // The broker takes nothing at all, or no more.
        assert_eq!(found(&["lll"]), (None, vec![]));
        assert_eq!(found(&["yyl", "lll"]), (Some((1, 3, 2, 2, 0)), vec![]));
        assert_eq!(found(&["yy", "nl", "ln"]), (Some((1, 4, 3, 2, 1)), vec![]));
        // It took some that came behind: 2 and 4 get offsets from 7 on, and what it took is not sent again.
        assert_eq!(found(&["yly", "lyy"]), (Some((1, 7, 6, 4, 0)), vec![2, 4]));
        assert_eq!(found(&["l", "n", "y"]), (Some((1, 4, 3, 1, 1)), vec![1]));
    }
}
