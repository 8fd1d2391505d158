//! The parts of a batch that must be applied together. The checks here: a message's rows are complete, each in its
//! table, and in journal order where it matters.

use std::collections::BTreeMap;

use super::encoder::decode;
use super::{FIXED, SimSink};
use crate::batch::Batch;
use crate::journal_id::JournalId;
use crate::simulation::database::{Held, ParkedMessage, number_in_letter, number_in_row};
use crate::simulation::messages::{Kind, Number, kind_of, parts_of};

/// What one call of `write` wants to happen together.
#[derive(Debug, Clone)]
pub(in crate::simulation) struct Transaction {
    pub(in crate::simulation) process: u64,
    pub(in crate::simulation) journal: JournalId,
    pub(in crate::simulation) from: u64,
    pub(in crate::simulation) to: u64,
    pub(in crate::simulation) held: Vec<(u64, Held)>,
    /// From, to (exclusive).
    pub(in crate::simulation) lost: Vec<(u64, u64)>,
    pub(in crate::simulation) parked: Vec<ParkedMessage>,
    pub(in crate::simulation) released: Vec<i64>,
}

impl SimSink {
    pub(super) fn transaction(&self, batch: &Batch) -> Transaction {
        let offset = &batch.offset;
        assert_eq!(&*offset.bridge, "sim");
        self.check_writing_order(batch);
        let mut held = Vec::new();
        for (index, unit) in batch.units.iter().enumerate() {
            if !batch.is_excluded(index) {
                held.push((unit.seq.0, Held::Row(self.number_of(batch, index))));
            }
        }
        let (mut lost, mut parked) = (Vec::new(), Vec::new());
        for letter in &batch.dead_letters {
            if let (Some(envelope), "table") = (&letter.envelope, letter.reason) {
                parked.push(ParkedMessage {
                    journal: offset.journal,
                    seq: letter.seq.0,
                    rule: letter.rule.as_deref().expect("a parked message has a rule").to_owned(),
                    envelope: envelope.clone(),
                    payload: letter.payload.clone(),
                });
                continue;
            }
            if letter.reason == "lost_range" {
                lost.push(lost_range(letter.seq.0, &letter.error));
            } else {
                let number = number_in_letter(&letter.topic, &letter.payload, letter.reason, self.names_tables);
                held.push((letter.seq.0, Held::Letter(number)));
            }
        }
        let (from, to, released) = (offset.from.0, offset.to.0, batch.released.clone());
        Transaction { process: self.process, journal: offset.journal, from, to, held, lost, parked, released }
    }

    /// The message whose rows these are: all of it, each in its table.
    pub(super) fn number_of(&self, batch: &Batch, unit: usize) -> Number {
        let definition = self.server().definition;
        let mut parts = Vec::new();
        for run in batch.runs_of(unit) {
            let portion = &batch.portions[run.portion];
            for at in run.first_row..run.first_row + run.row_count {
                let row = decode(portion.row(at), &portion.target, definition);
                let table = &portion.target.table.name.name;
                assert!(
                    *table == *FIXED || *table == format!("t{}", row.part),
                    "a row of part {} in {table}",
                    row.part
                );
                parts.push((number_in_row(batch.units[unit].seq.0, &row), row.part));
            }
        }
        let (number, _) = parts[0];
        let expected: Vec<(Number, i64)> = (0..parts_of(number)).map(|part| (number, part)).collect();
        assert_eq!(parts, expected, "the rows of a message");
        number
    }

    /// Rows that may change others go in as their messages came.
    fn check_writing_order(&self, batch: &Batch) {
        // Messages that were parked out of several journals are in the order of their letters.
        if !batch.released.is_empty() && self.server().journals.len() > 1 {
            return;
        }
        let definition = self.server().definition;
        let mut last: BTreeMap<&str, i64> = BTreeMap::new();
        for at in batch.writing_order() {
            let portion = &batch.portions[at];
            assert!(portion.target.in_order, "these are upserts");
            for row in batch.kept_rows(at).into_iter().flatten() {
                let seq = decode(portion.row(row), &portion.target, definition).seq;
                let before = last.insert(&portion.target.table.name.name, seq);
                assert!(
                    before.is_none_or(|before| before <= seq),
                    "the row of message {seq} is written after {before:?}"
                );
            }
        }
    }

    pub(super) fn refused(&self, batch: &Batch) -> Vec<usize> {
        let is_refused =
            |&index: &usize| !batch.is_excluded(index) && kind_of(self.number_of(batch, index)) == Kind::Refused;
        (0..batch.units.len()).filter(is_refused).collect()
    }
}

/// The text is `messages 5 to 8 are lost: why`.
fn lost_range(from: u64, text: &str) -> (u64, u64) {
    let words: Vec<&str> = text.split(' ').collect();
    assert_eq!((words[0], words[1].parse()), ("messages", Ok(from)), "{text}");
    let last: u64 = words[3].parse().unwrap();
    (from, last + 1)
}
