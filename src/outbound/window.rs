//! Packets that wait for the broker's answer, by packet identifier.
//!
//! Identifiers are assigned in turn, so the packets are stored in a row and an answer finds its packet by subtraction.
//! The broker's receive maximum limits the unacknowledged messages; SUBSCRIBE and UNSUBSCRIBE do not count.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::MqttVersion;
use crate::message::Qos;
use crate::mqtt::limits::Limits;
use crate::mqtt::outgoing::AckKind;
use crate::mqtt::packet;

/// Messages in flight at most. More gain nothing even on a link of half a second.
const OPEN_MAX: usize = 8192;
/// Answers out of order leave holes: so many packets from the first unanswered one on.
const SPAN_MAX: usize = 4 * OPEN_MAX;
/// A 3.1.1 broker says no maximum. 1,000 of QoS 1 are taken by all.
const OPEN_MAX_V3: usize = 1000;
/// Mosquitto ends the connection at the 21st message of QoS 2 without PUBREL (`max_inflight_messages`), and EMQX refuses the
/// 101st (`max_awaiting_rel`).
const QOS2_MAX_V3: usize = 10;
/// Identifiers are 1 to 65,535.
const IDS: usize = 65_535;

/// How long an answer may take after the broker has answered a PINGREQ that was sent later.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// What a packet was sent for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// A message of a batch: the batch's number, and its place in it.
    Batch(u64, usize),
    /// An answer, by its topic.
    Answer(Box<str>),
    Subscribe(String),
    Unsubscribe(String),
}

#[derive(Debug)]
struct Entry {
    /// `None` once answered.
    cause: Option<Cause>,
    qos: Qos,
    is_released: bool,
}

/// What an answer of the broker's means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The message is with the broker.
    Taken(Cause),
    Refused(Cause),
    /// PUBREL is due.
    Release,
    /// It belongs to nothing.
    Nothing,
}

#[derive(Debug)]
pub(super) struct Window {
    entries: VecDeque<Entry>,
    /// The identifier of the first entry, less 1.
    first: usize,
    /// Messages of QoS 1 and 2 without a last answer.
    open: usize,
    open_qos2: usize,
    open_max: usize,
    qos2_max: usize,
    /// The oldest packet without an answer at a PINGRESP, by [`Window::first`], and the first such PINGRESP.
    oldest_at_ping: Option<(usize, Instant)>,
}

impl Window {
    pub(super) fn new(version: MqttVersion, limits: &Limits) -> Window {
        let announced = usize::from(limits.receive_maximum);
        let (open_max, qos2_max) = match version {
            MqttVersion::V3 => (OPEN_MAX_V3, QOS2_MAX_V3),
            MqttVersion::V5 => (announced.min(OPEN_MAX), announced.min(OPEN_MAX)),
        };
        Window { entries: VecDeque::new(), first: 0, open: 0, open_qos2: 0, open_max, qos2_max, oldest_at_ping: None }
    }

    /// Whether a message of this QoS may be sent now.
    pub(super) fn has_room(&self, qos: Qos) -> bool {
        match qos {
            Qos::AtMostOnce => true,
            Qos::AtLeastOnce => self.open < self.open_max && self.entries.len() < SPAN_MAX,
            Qos::ExactlyOnce => self.open_qos2 < self.qos2_max && self.has_room(Qos::AtLeastOnce),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// After a PINGRESP: whether no answer will come to the oldest packet on this connection. A broker answers PINGREQ after what
    /// was sent before it, so it had the packet at the PINGRESP a while ago. What waits behind it would wait for ever.
    pub(super) fn is_passed_over(&mut self, now: Instant) -> bool {
        if self.entries.is_empty() {
            self.oldest_at_ping = None;
            return false;
        }
        let (_, since) = *self.oldest_at_ping.insert(match self.oldest_at_ping {
            Some((known, since)) if known == self.first => (known, since),
            _ => (self.first, now),
        });
        now >= since + ANSWER_WAIT
    }

    /// The identifier of a message of QoS 1 or 2 that goes out now.
    pub(super) fn sent(&mut self, qos: Qos, cause: Cause) -> u16 {
        self.open += 1;
        self.open_qos2 += usize::from(qos == Qos::ExactlyOnce);
        self.add(qos, cause)
    }

    /// The identifier of a SUBSCRIBE or UNSUBSCRIBE that goes out now.
    pub(super) fn asked(&mut self, cause: Cause) -> u16 {
        self.add(Qos::AtMostOnce, cause)
    }

    fn add(&mut self, qos: Qos, cause: Cause) -> u16 {
        let id = (self.first + self.entries.len()) % IDS + 1;
        self.entries.push_back(Entry { cause: Some(cause), qos, is_released: false });
        id as u16
    }

    fn index_of(&self, packet_id: u16) -> Option<usize> {
        let index = (usize::from(packet_id) + IDS - 1 - self.first) % IDS;
        (index < self.entries.len()).then_some(index)
    }

    /// Takes in PUBACK, PUBREC or PUBCOMP.
    pub(super) fn answered(&mut self, answer: &packet::Answer) -> Meaning {
        let Some(index) = self.index_of(answer.packet_id) else { return Meaning::Nothing };
        let entry = &mut self.entries[index];
        let is_awaited = match answer.kind {
            AckKind::PubAck => entry.qos == Qos::AtLeastOnce,
            AckKind::PubRec | AckKind::PubComp => entry.qos == Qos::ExactlyOnce,
        };
        if !is_awaited || entry.cause.is_none() {
            return Meaning::Nothing;
        }
        if answer.kind == AckKind::PubRec && answer.code < 0x80 {
            entry.is_released = true;
            return Meaning::Release;
        }
        // After PUBREC the broker has the message, whatever it says to PUBREL.
        let is_taken = answer.code < 0x80 || entry.is_released;
        self.open -= 1;
        self.open_qos2 -= usize::from(entry.qos == Qos::ExactlyOnce);
        match self.close(index) {
            Some(cause) if is_taken => Meaning::Taken(cause),
            Some(cause) => Meaning::Refused(cause),
            None => Meaning::Nothing,
        }
    }

    /// Takes in SUBACK or UNSUBACK.
    pub(super) fn granted(&mut self, packet_id: u16) -> Option<Cause> {
        let index = self.index_of(packet_id)?;
        let is_request = matches!(self.entries[index].cause, Some(Cause::Subscribe(_) | Cause::Unsubscribe(_)));
        if is_request { self.close(index) } else { None }
    }

    fn close(&mut self, index: usize) -> Option<Cause> {
        let cause = self.entries[index].cause.take();
        while self.entries.front().is_some_and(|entry| entry.cause.is_none()) {
            self.entries.pop_front();
            self.first = (self.first + 1) % IDS;
        }
        cause
    }

    /// What was never answered, in the order sent.
    pub(super) fn into_unanswered(self) -> impl Iterator<Item = Cause> {
        self.entries.into_iter().filter_map(|entry| entry.cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: AckKind, packet_id: u16, code: u8) -> packet::Answer {
        packet::Answer { kind, packet_id, code, reason: None }
    }

    fn window(receive_maximum: u16) -> Window {
        Window::new(MqttVersion::V5, &Limits { receive_maximum, ..Limits::default() })
    }

    #[test]
    fn identifiers_go_round_without_zero_and_answers_find_their_packets() {
        let mut window = window(3);
        let mut expected = 1u16;
        for n in 0..70_000 {
            let id = window.sent(Qos::AtLeastOnce, Cause::Batch(7, n));
            assert_eq!(id, expected);
            expected = if expected == u16::MAX { 1 } else { expected + 1 };
            assert_eq!(window.answered(&answer(AckKind::PubAck, id, 0)), Meaning::Taken(Cause::Batch(7, n)));
            assert_eq!(window.answered(&answer(AckKind::PubAck, id, 0)), Meaning::Nothing, "it was answered");
        }
        assert!(window.is_empty());
    }

    #[test]
    fn a_packet_that_the_broker_passes_over_is_found_by_the_pings_after_it() {
        let mut window = window(3);
        let begun = Instant::now();
        assert!(!window.is_passed_over(begun));
        let first = window.sent(Qos::AtLeastOnce, Cause::Batch(0, 0));
        let second = window.sent(Qos::AtLeastOnce, Cause::Batch(0, 1));
        assert!(!window.is_passed_over(begun), "it may be on its way");
        assert!(!window.is_passed_over(begun + ANSWER_WAIT / 2));
        window.answered(&answer(AckKind::PubAck, first, 0));
        assert!(!window.is_passed_over(begun + ANSWER_WAIT), "the next one is the oldest now");
        assert!(window.is_passed_over(begun + 2 * ANSWER_WAIT));
        window.answered(&answer(AckKind::PubAck, second, 0));
        assert!(!window.is_passed_over(begun + 2 * ANSWER_WAIT));
    }

    #[test]
    fn no_more_messages_are_open_than_the_broker_takes() {
        let mut window = window(2);
        let first = window.sent(Qos::AtLeastOnce, Cause::Batch(0, 0));
        let second = window.sent(Qos::ExactlyOnce, Cause::Batch(0, 1));
        let _ = window.asked(Cause::Subscribe("a".into()));
        assert!(!window.has_room(Qos::AtLeastOnce) && window.has_room(Qos::AtMostOnce));
        assert_eq!(window.answered(&answer(AckKind::PubRec, second, 0)), Meaning::Release);
        assert!(!window.has_room(Qos::AtLeastOnce), "PUBCOMP is yet to come");
        assert_eq!(window.answered(&answer(AckKind::PubComp, second, 0)), Meaning::Taken(Cause::Batch(0, 1)));
        assert!(window.has_room(Qos::ExactlyOnce));
        assert_eq!(window.into_unanswered().collect::<Vec<_>>(), [Cause::Batch(0, 0), Cause::Subscribe("a".into())]);
        assert_eq!(first, 1);
    }

    #[test]
    fn a_refusal_is_told_and_an_answer_of_the_wrong_kind_is_passed_over() {
        let mut window = window(10);
        let one = window.sent(Qos::AtLeastOnce, Cause::Batch(0, 0));
        let two = window.sent(Qos::ExactlyOnce, Cause::Batch(0, 1));
        assert_eq!(window.answered(&answer(AckKind::PubComp, one, 0)), Meaning::Nothing);
        assert_eq!(window.answered(&answer(AckKind::PubAck, 99, 0)), Meaning::Nothing);
        assert_eq!(window.granted(one), None);
        assert_eq!(window.answered(&answer(AckKind::PubAck, one, 0x87)), Meaning::Refused(Cause::Batch(0, 0)));
        assert_eq!(window.answered(&answer(AckKind::PubRec, two, 0x97)), Meaning::Refused(Cause::Batch(0, 1)));
        assert!(window.is_empty());
    }
}
