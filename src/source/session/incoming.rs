//! Packets from the broker. All messages of one read are staged and handed to the journal together; a violation of the
//! protocol ends the connection.

use tokio::time::Instant;

use super::ended::farewell_words;
use super::{Ended, Session, Shared, Taken};
use crate::clock::{self, Timestamp};
use crate::config::MqttVersion;
use crate::message::Qos;
use crate::mqtt::handshake::said;
use crate::mqtt::inbox::Frame;
use crate::mqtt::outgoing::{self, AckKind};
use crate::mqtt::packet::{self, Control, Incoming};
use crate::mqtt::publish::{NotTaken, Publish};
use crate::mqtt::reason;
use crate::mqtt::wire::Malformed;
use crate::source::company::Read;
use crate::source::intake::Journal;

impl<J: Journal> Session<'_, J> {
    /// Stages everything that was read and hands it over once.
    pub(super) fn take_inbox(&mut self) -> Option<Ended> {
        let mut received_at = None;
        let ended = loop {
            match self.next_packet(&mut received_at) {
                Ok(Step::Starved) => break None,
                Ok(Step::Taken) => {}
                Ok(Step::Control(control)) => match self.on_control(control) {
                    Ok(None) => {}
                    Ok(ended) => break ended,
                    Err(malformed) => break Some(self.refuse(malformed)),
                },
                Err(NotTaken::Malformed(malformed)) => break Some(self.refuse(malformed)),
                Err(NotTaken::Alias(alias)) => break Some(self.refuse_alias(alias)),
            }
        };
        if let Some(alias) = self.aliases.take_misused()
            && !std::mem::replace(&mut self.shared.aliases_misused, true)
        {
            let is_lenient = !matches!(ended, Some(Ended::AliasMisused(_)));
            self.shared.events.alias_misused(alias, self.shared.config.topic_alias_maximum, is_lenient);
        }
        if received_at.is_some() {
            crash_point!("source.staged");
            self.shared.store.journal.set_unacknowledged(self.ledger.messages());
            self.hand_over_or_wait(ended.is_some());
        }
        if self.shared.store.copies.take_found() {
            self.do_without_identifiers();
        }
        ended
    }

    /// Hands what is staged to the journal, if it need not wait for company.
    fn hand_over_or_wait(&mut self, is_over: bool) {
        let Taken { messages, bytes, has_releases, awaits_releases } = std::mem::take(&mut self.taken);
        if !self.company.is_wanted() {
            return self.shared.store.submit(&self.shared.events.metrics);
        }
        if messages == 0 && !has_releases && !is_over {
            return;
        }
        let read = Read {
            messages,
            bytes,
            unacknowledged: self.ledger.messages(),
            is_urgent: has_releases || is_over,
            is_watchful: awaits_releases,
        };
        let was_waiting = self.company.until().is_some();
        if self.company.is_due_after(read, Instant::now()) {
            return self.shared.store.submit(&self.shared.events.metrics);
        }
        if !was_waiting {
            // The rest of a burst may lie in a sender's kernel that waits for this (Nagle). What comes later may wait there.
            self.link.acknowledge_segments();
        }
        if self.company.rest().is_some() {
            self.link.leave_unread();
        }
    }

    /// The connection is over: what waits for company goes.
    pub(super) fn hand_over(&mut self) {
        if self.company.until().is_some() {
            self.company.go();
            self.shared.store.submit(&self.shared.events.metrics);
        }
    }

    /// Takes one packet out of the inbox. `received_at` is read from the clock once for all that came in one read.
    fn next_packet(&mut self, received_at: &mut Option<Timestamp>) -> Result<Step, NotTaken> {
        let Some(frame) = self.link.inbox.next()? else { return Ok(Step::Starved) };
        let received_at = *received_at.get_or_insert_with(clock::now);
        let (publish, too_large) = match frame {
            Frame::Whole { first, body } => match Incoming::decode(self.version, first, body)? {
                Incoming::Publish(publish) => (publish, false),
                Incoming::Control(control) => return Ok(Step::Control(control)),
            },
            Frame::TooLarge { first, ref head } => (Publish::decode_head(self.version, first & 0x0F, head)?, true),
        };
        crash_point!("source.received");
        if let Some((ordinal, kind, packet_id)) =
            self.shared.store.take(&publish, &mut self.aliases, received_at, too_large)?
        {
            self.ledger.owe(ordinal, kind, packet_id);
            if !publish.dup {
                self.shared.skipped.saw(packet_id);
            }
        }
        self.taken.messages += 1;
        self.taken.bytes += publish.payload.len();
        self.taken.awaits_releases |= publish.qos == Qos::ExactlyOnce;
        Ok(Step::Taken)
    }

    fn on_control(&mut self, control: Control) -> Result<Option<Ended>, Malformed> {
        match control {
            Control::PubRel { packet_id } => {
                self.taken.has_releases = true;
                let (ordinal, kind, packet_id) = self.shared.store.release(packet_id);
                self.ledger.owe(ordinal, kind, packet_id);
            }
            Control::PingResp => self.keep_alive.answered(),
            Control::SubAck(mut suback) => {
                suback.limit(self.shared.caution.limits.qos_max.level());
                self.on_suback(&suback)?;
            }
            Control::UnsubAck { packet_id } => {
                let Shared { stored, events, caution, .. } = &mut *self.shared;
                for filter in self.reconciler.on_unsuback(packet_id, stored, &mut self.link.out) {
                    caution.answered(&filter, false);
                    events.unsubscribed(&filter);
                }
                self.on_answer();
            }
            Control::Disconnect(farewell) => {
                self.farewell = Some(farewell.code);
                return Ok(Some(farewell_words(&farewell)));
            }
            Control::Answer(answer) => self.on_status_answer(&answer)?,
            Control::ConnAck(_) => return Err(Malformed("a second CONNACK")),
        }
        Ok(None)
    }

    /// Only `online` is ever published here.
    fn on_status_answer(&mut self, answer: &packet::Answer) -> Result<(), Malformed> {
        let Shared { presence, events, .. } = &mut *self.shared;
        if answer.kind != AckKind::PubAck || !presence.answered(answer.packet_id) {
            return Err(Malformed("an answer to a message that was never sent"));
        }
        if answer.code >= 0x80 {
            let why = format!("{}{}", reason::publish_refusal(answer.code), said(answer.reason.as_deref(), None));
            events.presence_refused(presence.topic().unwrap_or_default(), &why);
        }
        Ok(())
    }

    /// The broker broke the protocol: tells it so, where there is a way to.
    fn refuse(&mut self, malformed: Malformed) -> Ended {
        if self.version == MqttVersion::V5 {
            self.link.out.extend_from_slice(&outgoing::DISCONNECT_MALFORMED);
        }
        Ended::ByBroker(malformed.to_string())
    }

    /// The broker used an alias that does not hold: whatever else came with it is not taken either, and comes again.
    fn refuse_alias(&mut self, alias: u16) -> Ended {
        self.company.go();
        self.shared.store.discard();
        self.link.out.extend_from_slice(&outgoing::DISCONNECT_ALIAS);
        Ended::AliasMisused(alias)
    }
}

/// What became of one look into the inbox.
enum Step {
    /// More must be read first.
    Starved,
    /// A message was staged.
    Taken,
    Control(Control),
}
