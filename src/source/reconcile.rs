//! Brings the filters subscribed in the broker's session in line with what the rules need.
//!
//! New and changed filters are subscribed to first and only then the superfluous ones given up: a filter that took over
//! from another leaves no gap between them. What the broker refuses concerns that filter alone.

use bytes::BytesMut;

use super::outgoing::{self, SubscribeTo};
use super::packet::SubAck;
use super::stored::{StoredFilter, StoredSubscriptions};
use super::subscriptions::Subscriptions;
use super::wire::Malformed;
use crate::config::MqttVersion;

/// Filters in one SUBSCRIBE: what the strictest broker known (AWS IoT Core) takes.
const FILTERS_PER_PACKET: usize = 8;

/// The requests of one connection that the broker has yet to answer.
pub(super) struct Reconciler {
    version: MqttVersion,
    /// Whether the broker takes subscription identifiers.
    with_identifiers: bool,
    packet_id: u16,
    outstanding: Vec<Request>,
    /// Given up once every SUBSCRIBE is answered.
    superfluous: Vec<String>,
}

struct Request {
    packet_id: u16,
    kind: RequestKind,
}

enum RequestKind {
    Subscribe(Vec<SubscribeTo>),
    Unsubscribe(Vec<String>),
}

/// The broker's answer for one filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) asked: SubscribeTo,
    /// The granted QoS, or 0x80 and above.
    pub(super) code: u8,
}

impl Reconciler {
    pub(super) fn new(version: MqttVersion, with_identifiers: bool) -> Reconciler {
        Reconciler { version, with_identifiers, packet_id: 0, outstanding: Vec::new(), superfluous: Vec::new() }
    }

    /// Whether the broker takes subscription identifiers.
    pub(super) fn with_identifiers(&self) -> bool {
        self.with_identifiers
    }

    /// Asks for every filter of `plan` that `stored` lacks, or for all of them. To be called when settled.
    pub(super) fn begin(&mut self, plan: &Subscriptions, stored: &StoredSubscriptions, all: bool, out: &mut BytesMut) {
        let missing = plan.list().iter().filter_map(|subscription| {
            let identifier = subscription.identifier.filter(|_| self.with_identifiers);
            let is_known = !all
                && stored
                    .filter(&subscription.filter)
                    .is_some_and(|known| known.qos == subscription.qos.level() && known.identifier == identifier);
            let to = SubscribeTo { filter: subscription.filter.clone(), qos: subscription.qos, identifier };
            (!is_known).then_some(to)
        });
        // A SUBSCRIBE has one identifier for all its filters.
        let (plain, identified): (Vec<_>, Vec<_>) = missing.partition(|to| to.identifier.is_none());
        let packets = plain.chunks(FILTERS_PER_PACKET).chain(identified.chunks(1));
        for filters in packets {
            let packet_id = self.next_packet_id();
            outgoing::subscribe(self.version, packet_id, &filters.iter().collect::<Vec<_>>(), out);
            self.outstanding.push(Request { packet_id, kind: RequestKind::Subscribe(filters.to_vec()) });
        }
        self.superfluous = stored.filters.keys().filter(|known| plan.get(known).is_none()).cloned().collect();
        self.give_up(out);
    }

    /// Whether the broker owes no answer.
    pub(super) fn is_settled(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// How many filters the broker has yet to answer a SUBSCRIBE for.
    pub(super) fn asking(&self) -> usize {
        let filters = |request: &Request| match &request.kind {
            RequestKind::Subscribe(filters) => filters.len(),
            RequestKind::Unsubscribe(_) => 0,
        };
        self.outstanding.iter().map(filters).sum()
    }

    /// Notes the broker's answer to a SUBSCRIBE in `stored`. An answer to nothing we asked is passed over.
    pub(super) fn on_suback(
        &mut self,
        suback: &SubAck,
        stored: &mut StoredSubscriptions,
        out: &mut BytesMut,
    ) -> Result<Vec<Answer>, Malformed> {
        let Some(RequestKind::Subscribe(filters)) = self.take(suback.packet_id) else { return Ok(Vec::new()) };
        if filters.len() != suback.codes.len() {
            return Err(Malformed("a SUBACK with more or fewer codes than the SUBSCRIBE had filters"));
        }
        let answers: Vec<Answer> =
            filters.into_iter().zip(&suback.codes).map(|(asked, &code)| Answer { asked, code }).collect();
        for Answer { asked, code } in &answers {
            if *code < 0x80 {
                stored.subscribed(StoredFilter {
                    filter: asked.filter.clone(),
                    qos: asked.qos.level(),
                    granted: *code,
                    identifier: asked.identifier,
                });
            } else {
                // A refusal replaces nothing, but the next connect should ask again.
                stored.unsubscribed(&asked.filter);
            }
        }
        self.give_up(out);
        Ok(answers)
    }

    /// Notes the broker's answer to an UNSUBSCRIBE in `stored`, and returns the filters that are gone.
    pub(super) fn on_unsuback(&mut self, packet_id: u16, stored: &mut StoredSubscriptions) -> Vec<String> {
        let Some(RequestKind::Unsubscribe(filters)) = self.take(packet_id) else { return Vec::new() };
        // Whatever the codes say, the subscription is not there: it is gone, or never was.
        filters.iter().for_each(|filter| stored.unsubscribed(filter));
        filters
    }

    /// Sends UNSUBSCRIBE for what is superfluous, once nothing else is outstanding.
    fn give_up(&mut self, out: &mut BytesMut) {
        if !self.outstanding.is_empty() {
            return;
        }
        let superfluous = std::mem::take(&mut self.superfluous);
        for filters in superfluous.chunks(FILTERS_PER_PACKET) {
            let packet_id = self.next_packet_id();
            outgoing::unsubscribe(self.version, packet_id, filters.to_vec(), out);
            self.outstanding.push(Request { packet_id, kind: RequestKind::Unsubscribe(filters.to_vec()) });
        }
    }

    fn take(&mut self, packet_id: u16) -> Option<RequestKind> {
        let position = self.outstanding.iter().position(|request| request.packet_id == packet_id)?;
        Some(self.outstanding.swap_remove(position).kind)
    }

    fn next_packet_id(&mut self) -> u16 {
        self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
        self.packet_id
    }
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
