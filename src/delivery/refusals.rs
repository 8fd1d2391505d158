//! Reports messages that gave no row: at the first one of a rule and reason, then at most once a minute for each, with
//! the number since. Only committed outcomes are reported, because only these are counted.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::delivery::events;
use crate::message::{Message, Seq};

/// A device that sends nonsense does so every time.
const SILENCE: Duration = Duration::from_secs(60);

/// Rules and reasons that are told apart; what more there are counts together. Weighed against a log in which every one of
/// ten thousand rules has a line a minute.
const KINDS_MAX: usize = 100;

/// Spans of sequence numbers in a line; beyond, the last one takes in what lies between.
const SPANS_MAX: usize = 20;

/// Bytes of a topic and of an error that a line shows.
const TOPIC_BYTES_MAX: usize = 200;
const ERROR_BYTES_MAX: usize = 500;

/// What became of a message that gave no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fate {
    DeadLetter,
    Dropped,
    /// It gave rows, but some of its values are NULL there, as `on_error: null` of their columns says.
    Nulled,
}

/// Whose messages they were.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Whose {
    Rule(Arc<str>),
    /// No rule took them.
    Nobody,
    /// Rules beyond [`KINDS_MAX`].
    Others,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    whose: Whose,
    reason: &'static str,
    fate: Fate,
}

/// Messages of one kind.
#[derive(Debug, PartialEq, Eq)]
struct Refused {
    count: u64,
    spans: Spans,
    /// Of the first.
    topic: String,
    error: String,
}

/// Those of a batch.
#[derive(Debug, Default)]
pub(super) struct Refusals(HashMap<Kind, Refused>);

/// How many messages gave no row since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unwritten {
    /// Dead letters, of whatever rule or of none.
    pub dead_lettered: u64,
    pub dropped: u64,
}

/// The logged numbers, and those that are still to be logged.
#[derive(Debug)]
pub(super) struct RefusalLog {
    database: Arc<str>,
    kinds: HashMap<Kind, Noted>,
    pub(super) total: Unwritten,
}

#[derive(Debug)]
struct Noted {
    told: Instant,
    /// Since then.
    untold: Option<Refused>,
}

impl Refusals {
    pub(super) fn add(
        &mut self,
        rule: Option<&Arc<str>>,
        reason: &'static str,
        fate: Fate,
        message: &Message<'_>,
        error: &str,
    ) {
        let whose = rule.map_or(Whose::Nobody, |rule| Whose::Rule(Arc::clone(rule)));
        let kind = Kind { whose, reason, fate };
        if let Some(known) = self.0.get_mut(&kind) {
            return known.add(message.seq);
        }
        let kind = if self.0.len() < KINDS_MAX { kind } else { kind.among_others() };
        let new = || Refused::new(message.topic, error);
        self.0.entry(kind).or_insert_with(new).add(message.seq);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Kind {
    fn among_others(&self) -> Kind {
        Kind { whose: Whose::Others, ..self.clone() }
    }
}

impl Refused {
    fn new(topic: &str, error: &str) -> Refused {
        let beginning = |text: &str, max: usize| {
            let end = (0..=max.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
            text[..end.unwrap_or(0)].to_owned()
        };
        Refused {
            count: 0,
            spans: Spans::default(),
            topic: beginning(topic, TOPIC_BYTES_MAX),
            error: beginning(error.lines().next().unwrap_or_default(), ERROR_BYTES_MAX),
        }
    }

    fn add(&mut self, seq: Seq) {
        self.count += 1;
        self.spans.add(seq.0, seq.0);
    }

    fn merge(&mut self, later: &Refused) {
        self.count += later.count;
        later.spans.list.iter().for_each(|&(from, to)| self.spans.add(from, to));
        self.spans.is_rough |= later.spans.is_rough;
    }
}

impl RefusalLog {
    pub(super) fn new(database: Arc<str>) -> RefusalLog {
        RefusalLog { database, kinds: HashMap::new(), total: Unwritten::default() }
    }

    /// These were committed: logs what is due of them, and keeps the rest for later.
    pub(super) fn note(&mut self, refusals: &mut Refusals) {
        // Most batches have none.
        if refusals.0.is_empty() {
            return;
        }
        let now = Instant::now();
        for (kind, refused) in refusals.0.drain() {
            match kind.fate {
                Fate::DeadLetter => self.total.dead_lettered += refused.count,
                Fate::Dropped => self.total.dropped += refused.count,
                Fate::Nulled => {}
            }
            if let Some((kind, refused)) = self.due(kind, refused, now) {
                self.tell(&kind, &refused);
            }
        }
    }

    /// What is to be logged now of this kind, `refused` with it.
    fn due(&mut self, kind: Kind, refused: Refused, now: Instant) -> Option<(Kind, Refused)> {
        let kind = self.place(kind, now);
        let Some(noted) = self.kinds.get_mut(&kind) else {
            self.kinds.insert(kind.clone(), Noted { told: now, untold: None });
            return Some((kind, refused));
        };
        match &mut noted.untold {
            Some(untold) => untold.merge(&refused),
            untold => *untold = Some(refused),
        }
        let is_due = now.saturating_duration_since(noted.told) >= SILENCE;
        let due = noted.untold.take_if(|_| is_due)?;
        noted.told = now;
        Some((kind, due))
    }

    /// The kind itself, or the collective kind if there are too many. Forgets kinds without recent messages.
    fn place(&mut self, kind: Kind, now: Instant) -> Kind {
        if self.kinds.contains_key(&kind) || self.kinds.len() < KINDS_MAX {
            return kind;
        }
        self.kinds.retain(|_, noted| noted.untold.is_some() || now.saturating_duration_since(noted.told) < SILENCE);
        if self.kinds.len() < KINDS_MAX { kind } else { kind.among_others() }
    }

    /// Logs what has waited for its minute. Cheap where nothing waits.
    pub(super) fn tell_due(&mut self) {
        self.tell_older_than(SILENCE);
    }

    /// Logs everything that was not told yet.
    pub(super) fn tell_rest(&mut self) {
        self.tell_older_than(Duration::ZERO);
    }

    fn tell_older_than(&mut self, age: Duration) {
        if self.kinds.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut due = Vec::new();
        for (kind, noted) in &mut self.kinds {
            if now.saturating_duration_since(noted.told) >= age
                && let Some(untold) = noted.untold.take()
            {
                noted.told = now;
                due.push((kind.clone(), untold));
            }
        }
        due.iter().for_each(|(kind, refused)| self.tell(kind, refused));
    }

    fn tell(&self, kind: &Kind, refused: &Refused) {
        let rule = match &kind.whose {
            Whose::Rule(rule) => rule,
            Whose::Nobody => "-",
            Whose::Others => "(further ones)",
        };
        let Refused { count, spans, topic, error } = refused;
        match kind.fate {
            Fate::DeadLetter => {
                let list = list_command(&self.database, &kind.whose, kind.reason);
                events::dead_lettered(&self.database, rule, kind.reason, *count, topic, error, &list);
            }
            Fate::Dropped => events::dropped(&self.database, rule, kind.reason, *count, spans, topic, error),
            Fate::Nulled => events::nulled(&self.database, rule, *count, spans, topic, error),
        }
    }
}

/// The command that lists such dead letters.
fn list_command(database: &str, whose: &Whose, reason: &str) -> String {
    let mut command = format!("rowbridge dead-letters list --database {}", in_shell(database));
    if let Whose::Rule(rule) = whose {
        command.push_str(&format!(" --rule {}", in_shell(rule)));
    }
    command + " --reason " + reason
}

fn in_shell(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:".contains(&byte);
    if name.bytes().all(is_plain) && !name.starts_with('-') {
        return name.to_owned();
    }
    format!("'{}'", name.replace('\'', r"'\''"))
}

/// Sequence numbers in ascending order, as spans without gaps.
#[derive(Debug, Default, PartialEq, Eq)]
struct Spans {
    list: Vec<(u64, u64)>,
    /// The last one has gaps.
    is_rough: bool,
}

impl Spans {
    fn add(&mut self, from: u64, to: u64) {
        let is_full = self.list.len() == SPANS_MAX;
        match self.list.last_mut() {
            Some(last) if last.1 + 1 == from => last.1 = to,
            // After a batch without an answer the same messages may be reported together with earlier ones.
            Some(last) if is_full || from <= last.1 => {
                self.is_rough |= from > last.1;
                last.1 = last.1.max(to);
            }
            _ => self.list.push((from, to)),
        }
    }
}

impl fmt::Display for Spans {
    /// `3-5,9`; the last one as `12..40` if not all of its numbers are meant.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (from, to)) in self.list.iter().enumerate() {
            let is_last = index + 1 == self.list.len();
            f.write_str(if index == 0 { "" } else { "," })?;
            match (from == to, self.is_rough && is_last) {
                (true, _) => write!(f, "{from}")?,
                (false, false) => write!(f, "{from}-{to}")?,
                (false, true) => write!(f, "{from}..{to}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "refusals_tests.rs"]
mod tests;
