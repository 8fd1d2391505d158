//! Why a connection's work ends early, how that is told, and how long to wait.

use std::io;
use std::time::Duration;

use super::gather::Halt;
use super::state::Held;
use super::worker::Worker;
use crate::clock;
use crate::journal::{Entry, Fs, JournalError};
use crate::sink::{Class, Sink, SinkError};
use crate::telemetry::events;

/// A held database is looked at at least this often: whoever mends a table should not have to wait for it.
const HOLD_RECHECK_MAX: Duration = Duration::from_secs(5);

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
    Hold { reason: String, mend: Option<String> },
    /// The database refuses the batch as a whole, and no row of it by itself: fewer messages at a time, at once.
    Narrow(SinkError),
    /// The journal's disk did not answer.
    Journal(JournalError),
}

impl From<SinkError> for Stop {
    fn from(error: SinkError) -> Stop {
        match error.class {
            Class::Transient => Stop::Retry(error),
            Class::TableChanged => Stop::Changed(error),
            Class::OffsetMoved => Stop::Relocate(error.message),
            Class::Row | Class::Table => {
                let advice = error.advice.to_owned();
                let mend = error.message.split_once('\n').map_or(advice, |(_, sql)| sql.to_owned());
                Stop::Hold { reason: in_one_line(&error), mend: Some(mend) }
            }
        }
    }
}

/// The message with its code, for a log line and `status`.
fn in_one_line(error: &SinkError) -> String {
    let message = error.message.lines().next().unwrap_or_default();
    if message.contains(&error.code) { message.to_owned() } else { format!("{message} ({})", error.code) }
}

impl From<JournalError> for Stop {
    /// Damage under `journal.on_corruption: halt` is a person's affair; anything else may go away by itself.
    fn from(error: JournalError) -> Stop {
        if error.source.kind() == io::ErrorKind::InvalidData {
            return Stop::Hold { reason: error.to_string(), mend: None };
        }
        Stop::Journal(error)
    }
}

impl From<&Halt> for Stop {
    fn from(halt: &Halt) -> Stop {
        Stop::Hold {
            reason: format!(
                "rule {} says on_error: halt, and message {} gives no row: {}",
                halt.rule, halt.seq, halt.error
            ),
            mend: Some("mend the table or the rule, or set on_error: dead_letter, and restart".to_owned()),
        }
    }
}

impl<S: Sink, F: Fs> Worker<S, F> {
    /// Logs and counts the stop, updates the state; returns how long to wait before the next connection.
    pub(super) fn report(&mut self, stop: Stop) -> Duration {
        self.tell_oldest_pending();
        self.account.refusal_log.tell_due();
        let database = &self.setup.database.name;
        let mut wait = self.backoff.next_wait();
        let state = &self.setup.state;
        match stop {
            // Again and again.
            Stop::Retry(error) | Stop::Changed(error) => {
                let text = in_one_line(&error);
                events::database_lost(&self.metrics, database, &error, wait, state.snapshot().last_error.as_ref());
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
            Stop::Hold { reason, mend } => {
                wait = wait.min(HOLD_RECHECK_MAX);
                let news = state.snapshot().held.is_none_or(|held| held.reason != reason);
                if news {
                    events::database_held(database, &reason, mend.as_deref());
                    let held = Held { reason: reason.clone(), mend, since: clock::now() };
                    state.update(|state| state.held = Some(held));
                }
                state.update(|state| state.last_error = Some(reason));
            }
            Stop::Journal(error) => {
                events::journal_unreadable(&self.metrics, database, &error);
                state.update(|state| state.last_error = Some(error.to_string()));
            }
        }
        wait
    }

    /// While nothing is gathered, the journal is asked how old the oldest message is that the database lacks.
    fn tell_oldest_pending(&self) {
        let next = self.setup.state.snapshot().next_seq;
        let mut reader = self.setup.journal.reader();
        // This is for people only: what cannot be read now is told by whoever needs it.
        let oldest = match next.map_or(Ok(()), |next| reader.seek(next)).and_then(|()| reader.next()) {
            Ok(Some(Entry::Message(message))) => Some(message.received_at),
            _ => None,
        };
        self.setup.state.update(|state| state.oldest_pending = oldest);
    }
}
