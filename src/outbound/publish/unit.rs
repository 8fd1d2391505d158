//! Changes that are under way together: read in succession, published as one batch, finished as one prefix.

use std::pin::Pin;

use crate::outbound::{Published, RefusedMessage, Ticket, Unknown};
use crate::sink::{ChangeKey, Done};

/// MQTT 5 reasons that say nothing against the message itself: it may go another time.
const PASSING: [u8; 4] = [0x80, 0x83, 0x87, 0x97];

type Settling = Pin<Box<dyn Future<Output = Result<Published, Unknown>> + Send>>;

/// What the broker has to say yet.
pub(super) enum Fate {
    Waiting(Settling),
    /// Every message is acknowledged, or given up.
    Settled,
}

/// A message of a unit, and what was finished before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) offset: u64,
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
}

/// What became of a unit.
pub(super) enum Verdict {
    /// All of it may be finished; these messages were refused for good.
    Whole(Vec<RefusedMessage>),
    /// A message was refused that may go later: what comes before it may be finished, if anything does.
    Part(RefusedMessage, Option<Done>),
}

impl Unit {
    /// One whose messages, if there are any, are on their way.
    pub(super) fn new(done: Done, marks: Vec<Mark>, ticket: Option<Ticket>) -> Unit {
        let fate = match ticket {
            Some(ticket) => Fate::Waiting(Box::pin(ticket.settled())),
            None => Fate::Settled,
        };
        Unit { done, marks, fate }
    }

    pub(super) fn is_settled(&self) -> bool {
        matches!(self.fate, Fate::Settled)
    }

    /// What the broker's answer means.
    pub(super) fn judge(&self, published: Published) -> Verdict {
        let is_passing = |refused: &RefusedMessage| refused.code.is_some_and(|code| PASSING.contains(&code));
        let Some(first) = published.refused.iter().find(|refused| is_passing(refused)) else {
            return Verdict::Whole(published.refused);
        };
        let mark = self.marks[first.index];
        let refused = published.refused.iter().filter(|refused| refused.index < first.index).count() as u64;
        let part = mark.before.map(|last| Done {
            to: mark.offset,
            last,
            changes: mark.changes_before,
            published: mark.offset - self.done.from - refused,
            skipped: mark.skipped_before + refused,
            ..self.done
        });
        Verdict::Part(first.clone(), part)
    }

    /// Takes the next unit's changes into this one; both are settled.
    pub(super) fn absorb(&mut self, next: &Unit) {
        let done = &mut self.done;
        (done.to, done.last) = (next.done.to, next.done.last);
        done.changes += next.done.changes;
        done.published += next.done.published;
        done.skipped += next.done.skipped;
    }
}
