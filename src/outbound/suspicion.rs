//! Which packet the broker ends the connection for.
//!
//! Some brokers do not refuse a message but end the connection: the client may not write to its topic, the topic has more
//! levels than the broker takes, a text holds a character that it does not like. Such a message would be sent again first
//! thing on every connection, and nothing else would ever arrive. The same holds for a SUBSCRIBE.
//!
//! So, when the broker has ended two connections in a row soon after they began, with packets unanswered, the unanswered
//! ones are sent one by one, on connections on which the broker has answered a PINGREQ before. A packet that is alone
//! unanswered when the broker ends the connection, [`STRIKES`] times in a row, is the culprit, and is not sent again.

use std::time::Duration;

use super::window::Cause;

/// Connections that the broker ends at the same packet. Fewer could be chance: a broker that is restarted.
pub(super) const STRIKES: u32 = 3;
/// A connection that lasted longer did not end for a packet sent at its beginning.
const SOON: Duration = Duration::from_secs(10);

/// How a connection ended.
pub(super) struct End {
    /// The broker ended it; not the network, and not we.
    pub(super) by_broker: bool,
    pub(super) lasted: Duration,
    /// The broker had answered a PINGREQ before anything was sent.
    pub(super) is_proven: bool,
}

/// What is remembered from connection to connection.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    /// Connections in a row that the broker ended soon, with packets unanswered.
    cut_short: u32,
    /// Packets that are yet to be sent one by one.
    careful: Vec<Cause>,
    /// The packet at which the broker ended the last connection, and how often in a row.
    suspect: Option<(Cause, u32)>,
}

impl Suspicion {
    /// Whether packets go one by one.
    pub(super) fn is_careful(&self) -> bool {
        !self.careful.is_empty()
    }

    /// A packet is done with: the broker answered it, or it needs no answer.
    pub(super) fn done(&mut self, cause: &Cause) {
        if let Some(at) = self.careful.iter().position(|other| other == cause) {
            self.careful.remove(at);
            self.suspect = None;
        }
    }

    /// Nothing is left to send.
    pub(super) fn all_done(&mut self) {
        self.careful.clear();
        self.suspect = None;
    }

    /// A connection ended with these packets unanswered. Returns the culprit once it is known.
    pub(super) fn ended(&mut self, end: &End, unanswered: &[Cause]) -> Option<Cause> {
        if !end.by_broker {
            return None;
        }
        if self.is_careful() {
            let [Cause::Batch(..) | Cause::Subscribe(_)] = unanswered else { return None };
            if !end.is_proven {
                return None;
            }
            let times = match &self.suspect {
                Some((suspect, times)) if *suspect == unanswered[0] => times + 1,
                _ => 1,
            };
            if times < STRIKES {
                self.suspect = Some((unanswered[0].clone(), times));
                return None;
            }
            self.suspect = None;
            self.careful.retain(|cause| *cause != unanswered[0]);
            return Some(unanswered[0].clone());
        }
        let repeated = unanswered.iter().filter(|cause| matches!(cause, Cause::Batch(..) | Cause::Subscribe(_)));
        let repeated: Vec<Cause> = repeated.cloned().collect();
        if repeated.is_empty() || end.lasted > SOON {
            self.cut_short = 0;
            return None;
        }
        self.cut_short += 1;
        if self.cut_short == 2 {
            (self.cut_short, self.careful) = (0, repeated);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(lasted_s: u64, is_proven: bool) -> End {
        End { by_broker: true, lasted: Duration::from_secs(lasted_s), is_proven }
    }

    #[test]
    fn a_packet_at_which_the_broker_ends_connection_after_connection_is_the_culprit() {
        let mut suspicion = Suspicion::default();
        let [first, second] = [Cause::Batch(0, 3), Cause::Batch(0, 4)];
        let both = [first.clone(), second.clone()];
        assert_eq!(suspicion.ended(&end(0, false), &both), None);
        assert!(!suspicion.is_careful(), "one connection may end for anything");
        assert_eq!(suspicion.ended(&end(0, false), &both), None);
        assert!(suspicion.is_careful());
        // The first was innocent. A SUBSCRIBE of the new connection was not under suspicion.
        suspicion.done(&first);
        suspicion.done(&Cause::Subscribe("a".into()));
        for _ in 1..STRIKES {
            assert_eq!(suspicion.ended(&end(0, true), std::slice::from_ref(&second)), None);
        }
        assert_eq!(suspicion.ended(&end(0, true), std::slice::from_ref(&second)), Some(second));
        assert!(!suspicion.is_careful(), "it was the last of those that were unanswered");
    }

    #[test]
    fn nobody_is_blamed_for_other_ends() {
        let mut suspicion = Suspicion::default();
        let message = [Cause::Batch(0, 0)];
        // Connections that lasted, or that the network ended, or with nothing but answers under way.
        for _ in 0..9 {
            assert_eq!(suspicion.ended(&end(60, false), &message), None);
            assert_eq!(suspicion.ended(&end(0, false), &[Cause::Answer("a".into())]), None);
            assert_eq!(suspicion.ended(&End { by_broker: false, ..end(0, false) }, &message), None);
        }
        assert!(!suspicion.is_careful());
        for _ in 0..2 {
            suspicion.ended(&end(0, false), &message);
        }
        assert!(suspicion.is_careful());
        // The broker ends connections before anything is sent, or the network does, or other packets are under way.
        for _ in 0..9 {
            assert_eq!(suspicion.ended(&end(0, false), &message), None);
            assert_eq!(suspicion.ended(&end(0, true), &[]), None);
            assert_eq!(suspicion.ended(&end(0, true), &[Cause::Answer("a".into())]), None);
            assert_eq!(suspicion.ended(&End { by_broker: false, ..end(0, true) }, &message), None);
        }
        // An answer in between begins the count anew.
        suspicion.ended(&end(0, true), &message);
        suspicion.done(&message[0]);
        assert!(!suspicion.is_careful());
        for _ in 0..2 {
            suspicion.ended(&end(0, false), &message);
        }
        assert_eq!(suspicion.ended(&end(0, true), &message), None);
        assert_eq!(suspicion.ended(&end(0, true), &message), None);
        assert_eq!(suspicion.ended(&end(0, true), &message), Some(message[0].clone()));
    }
}
