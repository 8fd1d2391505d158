//! Why a connection ended. The reasons are distinguished as far as the next connect depends on them; the words are for
//! log and status.

use crate::config::MqttVersion;
use crate::mqtt::handshake::said;
use crate::mqtt::packet::Disconnect;
use crate::mqtt::reason;
use crate::source::caution::Evidence;

/// Why a connection is over.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::source) enum Ended {
    /// We were asked to stop, and have left the broker in order.
    Shutdown,
    /// The broker left out so many packet identifiers: it may hold messages back until the next connection.
    Skipped(u32),
    /// The journal lost what was not durable: the broker must send it again.
    JournalReopened,
    /// The broker used a topic alias that it may not use, or never announced: nothing of what was read with it was taken.
    AliasMisused(u16),
    /// The broker said that another client took the session.
    TakenOver(String),
    /// The broker said goodbye, or broke the protocol.
    ByBroker(String),
    /// The broker said that it does not want us, and will not before a person has changed something.
    Refused(String),
    /// The connection failed.
    Cut(String),
    /// What the disk must have before a message is taken could not be written.
    Unwritten(String),
}

impl Ended {
    /// What the broker or the network did.
    pub(in crate::source) fn words(&self) -> &str {
        match self {
            Ended::TakenOver(words)
            | Ended::ByBroker(words)
            | Ended::Refused(words)
            | Ended::Cut(words)
            | Ended::Unwritten(words) => words,
            Ended::Shutdown | Ended::Skipped(_) | Ended::JournalReopened | Ended::AliasMisused(_) => {
                "we ended the connection"
            }
        }
    }
}

/// How a connection ended.
pub(in crate::source) struct Finished {
    pub(in crate::source) ended: Ended,
    /// The filters for which the broker owed an answer.
    pub(in crate::source) unanswered: Vec<String>,
    /// What the end says about those.
    pub(in crate::source) evidence: Evidence,
}

pub(super) fn farewell_words(farewell: &Disconnect) -> Ended {
    let tail = said(farewell.reason.as_deref(), farewell.server_reference.as_deref());
    let words = format!("the broker ended the connection: {}{tail}", reason::disconnect(farewell.code));
    match farewell.code {
        reason::SESSION_TAKEN_OVER => Ended::TakenOver(words),
        code if reason::needs_a_person(MqttVersion::V5, code) => Ended::Refused(words),
        _ => Ended::ByBroker(words),
    }
}

pub(super) fn cut_words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "the broker closed the connection".to_owned(),
        _ => format!("the connection failed: {error}"),
    }
}
