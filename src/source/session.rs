//! One connection from CONNACK to its end: read, stage, acknowledge, keep alive.
//!
//! Nothing here blocks. One turn of the loop handles everything that a read returned, hands it to the journal once, and
//! writes every acknowledgement that became due in one write. While the journal pauses nothing is read, but
//! acknowledgements and pings continue. The owed acknowledgements belong to the connection and end with it.

mod ended;
mod incoming;
mod subscribing;

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use self::ended::cut_words;
pub(super) use self::ended::{Ended, Finished};
use super::caution::{Caution, Evidence};
use super::company::Company;
use super::events::Events;
use super::intake::Journal;
use super::ledger::AckLedger;
use super::presence::Presence;
use super::reconcile::Reconciler;
use super::skipped::SkippedIds;
use super::store::Store;
use super::stored::{StoredSubscriptions, SubscriptionsFile};
use super::subscriptions::Subscriptions;
use crate::config::{self, MqttVersion};
use crate::mqtt::backoff::RefusalWait;
use crate::mqtt::keepalive::{Due, KeepAlive};
use crate::mqtt::link::Link;
use crate::mqtt::outgoing;
use crate::mqtt::packet::ConnAck;
use crate::mqtt::publish::TopicAliases;
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
    /// The broker made the session at this CONNECT, and is yet to answer for all filters.
    is_new: bool,
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
    /// One of QoS 2 was among them: its PUBREL follows.
    awaits_releases: bool,
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
        let mut session = Session {
            version,
            ledger: AckLedger::default(),
            aliases: TopicAliases::new(config.topic_alias_maximum, aliases_misused),
            keep_alive: KeepAlive::new(Duration::from_secs(u64::from(keep_alive_s)), Instant::now()),
            plan,
            is_outdated: false,
            is_new: !connack.session_present,
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
        };
        session.note_stand_ins();
        session
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
        let may_read = self.clearing.is_none() && !is_backlogged && !self.ledger.is_full() && !self.link.is_clogged();
        let rests = self.company.rests(now);
        self.reads = may_read && !rests;
        self.keep_alive.reading(may_read, now);
        match self.keep_alive.due(now, self.link.last_sent, self.link.last_heard) {
            Due::Nothing => {}
            Due::Ping => self.link.out.extend_from_slice(&outgoing::PINGREQ),
            Due::GiveUp => return Some(Ended::Cut("the broker answered no PINGREQ within mqtt.keep_alive".into())),
        }
        match self.asked_at {
            // The answer may lie unread in the socket.
            Some(_) if !may_read => self.asked_at = Some(now),
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

    /// When the loop must look around again, if nothing happens before.
    fn deadline(&self) -> Instant {
        [
            self.keep_alive.deadline(self.link.last_sent, self.link.last_heard),
            self.asked_at.map(|asked_at| asked_at + ANSWER_WAIT),
            self.retry_at,
            self.company.rest().or(self.company.until()),
            self.shared.skipped.deadline(self.link.last_heard).filter(|_| self.ledger.is_empty()),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or_else(|| Instant::now() + IDLE)
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
