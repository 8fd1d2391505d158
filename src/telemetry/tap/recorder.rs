//! Notes the outcomes of the messages of one database.

use std::collections::HashSet;
use std::fmt::Display;
use std::sync::Arc;

use super::Taps;
use super::note::{Fate, Note, Notes, PAYLOAD_BYTES_MAX, beginning};
use crate::message::{Message, Seq};

/// What anybody wants to know.
#[derive(Debug)]
pub(super) struct Interest {
    pub(super) rules: Option<HashSet<String>>,
    pub(super) rate: usize,
}

/// Notes what becomes of the messages of one database.
#[derive(Debug)]
pub struct Recorder {
    taps: Arc<Taps>,
    database: Arc<str>,
    /// `None` while nobody follows.
    pub(super) interest: Option<Interest>,
    pub(super) notes: Notes,
}

impl Recorder {
    pub fn new(taps: Arc<Taps>, database: Arc<str>) -> Recorder {
        Recorder { taps, database, interest: None, notes: Notes::default() }
    }

    /// A batch begins; whatever was noted and not published came to nothing. The only look at what other threads write.
    pub fn begin(&mut self) {
        if self.interest.is_some() {
            self.notes = Notes::default();
        }
        self.interest = self.taps.interest();
    }

    /// The rows of a message under a rule are in the batch.
    #[inline]
    pub fn written<T: Display>(
        &mut self,
        rule: &Arc<str>,
        message: &Message<'_>,
        tables: impl Iterator<Item = T>,
        rows: usize,
    ) {
        if self.interest.is_some()
            && let Some(note) = self.add(Some(rule), Fate::Written, message)
        {
            note.rows = rows;
            for table in tables.map(|table| table.to_string()) {
                if !note.tables.contains(&table) {
                    note.tables.push(table);
                }
            }
        }
    }

    /// A message gives no row, and no error either.
    #[inline]
    pub fn passed(&mut self, rule: Option<&Arc<str>>, fate: Fate, message: &Message<'_>) {
        if self.interest.is_some() {
            self.add(rule, fate, message);
        }
    }

    /// A message gives no row, and why.
    #[inline]
    pub fn refused(
        &mut self,
        rule: Option<&Arc<str>>,
        fate: Fate,
        message: &Message<'_>,
        reason: &'static str,
        error: &str,
    ) {
        if self.interest.is_some()
            && let Some(note) = self.add(rule, fate, message)
        {
            (note.reason, note.error) = (Some(reason), Some(beginning(error)));
        }
    }

    /// Of a message that was noted last, some values are NULL, and why.
    pub fn nulled(&mut self, rule: Option<&Arc<str>>, seq: Seq, why: &str) {
        if let Some(note) = self.notes.list.last_mut()
            && (note.seq, note.rule.as_ref()) == (seq, rule)
        {
            note.nulled = Some(beginning(why));
        }
    }

    /// The database refused the rows of a message that counted as written.
    pub fn withdraw(&mut self, rule: &Arc<str>, seq: Seq) {
        if self.interest.is_none() {
            return;
        }
        let is_it = |note: &Note| note.seq == seq && note.fate == Fate::Written && note.rule.as_ref() == Some(rule);
        match self.notes.list.iter().rposition(is_it) {
            Some(at) => drop(self.notes.list.remove(at)),
            None => {
                let skipped = self.notes.skipped.entry(Some(Arc::clone(rule))).or_default();
                *skipped = skipped.saturating_sub(1);
            }
        }
    }

    /// Messages that the journal does not have any more.
    pub fn lost(&mut self, from: Seq, error: &str) {
        if self.interest.as_ref().is_some_and(|interest| interest.rules.is_none()) {
            self.notes.list.push(Note { error: Some(beginning(error)), ..Note::new(from, Fate::Lost) });
        }
    }

    /// The batch was sent, and not answered.
    pub fn take(&mut self) -> Notes {
        std::mem::take(&mut self.notes)
    }

    /// The batch was committed.
    pub fn publish(&mut self) {
        let notes = self.take();
        self.publish_later(notes);
    }

    /// As it turned out, a batch without an answer was committed.
    pub fn publish_later(&self, notes: Notes) {
        if !notes.list.is_empty() || !notes.skipped.is_empty() {
            self.taps.publish(&self.database, notes);
        }
    }

    fn add(&mut self, rule: Option<&Arc<str>>, fate: Fate, message: &Message<'_>) -> Option<&mut Note> {
        let Interest { rules, rate } = self.interest.as_ref()?;
        if rules.as_ref().is_some_and(|rules| rule.is_none_or(|rule| !rules.contains(&**rule))) {
            return None;
        }
        let used = if fate.is_well() { &mut self.notes.well } else { &mut self.notes.ill };
        if *used == *rate {
            *self.notes.skipped.entry(rule.cloned()).or_default() += 1;
            return None;
        }
        *used += 1;
        self.notes.list.push(Note {
            received_at: Some(message.received_at),
            topic: beginning(message.topic),
            qos: message.qos.level(),
            retain: message.retain,
            rule: rule.cloned(),
            payload: message.payload[..message.payload.len().min(PAYLOAD_BYTES_MAX)].to_vec(),
            payload_bytes: message.payload.len(),
            ..Note::new(message.seq, fate)
        });
        self.notes.list.last_mut()
    }
}
