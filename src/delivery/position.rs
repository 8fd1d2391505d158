//! The position in the journal at which reading continues, derived from the database's offset rows.
//!
//! A pure function. The journal numbers its records under one id, or under several in turn if the id had to be renewed
//! (J11 of the journal). The database has at most one offset row per id. The row of the newest id that has one decides.

use crate::journal_id::JournalId;
use crate::message::Seq;
use crate::sink::StoredOffset;

/// What the journal offers.
#[derive(Debug, Clone)]
pub(super) struct Offer<'a> {
    /// Oldest first, with the first sequence number each id covers. Never empty.
    pub ids: &'a [(JournalId, Seq)],
    pub oldest: Seq,
    /// The database cannot know a number beyond this one, unless from another journal under the same id: as far as this
    /// journal has ever been sent to it.
    pub end: Seq,
}

/// Where delivery goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Position {
    /// Read from `from`, moving the offset row of `journal`; stop at `until` if given and locate again.
    Resume { journal: JournalId, from: Seq, until: Option<Seq> },
    /// First add the offset row (`journal`, `from`), then locate again.
    Begin { journal: JournalId, from: Seq },
    /// The database holds numbers that this journal never gave out: a restored disk image. The journal needs a new id.
    Beyond { journal: JournalId, stored: Seq },
}

/// Decides; see [`Position`].
pub(super) fn locate(stored: &[StoredOffset], offer: &Offer<'_>) -> Position {
    let newest_with_row = offer.ids.iter().enumerate().rev().find_map(|(index, (id, _))| {
        stored.iter().find(|offset| offset.journal == *id).map(|offset| (index, offset.next_seq))
    });
    let Some((index, next_seq)) = newest_with_row else {
        // J12: the oldest record that the journal still has, under the id that covers it.
        let covering = offer.ids.iter().rev().find(|(_, first)| *first <= offer.oldest).unwrap_or(&offer.ids[0]);
        return Position::Begin { journal: covering.0, from: offer.oldest };
    };
    let journal = offer.ids[index].0;
    if next_seq > offer.end {
        return Position::Beyond { journal, stored: next_seq };
    }
    match offer.ids.get(index + 1) {
        // A batch that was under way when the id was renewed may have gone past that point.
        Some(&(successor, first)) if next_seq >= first => Position::Begin { journal: successor, from: next_seq },
        Some(&(_, first)) => Position::Resume { journal, from: next_seq, until: Some(first) },
        None => Position::Resume { journal, from: next_seq, until: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    const OLD: JournalId = JournalId([1; 16]);
    const NEW: JournalId = JournalId([2; 16]);
    const FOREIGN: JournalId = JournalId([9; 16]);

    fn row(journal: JournalId, next_seq: u64) -> StoredOffset {
        StoredOffset { journal, next_seq: Seq(next_seq), updated_at: Timestamp(0) }
    }

    fn offer(ids: &[(JournalId, Seq)]) -> Offer<'_> {
        Offer { ids, oldest: Seq(10), end: Seq(100) }
    }

    #[test]
    fn a_database_without_a_row_begins_at_the_oldest_record() {
        let ids = [(NEW, Seq(1))];
        assert_eq!(locate(&[], &offer(&ids)), Position::Begin { journal: NEW, from: Seq(10) });
        assert_eq!(locate(&[row(FOREIGN, 50)], &offer(&ids)), Position::Begin { journal: NEW, from: Seq(10) });
    }

    #[test]
    fn the_stored_offset_rules_even_below_the_oldest_record() {
        let ids = [(NEW, Seq(1))];
        for next in [3, 10, 57, 100] {
            let resume = Position::Resume { journal: NEW, from: Seq(next), until: None };
            assert_eq!(locate(&[row(NEW, next)], &offer(&ids)), resume);
        }
    }

    #[test]
    fn an_offset_beyond_the_journal_asks_for_a_new_id() {
        let ids = [(NEW, Seq(1))];
        assert_eq!(locate(&[row(NEW, 101)], &offer(&ids)), Position::Beyond { journal: NEW, stored: Seq(101) });
    }

    #[test]
    fn records_under_an_old_id_are_finished_before_the_new_one_begins() {
        let ids = [(OLD, Seq(1)), (NEW, Seq(60))];
        let resume = Position::Resume { journal: OLD, from: Seq(40), until: Some(Seq(60)) };
        assert_eq!(locate(&[row(OLD, 40)], &offer(&ids)), resume);
        for next in [60, 75] {
            let begin = Position::Begin { journal: NEW, from: Seq(next) };
            assert_eq!(locate(&[row(OLD, next)], &offer(&ids)), begin);
        }
        assert_eq!(locate(&[row(OLD, 500)], &offer(&ids)), Position::Beyond { journal: OLD, stored: Seq(500) });
    }

    #[test]
    fn the_newest_id_with_a_row_rules() {
        let ids = [(OLD, Seq(1)), (NEW, Seq(60))];
        let resume = Position::Resume { journal: NEW, from: Seq(55), until: None };
        assert_eq!(locate(&[row(OLD, 500), row(NEW, 55)], &offer(&ids)), resume);
    }
}
