//! `durability: delivered`: which of the session's submissions every database has committed.
//!
//! The session counts its submissions by ordinals, the databases count messages by sequence numbers. The two advance
//! together as long as message follows message. They diverge where something else was submitted: a QoS 2 release, a
//! clear. So a mark is kept for each such place, until every database is past the next mark.
//!
//! *Dies anywhere:* messages that a database lacks are unacknowledged, and the broker sends them again. Messages that
//! all databases have may be sent again too, if their acknowledgement did not arrive.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use super::Fs;
use super::shared::{Shared, lock};
use crate::message::Seq;

/// The message `seq` has this ordinal, and the following messages have the following ones, up to the next mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) seq: Seq,
    pub(super) ordinal: u64,
}

impl Mark {
    /// The ordinal of a message at or behind the mark.
    fn ordinal_of(self, seq: Seq) -> u64 {
        self.ordinal + (seq.0 - self.seq.0)
    }

    /// Adds the mark of the next message, unless the last mark tells its ordinal already.
    pub(super) fn append_to(self, marks: &mut Vec<Mark>) {
        if marks.last().is_none_or(|last| last.ordinal_of(self.seq) != self.ordinal) {
            marks.push(self);
        }
    }
}

/// What the journal has and a database may lack.
#[derive(Debug, Default)]
pub(super) struct Awaited(Mutex<Recorded>);

#[derive(Debug, Default)]
struct Recorded {
    /// The first one is at or before the first message that some database lacks.
    marks: VecDeque<Mark>,
    /// The message and the ordinal that come next.
    end: Option<Mark>,
}

impl Awaited {
    /// The journal has all before `end`; `marks` are those of the messages since the last call, and are taken.
    pub(super) fn recorded(&self, marks: &mut Vec<Mark>, end: Mark) {
        let mut recorded = lock(&self.0);
        recorded.marks.extend(marks.drain(..));
        recorded.end = Some(end);
    }

    /// The last ordinal before the message `next_seq`, which is the first that some database lacks.
    fn delivered(&self, next_seq: Seq) -> u64 {
        let mut recorded = lock(&self.0);
        let Some(end) = recorded.end else { return 0 };
        if next_seq >= end.seq {
            recorded.marks.clear();
            return end.ordinal - 1;
        }
        while recorded.marks.get(1).is_some_and(|second| second.seq <= next_seq) {
            recorded.marks.pop_front();
        }
        // An older copy of a database may lack what was acknowledged long ago.
        recorded.marks.front().filter(|mark| mark.seq <= next_seq).map_or(0, |mark| mark.ordinal_of(next_seq) - 1)
    }
}

impl<F: Fs> Shared<F> {
    /// Lets the session acknowledge the messages that every database has. Must be called after a database has reported
    /// its offset, and after the journal has taken more records: the later of the two calls sees both.
    pub(super) fn acknowledge_delivered(&self) {
        let Some(awaited) = &self.awaited else { return };
        let Some(next_seq) = self.delivered_by_all() else { return };
        let ordinal = awaited.delivered(next_seq);
        // What was acknowledged stays so, wherever a database goes back to.
        if self.durable_ordinal.fetch_max(ordinal, Ordering::AcqRel) < ordinal {
            self.session.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// `true` is a message, `false` anything else that is submitted.
        #[test]
        fn an_ordinal_is_delivered_once_every_message_up_to_it_is(
            groups in prop::collection::vec(prop::collection::vec(any::<bool>(), 0..12), 0..12),
            ends in prop::collection::vec(0u64..8, 12),
        ) {
            let awaited = Awaited::default();
            let (mut next_seq, mut ordinal, mut delivered) = (1, 0, 1);
            let mut kinds = Vec::new();
            for (group, end) in groups.iter().zip(ends) {
                let mut marks = Vec::new();
                for &is_message in group {
                    ordinal += 1;
                    kinds.push(is_message);
                    if is_message {
                        Mark { seq: Seq(next_seq), ordinal }.append_to(&mut marks);
                        next_seq += 1;
                    }
                }
                awaited.recorded(&mut marks, Mark { seq: Seq(next_seq), ordinal: ordinal + 1 });
                delivered = (delivered + end).min(next_seq);
                // Everything before the first message that is not delivered.
                let mut left = delivered;
                let expected = kinds.iter().take_while(|&&is_message| {
                    left -= u64::from(is_message);
                    left > 0
                });
                prop_assert_eq!(awaited.delivered(Seq(delivered)), expected.count() as u64);
            }
        }
    }

    #[test]
    fn a_database_that_goes_back_takes_no_acknowledgement_back_and_marks_do_not_pile_up() {
        let awaited = Awaited::default();
        for turn in 0..1_000 {
            // A message, a release, and so on: a mark each.
            let mut marks = Vec::new();
            Mark { seq: Seq(turn + 1), ordinal: 2 * turn + 1 }.append_to(&mut marks);
            awaited.recorded(&mut marks, Mark { seq: Seq(turn + 2), ordinal: 2 * turn + 3 });
            assert_eq!(awaited.delivered(Seq(turn + 1)), 2 * turn);
            assert!(lock(&awaited.0).marks.len() <= 2);
        }
        assert_eq!(awaited.delivered(Seq(3)), 0);
        assert_eq!(awaited.delivered(Seq(1_001)), 2_000);
    }
}
