//! One connection from CONNACK to its end: read, stage, acknowledge, keep alive.
//!
//! Nothing here blocks. One turn of the loop takes everything a read brought, hands it to the journal once, and writes
//! every acknowledgement that became due in one go. While the journal pauses nothing is read, but acknowledgements and
//! pings go on. The acknowledgements owed are a part of the connection: they end with it.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::caution::{Caution, Evidence};
use super::company::{Company, Read};
use super::events::Events;
use super::intake::Journal;
use super::ledger::AckLedger;
use super::presence::Presence;
use super::reconcile::{self, Reconciler};
use super::skipped::SkippedIds;
use super::store::Store;
use super::stored::{StoredSubscriptions, SubscriptionsFile};
use super::subscriptions::Subscriptions;
use crate::clock::{self, Timestamp};
use crate::config::{self, MqttVersion};
use crate::mqtt::backoff::RefusalWait;
use crate::mqtt::handshake::said;
use crate::mqtt::inbox::Frame;
use crate::mqtt::keepalive::{Due, KeepAlive};
use crate::mqtt::link::Link;
use crate::mqtt::outgoing::{self, AckKind};
use crate::mqtt::packet::{self, ConnAck, Control, Disconnect, Incoming, SubAck};
use crate::mqtt::publish::{NotTaken, Publish, TopicAliases};
use crate::mqtt::reason;
use crate::mqtt::wire::Malformed;
use crate::shutdown::Shutdown;

/// How long the broker may take to answer SUBSCRIBE or UNSUBSCRIBE. Brokers that look rights up elsewhere take seconds.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// For a farewell on a connection that may be dead.
const FAREWELL_WAIT: Duration = Duration::from_secs(1);
/// At a stop: a backlogged journal of which nothing was heard for so long is full or broken, not slow.
const STALLED: Duration = Duration::from_secs(1);
/// With nothing to wait for, the loop looks around this often all the same.
const IDLE: Duration = Duration::from_secs(3600);

/// What outlives a connection and every connection works on.
pub(super) struct Shared<J> {
    pub(super) config: config::Mqtt,
    pub(super) plan: watch::Receiver<Subscriptions>,
    pub(super) store: Store<J>,
    pub(super) stored: StoredSubscriptions,
    pub(super) file: SubscriptionsFile,
    pub(super) events: Events,
    pub(super) skipped: SkippedIds,
    pub(super) caution: Caution,
    /// The broker used a topic alias on the last connection that did not hold.
    pub(super) aliases_misused: bool,
    pub(super) presence: Presence,
    pub(super) shutdown: Shutdown,
}

impl<J> Shared<J> {
    /// What to subscribe to now.
    pub(super) fn adapted_plan(&self) -> Subscriptions {
        self.caution.adapt(&self.plan.borrow(), self.config.version, None)
    }
}

/// Why a connection is over.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
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
    pub(super) fn words(&self) -> &str {
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
pub(super) struct Finished {
    pub(super) ended: Ended,
    /// The filters for which the broker owed an answer.
    pub(super) unanswered: Vec<String>,
    /// What the end says about those.
    pub(super) evidence: Evidence,
}

/// One connection.
pub(super) struct Session<'a, J> {
    shared: &'a mut Shared<J>,
    link: Link,
    version: MqttVersion,
    ledger: AckLedger,
    aliases: TopicAliases,
    keep_alive: KeepAlive,
    /// What is subscribed to on this connection.
    plan: Subscriptions,
    /// The broker refused something since the plan was made.
    is_outdated: bool,
    reconciler: Reconciler,
    /// The code of the broker's DISCONNECT.
    farewell: Option<u8>,
    /// Nothing is taken until the journal's clear record with this ordinal is durable and the file says so: what is
    /// taken later must stay known, whenever the process dies.
    clearing: Option<u64>,
    /// Subscribe even to what the stored list says is subscribed.
    subscribe_to_all: bool,
    wants_reconcile: bool,
    /// When the broker was last asked or answered, while it owes an answer.
    asked_at: Option<Instant>,
    /// When to ask again for filters that are refused or left out.
    retry_at: Option<Instant>,
    refusals: RefusalWait,
    reads: bool,
    company: Company,
    /// What was taken since the company was last asked.
    taken: Taken,
}

/// Packets taken out of the inbox.
#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    messages: usize,
    /// Of their payloads.
    bytes: usize,
    /// A PUBREL was among them.
    has_releases: bool,
}

impl<'a, J: Journal> Session<'a, J> {
    /// A session that the broker has just accepted with `connack`. `trusted` = the stored list tells what the broker's
    /// session holds. `plan` is [`Shared::adapted_plan`]'s.
    pub(super) fn new(
        shared: &'a mut Shared<J>,
        link: Link,
        connack: &ConnAck,
        trusted: bool,
        plan: Subscriptions,
    ) -> Session<'a, J> {
        let config = &shared.config;
        let keep_alive_s = connack.server_keep_alive_s.unwrap_or_else(|| outgoing::keep_alive_s(config.keep_alive));
        let version = config.version;
        shared.skipped.on_connected();
        let aliases_misused = std::mem::take(&mut shared.aliases_misused);
        let clearing = shared.stored.qos2_clear_pending.then(|| shared.store.clear());
        shared.store.sieve = plan.sieve();
        let with_identifiers = version == MqttVersion::V5 && shared.caution.limits.subscription_identifiers;
        shared.store.copies.begin(with_identifiers && plan.has_identifiers());
        Session {
            version,
            ledger: AckLedger::default(),
            aliases: TopicAliases::new(config.topic_alias_maximum, aliases_misused),
            keep_alive: KeepAlive::new(Duration::from_secs(u64::from(keep_alive_s)), Instant::now()),
            plan,
            is_outdated: false,
            reconciler: Reconciler::new(version),
            farewell: None,
            clearing,
            subscribe_to_all: !trusted,
            wants_reconcile: true,
            asked_at: None,
            retry_at: None,
            refusals: RefusalWait::default(),
            reads: true,
            company: Company::new(shared.store.journal.sync_interval(), Instant::now()),
            taken: Taken::default(),
            link,
            shared,
        }
    }

    /// Runs until the connection is over.
    pub(super) async fn run(mut self) -> Finished {
        let ended = self.converse().await;
        let evidence = match (&ended, self.farewell) {
            (Ended::ByBroker(_) | Ended::Refused(_), Some(code)) => Evidence::of_disconnect(code),
            (Ended::ByBroker(_) | Ended::Cut(_), _) => Evidence::Possible,
            _ => Evidence::Unrelated,
        };
        Finished { ended, unanswered: self.reconciler.unanswered(), evidence }
    }

    async fn converse(&mut self) -> Ended {
        let timer = sleep_until(Instant::now());
        tokio::pin!(timer);
        loop {
            // The first turn finds what came in one read with CONNACK.
            let ended = if self.is_clearing() { None } else { self.take_inbox() };
            let ended = ended.or_else(|| self.advance());
            if let Some(ended) = ended {
                return self.leave(ended).await;
            }
            let deadline = self.deadline();
            // Moving the timer for every packet would cost more than waking up early once in a while.
            if timer.is_elapsed() || deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            // What the other arms wait for is looked at in every turn, so that a flood of packets starves none.
            tokio::select! {
                biased;
                result = self.link.exchange(self.reads) => if let Err(error) = result {
                    self.hand_over();
                    return Ended::Cut(cut_words(&error));
                },
                () = self.shared.store.journal.changed() => {}
                () = &mut timer => {}
                () = self.shared.shutdown.requested() => {}
                result = self.shared.file.settled(), if self.shared.file.is_busy() => match result {
                    // While something is to be cleared nothing was taken.
                    Err(error) if self.clearing.is_some() => return Ended::Unwritten(error.to_string()),
                    Err(error) => self.shared.events.not_stored(&error),
                    Ok(()) => {}
                },
                Ok(()) = self.shared.plan.changed() => (self.is_outdated, self.wants_reconcile) = (true, true),
            }
        }
    }

    /// Whether the QoS 2 identifiers of an earlier session are still to be forgotten.
    fn is_clearing(&mut self) -> bool {
        let Some(ordinal) = self.clearing else { return false };
        crash_point!("source.session.clearing");
        let Shared { store, stored, file, .. } = &mut *self.shared;
        // In this order, see `Store::is_stale`.
        if ordinal > store.journal.recorded() || store.is_stale() {
            return true;
        }
        if std::mem::take(&mut stored.qos2_clear_pending) {
            crash_point!("source.session.cleared");
            file.save(stored);
        }
        if !file.is_busy() {
            self.clearing = None;
        }
        self.clearing.is_some()
    }

    /// Stages everything that was read and hands it over once.
    fn take_inbox(&mut self) -> Option<Ended> {
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
        let Taken { messages, bytes, has_releases } = std::mem::take(&mut self.taken);
        if !self.company.is_wanted() {
            return self.shared.store.submit(&self.shared.events.metrics);
        }
        if messages == 0 && !has_releases && !is_over {
            return;
        }
        let read = Read { messages, bytes, unacknowledged: self.ledger.messages(), is_urgent: has_releases || is_over };
        let was_waiting = self.company.until().is_some();
        if self.company.is_due_after(read, Instant::now()) {
            self.shared.store.submit(&self.shared.events.metrics);
        } else if !was_waiting {
            // The rest of a burst may lie in a sender's kernel that waits for this (Nagle). What comes later may wait there.
            self.link.acknowledge_segments();
        }
    }

    /// The connection is over: what waits for company goes.
    fn hand_over(&mut self) {
        if self.company.until().is_some() {
            self.company.go();
            self.shared.store.submit(&self.shared.events.metrics);
        }
    }

    /// Identifiers do not tell this broker's copies apart: from now on no two filters shall overlap.
    fn do_without_identifiers(&mut self) {
        let Shared { store, stored, events, caution, .. } = &mut *self.shared;
        store.copies.begin(false);
        stored.identifiers_tell_nothing = true;
        caution.limits.subscription_identifiers = false;
        events.copies_alike();
        (self.is_outdated, self.wants_reconcile) = (true, true);
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

    fn on_suback(&mut self, suback: &SubAck) -> Result<(), Malformed> {
        crash_point!("source.suback.unread");
        let answers = self.reconciler.on_suback(suback, &mut self.shared.stored, &mut self.link.out)?;
        let Shared { events, caution, .. } = &mut *self.shared;
        for answer in &answers {
            let is_refused = answer.code >= 0x80;
            self.refusals.answered(answer.code);
            caution.answered(&answer.asked.filter, is_refused);
            self.is_outdated |= is_refused;
            events.answered(self.version, answer, suback.reason.as_deref(), &self.plan);
        }
        self.on_answer();
        Ok(())
    }

    /// The broker answered a request.
    fn on_answer(&mut self) {
        if self.reconciler.is_settled() {
            self.subscribe_to_all = false;
            self.asked_at = None;
            // Not at once: the plan may be another since, whose identifiers must be on the disk first.
            self.wants_reconcile = true;
        } else {
            self.asked_at = Some(Instant::now());
        }
    }

    /// Asks for what is missing, then gives up what is superfluous; once there is neither, what the broker confirmed is
    /// stored. To be called when it owes no answer.
    fn proceed(&mut self) {
        if std::mem::take(&mut self.is_outdated) {
            self.take_up_plan();
        }
        let Shared { stored, file, events, caution, .. } = &mut *self.shared;
        let now = Instant::now();
        self.asked_at = Some(now);
        self.reconciler.subscribe(&self.plan, stored, caution, self.subscribe_to_all, &mut self.link.out);
        if !self.reconciler.is_settled() {
            events.subscribing(self.reconciler.asking());
            return;
        }
        let superfluous = reconcile::superfluous(&self.plan, stored, caution);
        if !superfluous.is_empty() && std::mem::take(&mut stored.confirmed) {
            // Should the answer get lost, a list that has the filter must not be trusted.
            file.save(stored);
        }
        if !superfluous.is_empty() && file.is_busy() {
            self.asked_at = None;
            self.wants_reconcile = true;
            return;
        }
        self.reconciler.unsubscribe(superfluous, caution, &mut self.link.out);
        if self.reconciler.is_settled() {
            self.settled(now);
        }
    }

    /// The broker owes nothing more.
    fn settled(&mut self, now: Instant) {
        let Shared { stored, file, events, caution, presence, .. } = &mut *self.shared;
        self.asked_at = None;
        self.subscribe_to_all = false;
        presence.announce(self.version, &caution.limits, &mut self.link.out);
        events.settled();
        caution.settled();
        let refused = caution.has_refusals().then(|| now + self.refusals.next());
        self.retry_at = refused.into_iter().chain(caution.next_due()).min();
        stored.confirmed = true;
        crash_point!("source.subscribed");
        stored.last_connected_us = Some(clock::now().as_micros());
        file.save(stored);
    }

    /// Adapts the rules' plan to what the broker will have.
    fn take_up_plan(&mut self) {
        self.plan = self.shared.adapted_plan();
        let Shared { store, stored, events, caution, .. } = &mut *self.shared;
        store.sieve = self.plan.sieve();
        events.planned(self.version, &self.plan, stored, caution);
    }

    /// Everything that is due apart from what was read: acknowledgements, subscriptions, timers, the end.
    fn advance(&mut self) -> Option<Ended> {
        let (durable, recorded) = (self.shared.store.journal.durable(), self.shared.store.journal.recorded());
        // Asked after both, see `Store::is_stale`.
        if self.shared.store.is_stale() {
            return Some(Ended::JournalReopened);
        }
        self.ledger.release(durable, recorded, &mut self.link.out);
        self.shared.store.journal.set_unacknowledged(self.ledger.messages());
        if self.shared.shutdown.is_requested() {
            return Some(Ended::Shutdown);
        }
        let now = Instant::now();
        if self.company.is_due(now) {
            self.shared.store.submit(&self.shared.events.metrics);
        }
        if self.ledger.is_empty()
            && let Some(count) = self.shared.skipped.take_due(now, self.link.last_heard)
        {
            return Some(Ended::Skipped(count));
        }
        let is_backlogged = self.shared.store.journal.is_backlogged();
        self.reads = self.clearing.is_none() && !is_backlogged && !self.ledger.is_full() && !self.link.is_clogged();
        self.keep_alive.reading(self.reads, now);
        match self.keep_alive.due(now, self.link.last_sent, self.link.last_heard) {
            Due::Nothing => {}
            Due::Ping => self.link.out.extend_from_slice(&outgoing::PINGREQ),
            Due::GiveUp => return Some(Ended::Cut("the broker answered no PINGREQ within mqtt.keep_alive".into())),
        }
        match self.asked_at {
            // The answer may lie unread in the socket.
            Some(_) if !self.reads => self.asked_at = Some(now),
            Some(asked_at) if now >= asked_at + ANSWER_WAIT => {
                return Some(Ended::Cut("the broker did not answer SUBSCRIBE or UNSUBSCRIBE within 30 s".into()));
            }
            _ => {}
        }
        let is_due = self.retry_at.is_some_and(|at| now >= at);
        if is_due {
            self.retry_at = None;
            self.shared.caution.forget_refusals();
        }
        if is_due || self.shared.plan.has_changed().unwrap_or(false) {
            self.is_outdated = true;
            self.wants_reconcile = true;
        }
        self.reconcile();
        None
    }

    /// Brings the subscriptions in line with the plan, if that is wanted and possible now.
    fn reconcile(&mut self) {
        if !self.wants_reconcile || !self.reconciler.is_settled() {
            return;
        }
        let Shared { plan, stored, file, .. } = &mut *self.shared;
        if stored.adopt_identifiers(plan.borrow_and_update().stored()) {
            file.save(stored);
        }
        // An identifier is on the disk before the broker hears of it.
        if file.is_busy() {
            return;
        }
        self.wants_reconcile = false;
        self.proceed();
    }

    /// When the loop must look around again, if nothing happens before.
    fn deadline(&self) -> Instant {
        [
            self.keep_alive.deadline(self.link.last_sent, self.link.last_heard),
            self.asked_at.map(|asked_at| asked_at + ANSWER_WAIT),
            self.retry_at,
            self.company.until(),
            self.shared.skipped.deadline(self.link.last_heard).filter(|_| self.ledger.is_empty()),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or_else(|| Instant::now() + IDLE)
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

    /// Ends the connection. At a shutdown, what was taken is first made durable and acknowledged; the caller bounds
    /// how long that may take. What a full journal cannot take stays with the broker, and so does the session.
    async fn leave(&mut self, ended: Ended) -> Ended {
        self.hand_over();
        if let Ended::Skipped(_) = ended {
            self.link.out.extend_from_slice(&outgoing::DISCONNECT);
        }
        if ended == Ended::Shutdown {
            loop {
                // In this order: what is durable by now is acknowledged before this ends, see also `Store::is_stale`.
                let is_settled = self.shared.store.is_settled();
                let (durable, recorded) = (self.shared.store.journal.durable(), self.shared.store.journal.recorded());
                if self.shared.store.is_stale() {
                    break;
                }
                self.ledger.release(durable, recorded, &mut self.link.out);
                if is_settled {
                    break;
                }
                tokio::select! {
                    biased;
                    result = self.link.exchange(false) => if result.is_err() {
                        return ended;
                    },
                    () = self.shared.store.journal.changed() => {}
                    () = sleep(STALLED), if self.shared.store.journal.is_backlogged() => break,
                }
            }
            let Shared { presence, caution, .. } = &mut *self.shared;
            presence.farewell(self.version, &caution.limits, &mut self.link.out);
            self.link.out.extend_from_slice(&outgoing::DISCONNECT);
        }
        // Whether the farewell arrives changes nothing: what is not acknowledged comes again.
        let is_shutdown = ended == Ended::Shutdown;
        let farewell = async {
            if self.link.close().await.is_ok() && is_shutdown {
                self.link.linger().await;
            }
        };
        let _ = timeout(FAREWELL_WAIT, farewell).await;
        ended
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

fn farewell_words(farewell: &Disconnect) -> Ended {
    let tail = said(farewell.reason.as_deref(), farewell.server_reference.as_deref());
    let words = format!("the broker ended the connection: {}{tail}", reason::disconnect(farewell.code));
    match farewell.code {
        reason::SESSION_TAKEN_OVER => Ended::TakenOver(words),
        code if reason::needs_a_person(MqttVersion::V5, code) => Ended::Refused(words),
        _ => Ended::ByBroker(words),
    }
}

fn cut_words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "the broker closed the connection".to_owned(),
        _ => format!("the connection failed: {error}"),
    }
}
