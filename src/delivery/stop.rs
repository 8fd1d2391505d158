//! Why the work on a connection ends early, how this is logged, and how long to wait.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::gather::Halt;
use super::named::place_of;
use super::parking;
use super::state::Held;
use super::worker::Worker;
use crate::batch::Batch;
use crate::clock;
use crate::config::Rule;
use crate::delivery::events;
use crate::journal::{Entry, Fs, JournalError};
use crate::mapping::Router;
use crate::message::Seq;
use crate::rule::TableName;
use crate::sink::{Class, ClosedTable, Sink, SinkError};

/// A held database is tested at least this often, so that delivery continues soon after the repair.
const HOLD_RECHECK_MAX: Duration = Duration::from_secs(5);

/// A topic may be 65,535 bytes long.
const TOPIC_CHARS_MAX: usize = 200;

/// Why a connection's work ended early.
#[derive(Debug)]
pub(super) enum Stop {
    /// Goes away by itself.
    Retry(SinkError),
    /// A table is not what the batch was mapped for: compile and map again at once.
    Changed(SinkError),
    /// The offset in the database is not where this connection left it: read it again at once.
    Relocate(String),
    /// A person is needed; looked at again now and then.
    Hold(Hold),
    /// The database refuses the batch as a whole, but none of its rows alone: try fewer messages at a time, at once.
    Narrow(SinkError),
    /// The journal's disk did not answer.
    Journal(JournalError),
}

/// The fault that a person must repair.
#[derive(Debug, Clone, Default)]
pub(super) struct Hold {
    pub reason: String,
    /// SQL or configuration that would mend it.
    pub mend: Option<String>,
    /// The tables that it is about; none if the whole database is concerned.
    pub tables: Vec<BadTable>,
    /// The message that met it, and under which rule; `None` for the first one that is not in the database.
    pub at: Option<(Seq, Arc<str>)>,
}

impl Hold {
    /// For what is wrong with these tables.
    pub(super) fn of(tables: Vec<BadTable>) -> Hold {
        let reasons: Vec<&str> = tables.iter().map(|bad| bad.defect.reason.as_str()).collect();
        let mends: Vec<&str> = tables.iter().filter_map(|bad| bad.defect.mend.as_deref()).collect();
        let mend = (!mends.is_empty()).then(|| mends.join("\n"));
        Hold { reason: reasons.join("; "), mend, tables, at: None }
    }
}

/// The fault of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Defect {
    pub reason: String,
    /// SQL or configuration that would mend it.
    pub mend: Option<String>,
}

impl From<&SinkError> for Defect {
    fn from(error: &SinkError) -> Defect {
        Defect { reason: in_one_line(error), mend: Some(mend(error)) }
    }
}

/// A table that takes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadTable {
    /// As the rules name it.
    pub name: TableName,
    pub defect: Defect,
    /// Whether that showed when the rules were compiled, not when rows were written.
    pub at_compile: bool,
}

impl From<SinkError> for Stop {
    fn from(error: SinkError) -> Stop {
        match error.class {
            Class::Transient | Class::RowOrTransient | Class::SessionEnded => Stop::Retry(error),
            Class::TableChanged => Stop::Changed(error),
            Class::OffsetMoved => Stop::Relocate(error.message),
            Class::Row | Class::RowOrTable | Class::Table => {
                Stop::Hold(Hold { reason: in_one_line(&error), mend: Some(mend(&error)), ..Hold::default() })
            }
        }
    }
}

impl Stop {
    /// The tables accept no row. One whose own trouble it is, as when somebody holds it, takes precedence over errors of the
    /// database that pass.
    pub(super) fn of_closed(closed: Vec<ClosedTable>, batch: &Batch, rules: &[Arc<Rule>]) -> Stop {
        let (lasting, transient): (Vec<_>, Vec<_>) = closed.into_iter().partition(|closed| closed.is_its_own);
        let Some(first) = lasting.first().map(|closed| &batch.units[closed.unit]) else {
            let error = transient.into_iter().next().expect("a table is closed").error;
            return Stop::Retry(error);
        };
        let at = Some((first.seq, Arc::clone(&rules[first.rule].name)));
        let bad = |closed: &ClosedTable| BadTable {
            name: place_of(&rules[batch.units[closed.unit].rule]).into_owned(),
            defect: Defect::from(&closed.error),
            at_compile: false,
        };
        Stop::Hold(Hold { at, ..Hold::of(lasting.iter().map(bad).collect()) })
    }
}

/// The SQL in the error, or its advice.
pub(super) fn mend(error: &SinkError) -> String {
    error.message.split_once('\n').map_or(error.advice, |(_, sql)| sql).to_owned()
}

/// The message with its code, for a log line and `status`.
pub(super) fn in_one_line(error: &SinkError) -> String {
    let message = error.message.lines().next().unwrap_or_default();
    if message.contains(&error.code) { message.to_owned() } else { format!("{message} ({})", error.code) }
}

impl From<JournalError> for Stop {
    /// Damage under `journal.on_corruption: halt` is a person's affair; anything else may go away by itself.
    fn from(error: JournalError) -> Stop {
        if error.source.kind() == io::ErrorKind::InvalidData {
            return Stop::Hold(Hold { reason: error.to_string(), ..Hold::default() });
        }
        Stop::Journal(error)
    }
}

impl From<&Halt> for Defect {
    fn from(halt: &Halt) -> Defect {
        let mend = "mend the table or the rule, or set on_error: dead_letter, and reload".to_owned();
        Defect { reason: halt.reason(), mend: Some(mend) }
    }
}

impl From<&Halt> for Stop {
    fn from(halt: &Halt) -> Stop {
        let bad = BadTable { name: halt.target.clone(), defect: Defect::from(halt), at_compile: false };
        Stop::Hold(Hold { at: Some((halt.seq, Arc::clone(&halt.rule))), ..Hold::of(vec![bad]) })
    }
}

impl<S: Sink, F: Fs> Worker<S, F> {
    /// Logs and counts the stop, updates the state; returns how long to wait before the next connection.
    pub(super) fn report(&mut self, stop: Stop) -> Duration {
        let standing = self.standing(if let Stop::Hold(hold) = &stop { hold.at.as_ref() } else { None });
        self.account.refusal_log.tell_due();
        let database = &self.setup.database.name;
        let mut wait = self.backoff.next_wait();
        let state = &self.setup.state;
        match stop {
            // Again and again.
            Stop::Retry(error) | Stop::Changed(error) => {
                let text = format!("{}{standing}", in_one_line(&error));
                let last_error = state.snapshot().last_error;
                events::database_lost(&self.metrics, database, &error, &standing, wait, last_error.as_ref());
                state.update(|state| {
                    state.connected = false;
                    state.last_error = Some(text);
                });
                self.metrics.connected.set(0);
            }
            Stop::Narrow(error) => {
                wait = Duration::ZERO;
                events::batch_narrowed(&self.metrics, database, &error, self.rows_limit);
            }
            Stop::Relocate(why) => {
                crash_point!("delivery.relocating");
                events::offset_moved(&self.metrics, database, &why);
            }
            Stop::Hold(Hold { reason, mend, tables, .. }) => {
                wait = wait.min(HOLD_RECHECK_MAX);
                let parking::Held { parked, left } = self.parking.hold(&tables, &self.rules);
                wait = left.map_or(wait, |left| wait.min(left));
                if !parked.is_empty() {
                    crash_point!("delivery.parking");
                    wait = Duration::ZERO;
                }
                for bad in parked {
                    let rules = self.rules.iter().filter(|rule| *place_of(rule) == bad.name);
                    let rules: Vec<&str> = rules.map(|rule| &*rule.name).collect();
                    events::table_parked(database, &bad.name, &bad.defect.reason, &rules.join(", "));
                }
                let text = format!("{reason}{standing}");
                // The first message may come while it is held already.
                let known = state.snapshot().held.filter(|held| held.reason.starts_with(&reason));
                if known.is_none() {
                    events::database_held(database, &text, mend.as_deref());
                }
                let since = known.map_or_else(clock::now, |held| held.since);
                state.update(|state| {
                    state.held = Some(Held { reason: text.clone(), mend, since });
                    state.last_error = Some(text);
                });
            }
            Stop::Journal(error) => {
                events::journal_unreadable(&self.metrics, database, &error);
                state.update(|state| state.last_error = Some(error.to_string()));
            }
        }
        wait
    }

    /// The message at which delivery waits, for people: with its rules and its topic, as the end of a sentence. While
    /// nothing is gathered, this also determines the age of the oldest message that the database lacks.
    fn standing(&self, at: Option<&(Seq, Arc<str>)>) -> String {
        let next = self.setup.state.snapshot().next_seq;
        let mut reader = self.setup.journal.reader();
        // If the message cannot be read, the next reader that needs it reports the error. What was dropped is passed over.
        let mut read = |seq: Option<Seq>| {
            seq.map_or(Ok(()), |seq| reader.seek(seq)).ok()?;
            loop {
                match reader.next() {
                    Ok(Some(Entry::Message(message))) => {
                        return Some((message.received_at, message.seq, message.topic.to_owned()));
                    }
                    Ok(Some(Entry::Lost(_))) => {}
                    _ => return None,
                }
            }
        };
        let oldest = read(next);
        self.setup.state.update(|state| state.oldest_pending = oldest.as_ref().map(|oldest| oldest.0));
        let found = match at {
            Some((seq, _)) => read(Some(*seq)),
            None => oldest,
        };
        let Some((_, seq, topic)) = found else { return String::new() };
        let rules = match at {
            Some((_, rule)) => vec![&**rule],
            None => {
                let taken = Router::of_rules(&self.rules).takers(&topic);
                taken.into_iter().map(|rule| &*self.rules[rule].name).collect()
            }
        };
        let topic: String = topic.chars().take(TOPIC_CHARS_MAX).collect();
        let rules = if rules.is_empty() { "no rule".to_owned() } else { format!("rule {}", rules.join(", ")) };
        format!("; it stands at message {seq} ({rules}, topic {topic})")
    }
}
