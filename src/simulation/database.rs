//! A database with transactions and compare-and-swap, which also fails. It fails before or after it has applied a
//! transaction, applies a transaction late, refuses rows and tables, and is replaced by an older copy of itself.
//!
//! At every transaction it checks that no message is in it twice (I6), that the offset only moves forward and matches
//! the content (I5), and that rows hold the published values (I3, I4).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use super::messages::{Kind, Number, extra_of, kind_of, number_in, pad_of, topic_of};
use super::random::Random;
use super::sink::Transaction;
use super::trace::Trace;
use crate::journal_id::JournalId;

/// What is in the database.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) offsets: BTreeMap<JournalId, u64>,
    /// By journal and sequence number.
    pub(super) held: BTreeMap<(JournalId, u64), Held>,
    /// By id: the dead letters of parked messages.
    pub(super) parked: BTreeMap<i64, ParkedMessage>,
    /// By topic: the last message that became a row, after which journal.
    last_rows: BTreeMap<String, (usize, u64)>,
    /// Reported as lost: from, to (exclusive).
    pub(super) lost: BTreeSet<(JournalId, u64, u64)>,
}

/// A message that waits for its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ParkedMessage {
    pub(super) journal: JournalId,
    pub(super) seq: u64,
    pub(super) rule: String,
    pub(super) envelope: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

/// One message in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    Row(Number),
    Letter(Number),
    /// A dead letter that is to become a row.
    Parked(Number),
}

impl Held {
    pub(super) fn number(self) -> Number {
        match self {
            Held::Row(number) | Held::Letter(number) | Held::Parked(number) => number,
        }
    }
}

/// What the next call meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Fine,
    /// Fails, nothing is done.
    Fails,
    /// It is done, and the answer is lost.
    AnswerLost,
    /// The connection breaks, and it is done some time after that.
    DoneLater,
    /// Waits so many milliseconds, then it is done.
    Slow(u64),
    /// It is done, and the answer takes so many milliseconds.
    SlowAnswer(u64),
}

/// The server, shared by all who connect to it.
pub(super) struct Server {
    pub(super) state: State,
    /// Earlier states, to be restored.
    copies: Vec<State>,
    /// Sent by connections that broke, and not decided yet.
    pub(super) undecided: Vec<Transaction>,
    /// Connections of an earlier epoch are dead.
    pub(super) epoch: u64,
    /// One call in so many goes wrong; 0 = none.
    pub(super) wrong_once_in: u64,
    /// Nobody gets in.
    pub(super) is_down: bool,
    /// Tables are refused until a person mends them.
    pub(super) is_held: bool,
    /// How often the table was changed: with every other definition it holds numbers in another form.
    pub(super) definition: i64,
    /// One batch in so many is refused as a whole and no row of it by itself; 0 = none.
    pub(super) refuses_whole_once_in: u64,
    /// A process that is gone for everybody else. It may go on writing, but not begin anew: two processes that keep on
    /// reading what the other one moved are what the lock on `data_dir` is there to prevent.
    pub(super) zombie: u64,
    random: Random,
    /// Every message that ever was in it, whatever became of that copy.
    pub(super) ever: BTreeMap<(JournalId, u64), Number>,
    /// The journals that it has met, in that order.
    pub(super) journals: Vec<JournalId>,
    /// By process: messages that its transactions brought, and whether it may rightly not know of some.
    pub(super) brought: BTreeMap<u64, (u64, bool)>,
    /// Nobody can rightly know what it brought.
    pub(super) is_unsure: bool,
    /// The highest offset that it ever had.
    pub(super) highest: u64,
    pub(super) transactions: u64,
    pub(super) refused_moves: u64,
    pub(super) restored: u64,
    /// Parked messages that were taken out again.
    pub(super) replayed: u64,
    next_id: i64,
    trace: Arc<Mutex<Trace>>,
}

/// The offset is not where the transaction expects it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OffsetMoved;

impl Server {
    pub(super) fn new(random: Random, trace: Arc<Mutex<Trace>>) -> Server {
        Server {
            state: State::default(),
            copies: Vec::new(),
            undecided: Vec::new(),
            epoch: 1,
            wrong_once_in: 0,
            is_down: false,
            is_held: false,
            definition: 0,
            refuses_whole_once_in: 0,
            zombie: 0,
            random,
            ever: BTreeMap::new(),
            journals: Vec::new(),
            brought: BTreeMap::new(),
            is_unsure: false,
            highest: 0,
            transactions: 0,
            refused_moves: 0,
            restored: 0,
            replayed: 0,
            next_id: 1,
            trace,
        }
    }

    pub(super) fn note(&self, what: &'static str, a: u64, b: u64) {
        self.trace.lock().unwrap().note(what, a, b);
    }

    /// What the next call meets.
    pub(super) fn fate(&mut self) -> Fate {
        if self.wrong_once_in == 0 || !self.random.once_in(self.wrong_once_in) {
            return Fate::Fine;
        }
        let slow = self.random.pick(&[2, 70, 3_000, 40_000]);
        match self.random.below(8) {
            0 => Fate::Fails,
            1 | 2 => Fate::AnswerLost,
            3..6 => Fate::DoneLater,
            6 => Fate::Slow(slow),
            _ => Fate::SlowAnswer(slow),
        }
    }

    pub(super) fn refuses_whole(&mut self) -> bool {
        self.refuses_whole_once_in > 0 && self.random.once_in(self.refuses_whole_once_in)
    }

    /// Applies a whole transaction or nothing of it.
    pub(super) fn apply(&mut self, transaction: &Transaction) -> Result<(), OffsetMoved> {
        let Transaction { journal, from, to, .. } = *transaction;
        if self.state.offsets.get(&journal) != Some(&from) {
            self.refused_moves += 1;
            self.note("offset moved", from, to);
            return Err(OffsetMoved);
        }
        if transaction.released.iter().any(|id| !self.state.parked.contains_key(id)) {
            self.refused_moves += 1;
            self.note("parked messages gone", from, to);
            return Err(OffsetMoved);
        }
        let is_replay = !transaction.released.is_empty();
        assert!(
            from < to || (is_replay && from == to),
            "a transaction moves the offset forward, not from {from} to {to}"
        );
        // Letters of several journals may have the same number.
        let mut released: BTreeMap<(u64, Number), VecDeque<ParkedMessage>> = BTreeMap::new();
        for id in &transaction.released {
            let parked = self.state.parked.remove(id).expect("it was there just now");
            let number = number_in(&parked.payload).expect("a message of this world");
            released.entry((parked.seq, number)).or_default().push_back(parked);
        }
        self.replayed += transaction.released.len() as u64;
        for &(seq, held) in &transaction.held {
            let parked = released.get_mut(&(seq, held.number())).and_then(VecDeque::pop_front);
            assert!(
                parked.is_some() || (from <= seq && seq < to),
                "message {seq} in a transaction from {from} to {to}"
            );
            let journal = parked.as_ref().map_or(journal, |parked| parked.journal);
            let before = self.state.held.insert((journal, seq), held);
            assert_eq!(
                before,
                parked.map(|_| Held::Parked(held.number())),
                "message {seq} was in the database: {held:?}"
            );
            let rank = self.rank(journal);
            let ever = *self.ever.entry((journal, seq)).or_insert(held.number());
            assert_eq!(ever, held.number(), "message {seq} is another one than before");
            if let Held::Row(number) = held {
                let last = self.state.last_rows.insert(topic_of(number), (rank, seq));
                assert!(
                    last.is_none_or(|last| last < (rank, seq)),
                    "message {seq} became a row after {last:?} of its topic"
                );
            }
        }
        assert!(
            !is_replay || transaction.held.len() == transaction.released.len(),
            "each parked message has an outcome"
        );
        for parked in &transaction.parked {
            let number = number_in(&parked.payload).expect("a message of this world");
            self.rank(journal);
            self.ever.entry((journal, parked.seq)).or_insert(number);
            let before = self.state.held.insert((journal, parked.seq), Held::Parked(number));
            assert!(before.is_none(), "message {} is parked and was there: {before:?}", parked.seq);
            let id = self.next_id;
            self.next_id += 1;
            self.state.parked.insert(id, parked.clone());
        }
        for &(lost_from, lost_to) in &transaction.lost {
            assert!(from <= lost_from && lost_to <= to, "{lost_from}..{lost_to} lost from {from} to {to}");
            let overlap = self.state.held.range((journal, lost_from)..(journal, lost_to)).next();
            assert!(overlap.is_none(), "{lost_from}..{lost_to} is lost and yet there: {overlap:?}");
            self.note("lost range", lost_from, lost_to);
            assert!(self.state.lost.insert((journal, lost_from, lost_to)), "a lost range twice");
        }
        self.state.offsets.insert(journal, to);
        self.highest = self.highest.max(to);
        self.brought.entry(transaction.process).or_default().0 += transaction.held.len() as u64;
        self.transactions += 1;
        self.note("applied", from, to);
        if self.random.once_in(3) {
            self.copies.push(self.state.clone());
        }
        Ok(())
    }

    /// The offset's row of a journal that is gone becomes that of another.
    pub(super) fn succeed(&mut self, gone: JournalId, journal: JournalId, next_seq: u64) {
        let offsets = &mut self.state.offsets;
        if !offsets.contains_key(&journal) && offsets.remove(&gone).is_some() {
            offsets.insert(journal, next_seq);
        }
    }

    /// Which of the journals it is that the database has met.
    fn rank(&mut self, journal: JournalId) -> usize {
        self.journals.iter().position(|&known| known == journal).unwrap_or_else(|| {
            self.journals.push(journal);
            self.journals.len() - 1
        })
    }

    /// Counts of this process may rightly differ from what it brought.
    pub(super) fn is_unsure_of(&mut self, process: u64) {
        self.brought.entry(process).or_default().1 = true;
    }

    /// A transaction whose connection broke is decided at last.
    pub(super) fn decide(&mut self) {
        if !self.undecided.is_empty() {
            let at = self.random.below(self.undecided.len() as u64) as usize;
            let transaction = self.undecided.swap_remove(at);
            self.note("decided", transaction.from, transaction.to);
            // Half of them never were sent.
            if self.random.once_in(2) {
                let _ = self.apply(&transaction);
                // Whoever tried the same in vain takes it for its own.
                self.is_unsure = true;
            }
        }
    }

    /// The server restarts: every connection breaks, what was committed stays.
    pub(super) fn restart(&mut self) {
        self.epoch += 1;
        self.note("database restarts", self.epoch, 0);
        while !self.undecided.is_empty() {
            self.decide();
        }
    }

    /// An older copy takes over: an asynchronous replica, or a backup.
    pub(super) fn restore(&mut self) -> bool {
        if self.copies.is_empty() {
            return false;
        }
        let at = self.random.below(self.copies.len() as u64) as usize;
        self.copies.truncate(at + 1);
        self.state = self.copies[at].clone();
        self.undecided.clear();
        self.epoch += 1;
        self.restored += 1;
        self.note("database restored", self.state.offsets.values().copied().max().unwrap_or(0), 0);
        true
    }
}

/// The message in a row, which must be as it was published.
pub(super) fn number_in_row(seq: u64, row: &Row) -> Number {
    let number = row.number as Number;
    assert_eq!(row.seq as u64, seq, "the row's journal.seq");
    assert_eq!(row.pad, pad_of(number), "the row of message {number}");
    assert_eq!(row.topic, topic_of(number), "the topic of message {number}");
    assert_eq!(row.extra, extra_of(number), "the column of message {number} that has a default");
    assert!(matches!(kind_of(number), Kind::Good | Kind::Refused), "message {number} gives no row");
    number
}

/// The message in a dead letter.
pub(super) fn number_in_letter(topic: &str, payload: &[u8], reason: &str, names_tables: bool) -> Number {
    let number =
        number_in(if payload.is_empty() { topic.as_bytes() } else { payload }).expect("a message of this world");
    assert_eq!(topic, topic_of(number), "the topic of message {number}");
    let expected = match kind_of(number) {
        Kind::TooLarge => "size",
        // The table was closed, and the message itself had named it.
        _ if names_tables && reason == "no_table" => reason,
        Kind::Unfit => "value",
        // A batch that was refused as a whole leaves its last message no other place.
        Kind::Refused | Kind::Good => "constraint",
    };
    assert_eq!(reason, expected, "why message {number} is a dead letter");
    number
}

/// A row as the encoder wrote it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) seq: i64,
    pub(super) number: i64,
    pub(super) topic: String,
    pub(super) pad: String,
    pub(super) part: i64,
    pub(super) extra: Option<i64>,
}
