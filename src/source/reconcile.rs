//! Makes the filters subscribed in the broker's session match those that the rules need.
//!
//! New and changed filters are subscribed to first; superfluous ones are unsubscribed afterwards, so a filter that
//! replaces another leaves no gap. A refusal by the broker concerns only that filter. If the broker ends the
//! connection, the next attempts are more cautious and find the filter ([`super::caution`]).

use std::collections::VecDeque;

use bytes::BytesMut;
use tokio::time::Instant;

use super::caution::Caution;
use super::stored::{StoredFilter, StoredSubscriptions};
use super::subscriptions::Subscriptions;
use crate::config::MqttVersion;
use crate::mqtt::limits::subscribe_bytes;
use crate::mqtt::outgoing::{self, SubscribeTo};
use crate::mqtt::packet::SubAck;
use crate::mqtt::wire::Malformed;

/// Filters in one SUBSCRIBE: what the strictest broker known (AWS IoT Core) takes.
const FILTERS_PER_PACKET: usize = 8;

/// The requests of one connection that the broker has yet to answer.
pub(super) struct Reconciler {
    version: MqttVersion,
    /// The last one used. They go down from 65,535: some brokers (mochi) refuse a number that they have themselves given
    /// to a message under way to us, and those begin at 1.
    packet_id: u16,
    outstanding: Vec<Request>,
    queue: VecDeque<Queued>,
}

/// A request that was sent.
struct Request {
    packet_id: u16,
    kind: RequestKind,
}

/// A request that is yet to be sent.
struct Queued {
    /// Whether all that was sent before must be answered first.
    waits: bool,
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
    pub(super) fn new(version: MqttVersion) -> Reconciler {
        Reconciler { version, packet_id: 0, outstanding: Vec::new(), queue: VecDeque::new() }
    }

    /// Subscribes to every filter of `plan` that `stored` lacks, or to all of them. Barred filters are left alone. Must
    /// be called when settled.
    pub(super) fn subscribe(
        &mut self,
        plan: &Subscriptions,
        stored: &StoredSubscriptions,
        caution: &Caution,
        all: bool,
        out: &mut BytesMut,
    ) {
        let missing = self.missing(plan, stored, caution, all);
        let (mut suspects, trusted): (Vec<_>, Vec<_>) =
            missing.into_iter().partition(|to| caution.suspicion(&to.filter).is_some());
        // A SUBSCRIBE has one identifier and one set of properties for all its filters.
        let is_plain = |to: &SubscribeTo| to.identifier.is_none() && to.properties.is_empty();
        let (plain, special): (Vec<_>, Vec<_>) = trusted.into_iter().partition(is_plain);
        let packets = self.in_packets(plain, caution, |to| &to.filter);
        let waits = caution.is_careful();
        let queued = |waits| move |filters| Queued { waits, kind: RequestKind::Subscribe(filters) };
        self.queue.extend(packets.into_iter().map(queued(waits)));
        self.queue.extend(special.into_iter().map(|to| vec![to]).map(queued(waits)));
        suspects.sort_by_key(|to| caution.suspicion(&to.filter));
        self.queue.extend(suspects.into_iter().map(|to| vec![to]).map(queued(true)));
        self.send_more(out);
    }

    /// Gives up filters that are superfluous. To be called when settled, and nothing is left to subscribe to.
    pub(super) fn unsubscribe(&mut self, superfluous: Vec<String>, caution: &Caution, out: &mut BytesMut) {
        let (suspects, trusted): (Vec<_>, Vec<_>) =
            superfluous.into_iter().partition(|filter| caution.suspicion(filter).is_some());
        let packets = self.in_packets(trusted, caution, |filter| filter);
        let waits = caution.is_careful();
        let queued = |waits| move |filters| Queued { waits, kind: RequestKind::Unsubscribe(filters) };
        self.queue.extend(packets.into_iter().map(queued(waits)));
        self.queue.extend(suspects.into_iter().map(|filter| vec![filter]).map(queued(true)));
        self.send_more(out);
    }

    /// Whether the broker owes no answer and nothing is left to ask.
    pub(super) fn is_settled(&self) -> bool {
        self.outstanding.is_empty() && self.queue.is_empty()
    }

    /// How many filters are to be subscribed to and not answered for.
    pub(super) fn asking(&self) -> usize {
        let filters = |kind: &RequestKind| match kind {
            RequestKind::Subscribe(filters) => filters.len(),
            RequestKind::Unsubscribe(_) => 0,
        };
        let sent = self.outstanding.iter().map(|request| filters(&request.kind)).sum::<usize>();
        sent + self.queue.iter().map(|queued| filters(&queued.kind)).sum::<usize>()
    }

    /// The filters of the requests that were sent and not answered.
    pub(super) fn unanswered(&self) -> Vec<String> {
        let filters = |request: &Request| match &request.kind {
            RequestKind::Subscribe(filters) => filters.iter().map(|to| to.filter.clone()).collect::<Vec<_>>(),
            RequestKind::Unsubscribe(filters) => filters.clone(),
        };
        self.outstanding.iter().flat_map(filters).collect()
    }

    /// Notes the broker's answer to a SUBSCRIBE in `stored`. An answer to nothing we asked is passed over.
    pub(super) fn on_suback(
        &mut self,
        suback: &SubAck,
        stored: &mut StoredSubscriptions,
        out: &mut BytesMut,
    ) -> Result<Vec<Answer>, Malformed> {
        let fits = |request: &Request| match &request.kind {
            RequestKind::Subscribe(filters) => {
                request.packet_id != suback.packet_id || filters.len() == suback.codes.len()
            }
            RequestKind::Unsubscribe(_) => true,
        };
        // Such an answer answers nothing: the request stays unanswered.
        if !self.outstanding.iter().all(fits) {
            return Err(Malformed("a SUBACK with more or fewer codes than the SUBSCRIBE had filters"));
        }
        let Some(RequestKind::Subscribe(filters)) = self.take(suback.packet_id) else { return Ok(Vec::new()) };
        let answers: Vec<Answer> =
            filters.into_iter().zip(&suback.codes).map(|(asked, &code)| Answer { asked, code }).collect();
        for Answer { asked, code } in &answers {
            if *code < 0x80 {
                stored.subscribed(StoredFilter {
                    filter: asked.filter.clone(),
                    qos: asked.qos.level(),
                    granted: *code,
                    identifier: asked.identifier,
                    properties: asked.properties.clone(),
                });
            } else {
                // A refusal replaces nothing, but the next connect should ask again.
                stored.unsubscribed(&asked.filter);
            }
        }
        self.send_more(out);
        Ok(answers)
    }

    /// Notes the broker's answer to an UNSUBSCRIBE in `stored`, and returns the filters that are gone.
    pub(super) fn on_unsuback(
        &mut self,
        packet_id: u16,
        stored: &mut StoredSubscriptions,
        out: &mut BytesMut,
    ) -> Vec<String> {
        let Some(RequestKind::Unsubscribe(filters)) = self.take(packet_id) else { return Vec::new() };
        // Whatever the codes say, the subscription is not there: it is gone, or never was.
        filters.iter().for_each(|filter| stored.unsubscribed(filter));
        self.send_more(out);
        filters
    }

    /// The filters of `plan` that must be subscribed to now.
    fn missing(
        &self,
        plan: &Subscriptions,
        stored: &StoredSubscriptions,
        caution: &Caution,
        all: bool,
    ) -> Vec<SubscribeTo> {
        let (now, limits) = (Instant::now(), &caution.limits);
        let missing = plan.list().iter().filter_map(|subscription| {
            let filter = &subscription.filter;
            let qos = subscription.qos.min(limits.qos_max);
            // 3.1.1 has no properties.
            let properties = match self.version {
                MqttVersion::V3 => Vec::new(),
                MqttVersion::V5 => subscription.properties.clone(),
            };
            let is_known = !all
                && stored.filter(filter).is_some_and(|known| {
                    known.qos == qos.level()
                        && known.identifier == subscription.identifier
                        && known.properties == properties
                });
            let is_out = is_known || caution.is_barred(filter, now) || limits.refusal(self.version, filter).is_some();
            (!is_out).then(|| SubscribeTo {
                filter: filter.clone(),
                qos,
                identifier: subscription.identifier,
                properties,
            })
        });
        missing.collect()
    }

    /// As many filters to a packet as it may hold.
    fn in_packets<T>(&self, filters: Vec<T>, caution: &Caution, name: impl Fn(&T) -> &str) -> Vec<Vec<T>> {
        let bytes_max = caution.limits.packet_bytes_max as usize;
        let filters_max = if caution.asks_singly() { 1 } else { FILTERS_PER_PACKET };
        let mut packets: Vec<Vec<T>> = Vec::new();
        for filter in filters {
            match packets.last_mut() {
                Some(packet)
                    if packet.len() < filters_max
                        && subscribe_bytes(self.version, packet.iter().chain([&filter]).map(&name)) <= bytes_max =>
                {
                    packet.push(filter);
                }
                _ => packets.push(vec![filter]),
            }
        }
        packets
    }

    /// Sends what need not wait.
    fn send_more(&mut self, out: &mut BytesMut) {
        while self.queue.front().is_some_and(|next| self.outstanding.is_empty() || !next.waits)
            && let Some(next) = self.queue.pop_front()
        {
            let packet_id = self.next_packet_id();
            match &next.kind {
                RequestKind::Subscribe(filters) => {
                    outgoing::subscribe(self.version, packet_id, &filters.iter().collect::<Vec<_>>(), out);
                }
                RequestKind::Unsubscribe(filters) => {
                    outgoing::unsubscribe(self.version, packet_id, filters.clone(), out);
                }
            }
            self.outstanding.push(Request { packet_id, kind: next.kind });
        }
    }

    fn take(&mut self, packet_id: u16) -> Option<RequestKind> {
        let position = self.outstanding.iter().position(|request| request.packet_id == packet_id)?;
        Some(self.outstanding.swap_remove(position).kind)
    }

    fn next_packet_id(&mut self) -> u16 {
        self.packet_id = self.packet_id.checked_sub(1).filter(|&id| id > 0).unwrap_or(u16::MAX);
        self.packet_id
    }
}

/// The filters that are subscribed to, that `plan` does not need, and that can be given up now.
pub(super) fn superfluous(plan: &Subscriptions, stored: &StoredSubscriptions, caution: &Caution) -> Vec<String> {
    let now = Instant::now();
    let is_superfluous = |filter: &&String| plan.get(filter).is_none() && !caution.is_barred(filter, now);
    stored.filters.keys().filter(is_superfluous).cloned().collect()
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
