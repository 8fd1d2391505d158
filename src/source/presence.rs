//! `mqtt.status_topic`: `online` and `offline`, retained, for clients that watch the bridge.
//!
//! `offline` is the will of the durable session, so the broker publishes it when a connection breaks, whether the
//! process died or the network failed. `online` follows once the broker has answered for every subscription, on the
//! same connection; `offline` is sent before the DISCONNECT of an orderly stop. A broker that refuses either does not
//! affect the messages of the rules: the refusal is logged, and if it ended the connection, the status is left out from
//! then on.

use bytes::BytesMut;

use crate::config::{MqttVersion, StatusTopic};
use crate::message::Qos;
use crate::mqtt::limits::Limits;
use crate::mqtt::outgoing::Will;
use crate::mqtt::publishing::{ToPublish, encode};

const ONLINE: &str = "online";
const OFFLINE: &str = "offline";

/// Packet identifiers that neither the broker, which counts up from 1, nor our requests, which count down from 65,535, get
/// to.
const ONLINE_ID: u16 = 0x7FFF;
const OFFLINE_ID: u16 = 0x7FFE;

/// A connection that ends before `online` is acknowledged may have ended for another reason; a second one in a row has not.
const ENDED_ON_IT_MAX: u32 = 2;

/// A broker that closes connections in place of an answer may just be starting. After so many in a row, CONNECT goes without
/// the will once.
const CLOSED_IN_A_ROW: u32 = 3;

/// What outlives a connection.
#[derive(Debug, Default)]
pub(super) struct Presence {
    topic: Option<String>,
    /// The broker does not let us in with the will, or ends the connection on `online`.
    is_barred: bool,
    /// CONNECT goes without the will this time, to see whether it is what the broker refuses; then so does the connection.
    is_tried_without: bool,
    /// A connection was accepted without the will after one with it was not. Somebody may have mended something in between:
    /// the next connection tells.
    is_suspected: bool,
    /// Connections in a row that ended before the broker had acknowledged `online`.
    ended_on_it: u32,
    /// Connections in a row that the broker closed in place of an answer to CONNECT.
    closed: u32,
    state: State,
}

/// What of a connection's `online` is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Unsent,
    Unanswered,
    Answered,
}

/// What the broker's behaviour came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Barred {
    /// It does not accept the topic as that of a will.
    Will,
    /// It ends the connection when we publish to it.
    Publish,
}

impl Presence {
    pub(super) fn new(topic: Option<&StatusTopic>) -> Presence {
        Presence { topic: topic.and_then(StatusTopic::settled), ..Presence::default() }
    }

    /// Where it is told, as long as it is.
    pub(super) fn topic(&self) -> Option<&str> {
        self.topic.as_deref().filter(|_| !self.is_barred && !self.is_tried_without)
    }

    /// The will of the next CONNECT.
    pub(super) fn will(&self) -> Option<Will<'_>> {
        self.topic().map(|topic| Will { topic, payload: OFFLINE })
    }

    /// The broker turned us away: is it for the will? `said`: whether its answer may mean the will; `None` = it closed the
    /// connection in place of one.
    pub(super) fn turned_away(&mut self, said: Option<bool>) {
        let may_be_it = said.unwrap_or_else(|| {
            self.closed += 1;
            self.is_tried_without || self.closed.is_multiple_of(CLOSED_IN_A_ROW)
        });
        if !may_be_it {
            self.is_tried_without = false;
        } else if std::mem::take(&mut self.is_suspected) {
            self.is_barred = true;
        } else {
            self.is_tried_without = self.topic.is_some() && !self.is_barred && !self.is_tried_without;
        }
    }

    /// The broker accepted a connection.
    pub(super) fn connected(&mut self) -> Option<Barred> {
        (self.state, self.closed) = (State::Unsent, 0);
        self.is_suspected = self.is_tried_without;
        self.is_tried_without.then_some(Barred::Will)
    }

    /// Appends `online`, once on a connection.
    pub(super) fn announce(&mut self, version: MqttVersion, limits: &Limits, out: &mut BytesMut) {
        if self.state == State::Unsent {
            self.state = match self.put(version, limits, ONLINE, ONLINE_ID, out) {
                true => State::Unanswered,
                false => State::Answered,
            };
        }
    }

    /// Appends `offline`, before DISCONNECT.
    pub(super) fn farewell(&mut self, version: MqttVersion, limits: &Limits, out: &mut BytesMut) {
        self.put(version, limits, OFFLINE, OFFLINE_ID, out);
    }

    /// Whether PUBACK with this identifier is that of `online`.
    pub(super) fn answered(&mut self, packet_id: u16) -> bool {
        let is_ours = packet_id == ONLINE_ID && self.state == State::Unanswered;
        if is_ours {
            (self.state, self.ended_on_it) = (State::Answered, 0);
        }
        is_ours
    }

    /// The connection is over; `by_others`: the broker, or the network, ended it.
    pub(super) fn ended(&mut self, by_others: bool) -> Option<Barred> {
        self.is_tried_without = false;
        if !by_others || self.state != State::Unanswered {
            return None;
        }
        self.state = State::Unsent;
        self.ended_on_it += 1;
        self.is_barred = self.ended_on_it >= ENDED_ON_IT_MAX;
        self.is_barred.then_some(Barred::Publish)
    }

    /// Returns whether the broker will answer.
    fn put(&self, version: MqttVersion, limits: &Limits, payload: &str, packet_id: u16, out: &mut BytesMut) -> bool {
        let Some(topic) = self.topic() else { return false };
        let qos = limits.qos_max.min(Qos::AtLeastOnce);
        let message = ToPublish { qos, retain: limits.retained_messages, ..ToPublish::new(topic, payload.as_bytes()) };
        let mut packet = Vec::new();
        let Ok(id_at) = encode(version, &message, &mut packet) else { return false };
        if packet.len() > limits.packet_bytes_max as usize {
            return false;
        }
        let id_at = id_at as usize;
        if id_at > 0 {
            packet[id_at..id_at + 2].copy_from_slice(&packet_id.to_be_bytes());
        }
        out.extend_from_slice(&packet);
        id_at > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presence() -> Presence {
        Presence { topic: Some("bridges/gw1/status".into()), ..Presence::default() }
    }

    fn announced(presence: &mut Presence) -> usize {
        let mut out = BytesMut::new();
        presence.announce(MqttVersion::V5, &Limits::default(), &mut out);
        out.len()
    }

    #[test]
    fn online_is_told_once_on_a_connection() {
        let mut presence = presence();
        assert_eq!(presence.will().unwrap().payload, "offline");
        for _ in 0..3 {
            assert_eq!(presence.connected(), None);
            assert!(announced(&mut presence) > 0);
            assert_eq!(announced(&mut presence), 0);
            assert!(!presence.answered(1) && presence.answered(ONLINE_ID) && !presence.answered(ONLINE_ID));
            assert_eq!(presence.ended(true), None, "it was not for this");
        }
    }

    #[test]
    fn a_will_that_the_broker_does_not_take_is_left_out() {
        let mut presence = presence();
        presence.turned_away(Some(true));
        assert_eq!(presence.will(), None);
        // Nor without it: it is something else.
        presence.turned_away(Some(true));
        assert!(presence.will().is_some());
        presence.turned_away(Some(true));
        assert_eq!(presence.connected(), Some(Barred::Will));
        assert_eq!((announced(&mut presence), presence.will()), (0, None));
        assert_eq!(presence.ended(true), None);
        assert!(presence.will().is_some(), "something else may have been mended meanwhile");
        presence.turned_away(Some(true));
        assert_eq!(presence.will(), None);
        assert_eq!(presence.connected(), None);
        presence.ended(true);
        assert_eq!(presence.will(), None);
    }

    #[test]
    fn a_broker_that_takes_the_will_later_is_told_again() {
        let mut presence = presence();
        presence.turned_away(Some(true));
        presence.connected();
        presence.ended(true);
        assert_eq!(presence.connected(), None);
        assert!(announced(&mut presence) > 0);
    }

    #[test]
    fn a_broker_that_ends_the_connection_on_it_is_not_told_any_more() {
        let mut presence = presence();
        for expected in [None, Some(Barred::Publish)] {
            assert_eq!(presence.connected(), None);
            assert!(announced(&mut presence) > 0);
            assert_eq!(presence.ended(true), expected);
        }
        assert_eq!((announced(&mut presence), presence.will()), (0, None));
    }

    #[test]
    fn an_answer_that_has_nothing_to_do_with_the_will_leaves_it_alone() {
        let mut presence = presence();
        for _ in 0..10 {
            presence.turned_away(Some(false));
            assert!(presence.will().is_some());
        }
        // Nor do some connections closed by a broker that is just starting.
        for expected in [true, true, false, true, true, false] {
            presence.turned_away(None);
            assert_eq!(presence.will().is_some(), expected);
            if !expected {
                presence.turned_away(Some(false));
            }
        }
        assert_eq!(presence.connected(), None);
        assert!(announced(&mut presence) > 0);
    }
}
