//! Outcomes of messages under rules with `reply`, for the senders of answers.
//!
//! An outcome is noted when it is known, and handed over only once the batch is committed. Handing over never waits: if
//! the task that sends the answers cannot keep up, notes are dropped and counted. If the process dies after the commit
//! and before an answer is sent, no answer is sent: the next start reads the offset and does not map the message again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::rules::RuleSet;
use crate::clock::{self, Timestamp};
use crate::config::{Reply, Rule};
use crate::mapping::Takers;
use crate::message::{Message, Property, Qos, Seq};
use crate::rule::{Convention, check_reply_topic};
use crate::telemetry::{AnswerFate, AnswerTo, Metrics};

/// The most notes of one transaction. Further messages are not answered: after a backlog of hours nobody waits for so
/// many answers.
const NOTES_MAX: usize = 10_000;
/// Transactions whose notes wait for the one who sends the answers.
const COMMITS_MAX: usize = 16;
/// Bytes of a reason: an answer is small.
const REASON_BYTES_MAX: usize = 512;
/// A topic that is not allowed is logged this often.
const REPEAT_EVERY: Duration = Duration::from_secs(300);

/// The property by which Machbase's clients name the topic.
const REPLY_PROPERTY: &str = "reply";

/// What one database says of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    pub seq: Seq,
    /// Where the answer goes. One that it may go to.
    pub topic: String,
    pub correlation_data: Option<Vec<u8>>,
    pub qos: Qos,
    pub received_at: Timestamp,
    pub committed_at: Timestamp,
    /// Rows that it gave in this database.
    pub rows: u64,
    /// Why a rule did not store it.
    pub error: Option<String>,
    /// How many databases say what became of it.
    pub databases: usize,
}

/// Takes the notes of all databases, a vector a transaction.
pub type AnswerSender = mpsc::Sender<Vec<Answered>>;

/// A bounded channel for notes.
pub fn answer_channel() -> (AnswerSender, mpsc::Receiver<Vec<Answered>>) {
    mpsc::channel(COMMITS_MAX)
}

/// The notes of one database's transaction.
pub(super) struct Answers {
    sender: Option<AnswerSender>,
    metrics: Arc<Metrics>,
    /// By rule; empty if none of this database has `reply`.
    rules: Vec<Option<Reply>>,
    elsewhere: Elsewhere,
    /// In the order of the journal.
    notes: Vec<Answered>,
    /// By note: the rule that all of its rows are of.
    rules_of_notes: Vec<Option<usize>>,
    /// Beyond [`NOTES_MAX`].
    unnoted: u64,
    said: Option<Instant>,
}

/// Rules with `reply` of other databases, which answer for the same messages.
#[derive(Default)]
struct Elsewhere {
    takers: Option<Takers>,
    rules: Vec<Arc<Rule>>,
}

impl Answers {
    pub(super) fn new(
        sender: Option<AnswerSender>,
        metrics: &Arc<Metrics>,
        set: &RuleSet,
        bridge: &str,
        database: usize,
    ) -> Answers {
        let mut answers = Answers {
            sender,
            metrics: Arc::clone(metrics),
            rules: Vec::new(),
            elsewhere: Elsewhere::default(),
            notes: Vec::new(),
            rules_of_notes: Vec::new(),
            unnoted: 0,
            said: None,
        };
        answers.take_rules(set, bridge, database);
        answers
    }

    /// Goes by other rules from now on.
    pub(super) fn take_rules(&mut self, set: &RuleSet, bridge: &str, database: usize) {
        self.clear();
        let ours = set.of(database);
        let is_wanted = self.sender.is_some() && ours.iter().any(|rule| rule.reply.is_some());
        self.rules = if is_wanted { ours.iter().map(|rule| rule.reply.clone()).collect() } else { Vec::new() };
        let others = set.rules.iter().filter(|rule| rule.database != database && rule.reply.is_some());
        let rules: Vec<Arc<Rule>> = if is_wanted { others.cloned().collect() } else { Vec::new() };
        let takers = || Takers::new(bridge, &rules, set.identifiers(), set.retired());
        self.elsewhere = Elsewhere { takers: (!rules.is_empty()).then(takers), rules };
    }

    /// A message gave these rows under a rule, or an error.
    #[inline]
    pub(super) fn note(&mut self, rule: usize, message: &Message<'_>, rows: usize, error: Option<&str>) {
        if let Some(Some(reply)) = self.rules.get(rule) {
            let reply = reply.clone();
            self.add(rule, &reply, message, rows, error);
        }
    }

    fn add(&mut self, rule: usize, reply: &Reply, message: &Message<'_>, rows: usize, error: Option<&str>) {
        let Some(topic) = reply_topic(reply, message) else { return };
        if let Err(fault) = check_reply_topic(topic, reply.prefix.as_deref()) {
            self.tell_refused(&fault);
            return;
        }
        if self.notes.last().is_none_or(|last| last.seq != message.seq) {
            if self.notes.len() == NOTES_MAX {
                self.unnoted += 1;
                return;
            }
            let correlation_data = message.properties.iter().find_map(|property| match property {
                Property::CorrelationData(data) => Some(data.to_vec()),
                _ => None,
            });
            self.rules_of_notes.push(Some(rule));
            self.notes.push(Answered {
                seq: message.seq,
                topic: topic.to_owned(),
                correlation_data,
                qos: message.qos,
                received_at: message.received_at,
                committed_at: message.received_at,
                rows: 0,
                error: None,
                databases: 1 + self.elsewhere.count(message),
            });
        }
        if let Some(note) = self.notes.last_mut() {
            note.rows += rows as u64;
            let of_note = self.rules_of_notes.last_mut().expect("there is one for each note");
            *of_note = of_note.filter(|&known| known == rule);
            if note.error.is_none() {
                note.error = error.map(shortened);
            }
        }
    }

    /// The database refused the rows of a message that counted as written.
    pub(super) fn withdraw(&mut self, rule: usize, seq: Seq, rows: usize, error: &str) {
        if !matches!(self.rules.get(rule), Some(Some(_))) {
            return;
        }
        if let Ok(at) = self.notes.binary_search_by_key(&seq, |note| note.seq) {
            let note = &mut self.notes[at];
            note.rows = note.rows.saturating_sub(rows as u64);
            note.error.get_or_insert_with(|| shortened(error));
        }
    }

    /// So many rows are not in their table: all of a rule's, or some of its only message. Whose they were is not known
    /// where only some of several messages' rows are, or where a message has rows of several rules.
    pub(super) fn swallow(&mut self, rule: usize, rows: u64) {
        for (note, of_note) in self.notes.iter_mut().zip(&self.rules_of_notes) {
            if *of_note == Some(rule) {
                note.rows = note.rows.saturating_sub(rows);
            }
        }
    }

    /// What was noted came to nothing, or is answered already.
    pub(super) fn clear(&mut self) {
        self.notes.clear();
        self.rules_of_notes.clear();
        self.unnoted = 0;
    }

    /// The batch was sent, and not answered.
    pub(super) fn take(&mut self) -> Vec<Answered> {
        self.rules_of_notes.clear();
        std::mem::take(&mut self.notes)
    }

    /// The batch was committed.
    pub(super) fn publish(&mut self) {
        if self.rules.is_empty() {
            return;
        }
        let unnoted = std::mem::take(&mut self.unnoted);
        self.metrics.outbound.crowded_out(AnswerTo::Message, unnoted);
        let notes = self.take();
        self.publish_later(notes);
    }

    /// As it turned out, a batch without an answer was committed.
    pub(super) fn publish_later(&self, mut notes: Vec<Answered>) {
        let (Some(sender), false) = (&self.sender, notes.is_empty()) else { return };
        let now = clock::now();
        notes.iter_mut().for_each(|note| note.committed_at = now);
        if let Err(error) = sender.try_send(notes) {
            self.metrics.outbound.crowded_out(AnswerTo::Message, error.into_inner().len() as u64);
        }
    }

    fn tell_refused(&mut self, error: &str) {
        self.metrics.outbound.answered(AnswerFate::dropped, 1);
        let now = Instant::now();
        if self.said.is_none_or(|said| now >= said + REPEAT_EVERY) {
            self.said = Some(now);
            tracing::warn!(
                why = error,
                "an answer is not sent: the topic that the message names for it is not allowed"
            );
        }
    }
}

impl Elsewhere {
    /// How many other databases answer for a message.
    fn count(&mut self, message: &Message<'_>) -> usize {
        let Some(takers) = &mut self.takers else { return 0 };
        let mut databases: Vec<usize> = Vec::new();
        for taker in takers.of(message) {
            let rule = &self.rules[taker];
            let Some(reply) = &rule.reply else { continue };
            let is_allowed = reply_topic(reply, message)
                .is_some_and(|topic| check_reply_topic(topic, reply.prefix.as_deref()).is_ok());
            if is_allowed && !databases.contains(&rule.database) {
                databases.push(rule.database);
            }
        }
        databases.len()
    }
}

/// Where a message wants its answer.
fn reply_topic<'m>(reply: &Reply, message: &Message<'m>) -> Option<&'m str> {
    // A request's answer is not ours, and an answer has none.
    if reply.by_property && Convention::Machbase.is_of_queries(message.topic) {
        return None;
    }
    let property = if reply.by_property { message.properties.user(REPLY_PROPERTY) } else { None };
    let topic = property.filter(|topic| !topic.is_empty()).or_else(|| {
        message.properties.iter().find_map(|property| match property {
            Property::ResponseTopic(topic) => Some(topic),
            _ => None,
        })
    })?;
    std::str::from_utf8(topic).ok()
}

fn shortened(error: &str) -> String {
    let end = (0..=error.len().min(REASON_BYTES_MAX)).rev().find(|&end| error.is_char_boundary(end)).unwrap_or(0);
    error[..end].to_owned()
}
