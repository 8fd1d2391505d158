//! One connection from CONNACK to its end: sends queued messages, receives acknowledgements and requests, keeps alive.
//!
//! One turn of the loop handles everything that a read returned, and writes everything that may be sent, in one write.
//! Answers go before batches, because clients wait for them; answers to messages go before answers to queries, because
//! one client can ask any number of queries. While nobody takes the requests, or the broker reads
//! nothing, the connection is not read.
//!
//! While it is looked for the packet that makes the broker end connections ([`super::suspicion`]), one packet goes at a
//! time.

mod topics;

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::handle::Answer;
use super::put::{Put, put};
use super::request::Request;
use super::run::Shared;
use super::suspicion::End;
use super::window::{Cause, Meaning, Window};
use crate::config::MqttVersion;
use crate::message::Qos;
use crate::mqtt::handshake::said;
use crate::mqtt::inbox::Frame;
use crate::mqtt::keepalive::{Due, KeepAlive};
use crate::mqtt::limits::Limits;
use crate::mqtt::link::Link;
use crate::mqtt::outgoing::{self, AckKind};
use crate::mqtt::packet::{self, ConnAck, Control, Incoming};
use crate::mqtt::publish::Publish;
use crate::mqtt::reason;
use crate::mqtt::wire::Malformed;

/// Bytes that are encoded ahead of the socket.
const AHEAD_BYTES: usize = 128 * 1024;
/// An answer that waited longer for a connection is of no use to anybody.
const ANSWER_AGE_MAX: Duration = Duration::from_secs(30);
/// At a stop: how long the broker may take to acknowledge what is queued.
const STOP_WAIT: Duration = Duration::from_secs(2);
/// For a farewell on a connection that may be dead.
const FAREWELL_WAIT: Duration = Duration::from_secs(1);
/// With nothing to wait for, the loop looks around this often all the same.
const IDLE: Duration = Duration::from_secs(3600);

/// Reasons of a DISCONNECT that no packet is to blame for: the server is busy, stops, heard nothing, gave the session to
/// another connection, obeys an administrator or sends us elsewhere (MQTT 5.0, §3.14.2.1).
const OF_NO_PACKET: [u8; 7] = [0x89, 0x8B, 0x8D, 0x8E, 0x98, 0x9C, 0x9D];

/// Why a connection is over.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// We were asked to stop.
    Shutdown,
    /// In words. `needs_a_person`: the broker will not have us before something is changed. `by_broker`: it ended the
    /// connection, perhaps for a packet.
    Lost { words: String, needs_a_person: bool, by_broker: bool },
}

impl From<Malformed> for Ended {
    fn from(malformed: Malformed) -> Ended {
        lost(malformed.to_string())
    }
}

fn lost(words: impl Into<String>) -> Ended {
    Ended::Lost { words: words.into(), needs_a_person: false, by_broker: false }
}

fn failed(error: &std::io::Error) -> Ended {
    let words = match error.kind() {
        ErrorKind::UnexpectedEof => "the broker closed the connection".to_owned(),
        _ => format!("the connection failed: {error}"),
    };
    let ends = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    Ended::Lost { words, needs_a_person: false, by_broker: ends.contains(&error.kind()) }
}

/// One connection.
pub(super) struct Session<'a> {
    shared: &'a mut Shared,
    link: Link,
    version: MqttVersion,
    limits: Limits,
    window: Window,
    keep_alive: KeepAlive,
    /// An answer that is to be sent next.
    answer: Option<Answer>,
    /// The requested filters.
    filters: Vec<String>,
    /// Those of them that are yet to be asked for.
    to_ask: VecDeque<String>,
    began: Instant,
    /// The broker has answered a PINGREQ.
    is_proven: bool,
    refused_again_at: Option<Instant>,
    /// For a packet whose QoS the broker does not take.
    lowered: Vec<u8>,
    reads: bool,
    /// Something waits only for bytes to be written.
    wants_room: bool,
    /// At a stop: how long what is queued may take.
    stop_at: Option<Instant>,
}

impl<'a> Session<'a> {
    /// A connection that the broker has just accepted with `connack`.
    pub(super) fn new(shared: &'a mut Shared, link: Link, connack: &ConnAck) -> Session<'a> {
        let config = &shared.config;
        let keep_alive_s = connack.server_keep_alive_s.unwrap_or_else(|| outgoing::keep_alive_s(config.keep_alive));
        let version = config.version;
        Session {
            version,
            limits: connack.limits.clone(),
            window: Window::new(version, &connack.limits),
            keep_alive: KeepAlive::new(Duration::from_secs(u64::from(keep_alive_s)), Instant::now()),
            answer: None,
            filters: Vec::new(),
            to_ask: VecDeque::new(),
            began: Instant::now(),
            is_proven: false,
            refused_again_at: None,
            lowered: Vec::new(),
            reads: true,
            wants_room: false,
            stop_at: None,
            link,
            shared,
        }
    }

    /// Runs until the connection is over. What was not answered by then will be sent on the next, if it is of a batch.
    pub(super) async fn run(mut self) -> Ended {
        let ended = self.converse().await;
        if ended == Ended::Shutdown {
            self.link.out.extend_from_slice(&outgoing::DISCONNECT);
            // Whether the farewell arrives changes nothing.
            let _ = timeout(FAREWELL_WAIT, self.link.close()).await;
        }
        let unanswered: Vec<Cause> = self.window.into_unanswered().collect();
        let messages = unanswered.iter().filter_map(|cause| match cause {
            Cause::Batch(batch, index) => Some((*batch, *index)),
            _ => None,
        });
        self.shared.unsettled.rewind(messages);
        let answers = unanswered.iter().filter(|cause| matches!(cause, Cause::Answer(_))).count();
        self.shared.events.answers_lost(answers as u64 + u64::from(self.answer.is_some()));
        if let Ended::Lost { words, by_broker, .. } = &ended {
            let end = End { by_broker: *by_broker, lasted: self.began.elapsed(), is_proven: self.is_proven };
            if let Some(culprit) = self.shared.suspicion.ended(&end, &unanswered) {
                topics::give_up(self.shared, culprit, words);
            }
        }
        ended
    }

    async fn converse(&mut self) -> Ended {
        let timer = sleep_until(Instant::now());
        tokio::pin!(timer);
        self.reconcile();
        if self.shared.suspicion.is_careful() {
            self.link.out.extend_from_slice(&outgoing::PINGREQ);
        }
        loop {
            // The first turn finds what came in one read with CONNACK.
            if let Err(ended) = self.take_inbox() {
                return ended;
            }
            if let Err(ended) = self.advance() {
                return ended;
            }
            let deadline = self.deadline();
            if timer.is_elapsed() || deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            let (has_answer, has_room) = (self.answer.is_some(), self.shared.unsettled.has_room());
            let (is_stopping, waits_for_requests) = (self.stop_at.is_some(), !self.has_room_for_requests());
            let Shared { batches, message_answers, query_answers, filters, requests, unsettled, shutdown, .. } =
                &mut *self.shared;
            let (link, reads, wants_room) = (&mut self.link, self.reads, self.wants_room);
            let exchange =
                async { if wants_room { link.exchange_or_drain(reads).await } else { link.exchange(reads).await } };
            let room = async { drop(requests.reserve().await) };
            tokio::select! {
                biased;
                result = exchange => if let Err(error) = result {
                    return failed(&error);
                },
                Some(answer) = message_answers.recv(), if !has_answer => self.answer = Some(answer),
                Some(answer) = query_answers.recv(), if !has_answer => self.answer = Some(answer),
                Some(queued) = batches.recv(), if has_room => unsettled.add(queued),
                Ok(()) = filters.changed() => self.reconcile(),
                () = &mut timer => {}
                // Somebody takes requests again, or nobody will.
                () = room, if waits_for_requests => {}
                () = shutdown.requested(), if !is_stopping => {}
            }
        }
    }

    /// Takes what was read, until there is no room for requests.
    fn take_inbox(&mut self) -> Result<(), Ended> {
        while self.has_room_for_requests() {
            let Some(frame) = self.link.inbox.next()? else { break };
            let (publish, is_too_large) = match frame {
                Frame::Whole { first, body } => match Incoming::decode(self.version, first, body)? {
                    Incoming::Publish(publish) => (publish, false),
                    Incoming::Control(control) => {
                        self.on_control(control)?;
                        continue;
                    }
                },
                Frame::TooLarge { first, ref head } => (Publish::decode_head(self.version, first & 0x0F, head)?, true),
            };
            if publish.topic.is_empty() {
                return Err(lost("the broker used a topic alias, which was not allowed"));
            }
            // A retained message is none that anybody waits for an answer to: it would come again at every connection.
            let request = if publish.retain { None } else { Request::new(&publish, is_too_large)? };
            match publish.qos {
                Qos::AtMostOnce => {}
                Qos::AtLeastOnce => {
                    outgoing::acknowledge(AckKind::PubAck, publish.packet_id, &mut self.link.out);
                }
                Qos::ExactlyOnce => {
                    outgoing::acknowledge(AckKind::PubRec, publish.packet_id, &mut self.link.out);
                }
            }
            if let Some(request) = request {
                // There is room, or nobody is left who would take it.
                let _ = self.shared.requests.try_send(request);
            }
        }
        Ok(())
    }

    fn has_room_for_requests(&self) -> bool {
        self.shared.requests.is_closed() || self.shared.requests.capacity() > 0
    }

    fn on_control(&mut self, control: Control) -> Result<(), Ended> {
        match control {
            Control::Answer(answer) => self.on_answer(&answer)?,
            Control::PingResp => {
                self.is_proven = true;
                self.keep_alive.answered();
                if self.window.is_passed_over(Instant::now()) {
                    return Err(lost("the broker answers pings and not a packet that it got before"));
                }
            }
            Control::PubRel { packet_id } => {
                outgoing::acknowledge(AckKind::PubComp, packet_id, &mut self.link.out);
            }
            Control::SubAck(suback) => self.on_suback(&suback),
            Control::UnsubAck { packet_id } => {
                _ = self.window.granted(packet_id);
            }
            Control::Disconnect(farewell) => {
                let tail = said(farewell.reason.as_deref(), farewell.server_reference.as_deref());
                let words = format!("the broker ended the connection: {}{tail}", reason::disconnect(farewell.code));
                let needs_a_person = reason::needs_a_person(MqttVersion::V5, farewell.code);
                let by_broker = !OF_NO_PACKET.contains(&farewell.code);
                return Err(Ended::Lost { words, needs_a_person, by_broker });
            }
            Control::ConnAck(_) => return Err(lost(Malformed("a second CONNACK").to_string())),
        }
        Ok(())
    }

    fn on_answer(&mut self, answer: &packet::Answer) -> Result<(), Ended> {
        let Shared { unsettled, events, suspicion, .. } = &mut *self.shared;
        let meaning = self.window.answered(answer);
        if let Meaning::Taken(cause) | Meaning::Refused(cause) = &meaning {
            suspicion.done(cause);
        }
        match meaning {
            Meaning::Nothing => {}
            Meaning::Release => outgoing::release(answer.packet_id, &mut self.link.out),
            Meaning::Taken(Cause::Batch(batch, index)) => unsettled.settle(batch, index, None),
            Meaning::Taken(_) => events.answered(),
            Meaning::Refused(cause) => {
                let why = format!("{}{}", reason::publish_refusal(answer.code), said(answer.reason.as_deref(), None));
                match cause {
                    Cause::Batch(batch, index) => {
                        events.refused_message(None, &why);
                        unsettled.settle(batch, index, Some((answer.code, why)));
                    }
                    Cause::Answer(topic) => events.refused_answer(&topic, &why),
                    Cause::Subscribe(_) | Cause::Unsubscribe(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Everything that is due apart from what was read: messages, timers, the end.
    fn advance(&mut self) -> Result<(), Ended> {
        self.fill();
        let now = Instant::now();
        self.shared.events.tell_losses(now);
        if self.stop_at.is_none() && self.shared.shutdown.is_requested() {
            self.stop_at = Some(now + STOP_WAIT);
        }
        if let Some(stop_at) = self.stop_at {
            let is_through = self.answer.is_none() && self.window.is_empty() && self.shared.unsettled.is_empty();
            if now >= stop_at || is_through && self.link.out.is_empty() {
                return Err(Ended::Shutdown);
            }
            self.wants_room |= is_through;
        }
        self.reads = self.has_room_for_requests() && !self.link.is_clogged();
        self.keep_alive.reading(self.reads, now);
        match self.keep_alive.due(now, self.link.last_sent, self.link.last_heard) {
            Due::Nothing => {}
            Due::Ping => self.link.out.extend_from_slice(&outgoing::PINGREQ),
            Due::GiveUp => return Err(lost("the broker answered no PINGREQ within mqtt.keep_alive")),
        }
        if self.refused_again_at.is_some_and(|at| now >= at) {
            self.reconcile();
        }
        Ok(())
    }

    /// Encodes what may go out now: requests for topics, then answers, then batches.
    fn fill(&mut self) {
        self.wants_room = false;
        loop {
            if self.shared.suspicion.is_careful() && !(self.is_proven && self.window.is_empty()) {
                return;
            }
            if self.link.out.len() >= AHEAD_BYTES {
                self.wants_room = true;
                return;
            }
            if let Some(filter) = self.to_ask.pop_front() {
                self.ask(filter);
                continue;
            }
            if self.answer.is_none() {
                let Shared { message_answers, query_answers, .. } = &mut *self.shared;
                self.answer = message_answers.try_recv().or_else(|_| query_answers.try_recv()).ok();
            }
            let has_sent = match self.answer {
                Some(_) => self.send_answer(),
                None => false,
            };
            if has_sent || self.send_of_batch() {
                continue;
            }
            let Shared { unsettled, batches, .. } = &mut *self.shared;
            if unsettled.next().is_some() || !unsettled.has_room() {
                return;
            }
            match batches.try_recv() {
                Ok(queued) => unsettled.add(queued),
                Err(_) => {
                    self.shared.suspicion.all_done();
                    return;
                }
            }
        }
    }

    /// Returns whether the waiting answer is done with.
    fn send_answer(&mut self) -> bool {
        let Some(answer) = self.answer.take() else { return false };
        let Some(packet) = answer.message.packet(0) else { return true };
        if answer.queued.elapsed() >= ANSWER_AGE_MAX {
            self.shared.events.answers_lost(1);
            return true;
        }
        let cause = || Cause::Answer(packet.topic().into());
        let out = &mut self.link.out;
        match put(packet, &self.limits, &mut self.window, &mut self.lowered, out, cause) {
            Put::Sent { is_open: true } => {}
            Put::Sent { is_open: false } => self.shared.events.answered(),
            Put::NoRoom => {
                self.answer = Some(answer);
                return false;
            }
            Put::TooLarge(why) => self.shared.events.refused_answer(packet.topic(), &why),
        }
        true
    }

    /// Returns whether the next message of the batches is done with.
    fn send_of_batch(&mut self) -> bool {
        let Shared { unsettled, events, suspicion, .. } = &mut *self.shared;
        let Some((batch, index, packet)) = unsettled.next() else { return false };
        let cause = || Cause::Batch(batch, index);
        let out = &mut self.link.out;
        match put(packet, &self.limits, &mut self.window, &mut self.lowered, out, cause) {
            Put::Sent { is_open: true } => {
                unsettled.sent(true);
                return true;
            }
            Put::Sent { is_open: false } => unsettled.sent(false),
            Put::NoRoom => return false,
            Put::TooLarge(why) => {
                events.refused_message(Some(packet.topic()), &why);
                unsettled.pass_over(why);
            }
        }
        suspicion.done(&Cause::Batch(batch, index));
        true
    }

    /// When the loop must look around again, if nothing happens before.
    fn deadline(&self) -> Instant {
        let keep_alive = self.keep_alive.deadline(self.link.last_sent, self.link.last_heard);
        [keep_alive, self.refused_again_at, self.stop_at, self.shared.events.losses_due()]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or_else(|| Instant::now() + IDLE)
    }
}
