//! Which topics of requests are asked for, and what is no longer asked for or sent.

use std::time::Duration;

use tokio::time::Instant;

use super::Session;
use crate::message::Qos;
use crate::mqtt::handshake::said;
use crate::mqtt::outgoing::{self, SubscribeTo};
use crate::mqtt::packet::SubAck;
use crate::mqtt::reason;
use crate::outbound::run::Shared;
use crate::outbound::suspicion::STRIKES;
use crate::outbound::window::Cause;

/// The interval of new attempts with refused request topics: the access rules may have changed meanwhile.
const REFUSED_AGAIN: Duration = Duration::from_secs(600);

impl Session<'_> {
    pub(super) fn on_suback(&mut self, suback: &SubAck) {
        let Some(cause) = self.window.granted(suback.packet_id) else { return };
        self.shared.suspicion.done(&cause);
        let Cause::Subscribe(filter) = cause else { return };
        let code = suback.codes.first().copied().unwrap_or(0x80);
        let refusal = (code >= 0x80).then(|| {
            format!("{}{}", reason::subscribe_refusal(self.version, code), said(suback.reason.as_deref(), None))
        });
        if refusal.is_some() {
            self.filters.retain(|asked| *asked != filter);
            self.refused_again_at.get_or_insert(Instant::now() + REFUSED_AGAIN);
        }
        self.shared.events.subscribed(&filter, refusal);
    }

    /// Asks for the filters that are wanted and were not asked for, and gives up the others.
    pub(super) fn reconcile(&mut self) {
        let now = Instant::now();
        let Shared { filters, left_out, events, .. } = &mut *self.shared;
        let mut wanted = filters.borrow_and_update().clone();
        events.wanted(&wanted);
        left_out.retain(|filter, (until, _)| *until > now && wanted.contains(filter));
        left_out.iter().for_each(|(filter, (_, why))| events.subscribed(filter, Some(why.clone())));
        self.refused_again_at = left_out.values().map(|(until, _)| *until).min();
        wanted.retain(|filter| !left_out.contains_key(filter));
        self.to_ask.retain(|filter| wanted.contains(filter));
        self.to_ask.extend(wanted.iter().filter(|filter| !self.filters.contains(filter)).cloned());
        for filter in self.filters.iter().filter(|filter| !wanted.contains(filter)) {
            let packet_id = self.window.asked(Cause::Unsubscribe(filter.clone()));
            outgoing::unsubscribe(self.version, packet_id, vec![filter.clone()], &mut self.link.out);
        }
        self.filters = wanted;
    }

    pub(super) fn ask(&mut self, filter: String) {
        let packet_id = self.window.asked(Cause::Subscribe(filter.clone()));
        let to = SubscribeTo { filter, qos: Qos::AtLeastOnce, identifier: None, properties: Vec::new() };
        outgoing::subscribe(self.version, packet_id, &[&to], &mut self.link.out);
    }
}

/// The broker ends the connection for a packet, each time with these words: it is not sent again.
pub(super) fn give_up(shared: &mut Shared, culprit: Cause, words: &str) {
    let Shared { unsettled, events, left_out, .. } = shared;
    let why = format!("the broker ended {STRIKES} connections in a row as soon as it was sent ({words})");
    match culprit {
        Cause::Batch(..) => {
            if let Some((_, _, packet)) = unsettled.next() {
                events.refused_message(Some(packet.topic()), &why);
                unsettled.pass_over(why);
            }
        }
        Cause::Subscribe(filter) => {
            left_out.insert(filter, (Instant::now() + REFUSED_AGAIN, why));
        }
        Cause::Answer(_) | Cause::Unsubscribe(_) => {}
    }
}
