//! Connects, runs the session, and connects again, until a stop is requested.

mod connack;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::caution::{Caution, Evidence, Finding};
use super::events::Events;
use super::intake::Journal;
use super::presence::Presence;
use super::session::{Ended, Finished, Session, Shared};
use super::skipped::SkippedIds;
use super::status::SourceStatus;
use super::store::Store;
use super::stored::{StoredSubscriptions, SubscriptionsFile};
use super::subscriptions::Subscriptions;
use crate::clock;
use crate::config;
use crate::mqtt::backoff::{Backoff, random};
use crate::mqtt::handshake::{self, HandshakeError};
use crate::mqtt::link::Link;
use crate::mqtt::login;
use crate::mqtt::outgoing::SessionKind;
use crate::mqtt::packet::ConnAck;
use crate::mqtt::reason;
use crate::mqtt::transport;
use crate::shutdown::Shutdown;
use crate::telemetry::Metrics;

/// A connection that was cut sooner than this counts as very short.
const VERY_SHORT: Duration = Duration::from_secs(5);
/// So many very short connections in a row look like another client with our id: most brokers close the older of two
/// connections without a word.
const VERY_SHORT_IN_A_ROW: u32 = 3;
/// So many times in a row a packet before CONNACK counts as a race in the broker, that the next attempt may win.
const EARLY_IN_A_ROW: u32 = 10;

/// Takes messages from the broker into the journal until `shutdown`; then makes what was taken durable, acknowledges it,
/// and leaves the broker with the session kept. The caller bounds how long that may take.
///
/// `file` is the one that `plan` was made with. `plan` may change at any time: filters are then subscribed to and unsubscribed from without a reconnect.
pub async fn run<J: Journal>(
    config: config::Mqtt,
    plan: watch::Receiver<Subscriptions>,
    file: SubscriptionsFile,
    journal: J,
    status: Arc<SourceStatus>,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
) {
    let stored =
        file.load().unwrap_or_else(|| StoredSubscriptions::empty(&config.client_id)).for_client(&config.client_id);
    let shared = Shared {
        presence: Presence::new(config.status_topic.as_ref()),
        plan,
        store: Store::new(journal),
        stored,
        file,
        events: Events::new(status, metrics),
        skipped: SkippedIds::default(),
        caution: Caution::new(&config.retry),
        aliases_misused: false,
        shutdown,
        config,
    };
    let backoff = Backoff::new(shared.config.retry.clone());
    Source { shared, backoff, url: 0, very_short: 0, early: 0, connected_until: None }.run().await;
}

struct Source<J> {
    shared: Shared<J>,
    backoff: Backoff,
    /// Index of the address in use.
    url: usize,
    /// Very short connections in a row.
    very_short: u32,
    /// Packets before CONNACK in a row.
    early: u32,
    /// When the last connection of this process ended.
    connected_until: Option<Instant>,
}

/// Why there is no connection.
struct NotConnected {
    words: String,
    is_early_packet: bool,
    needs_a_person: bool,
}

impl From<String> for NotConnected {
    fn from(words: String) -> NotConnected {
        NotConnected { words, is_early_packet: false, needs_a_person: false }
    }
}

/// A connection that the broker accepted.
struct Accepted {
    link: Link,
    connack: ConnAck,
    /// Whether the stored list can be trusted if the session is present.
    trusted: bool,
}

impl<J: Journal> Source<J> {
    async fn run(mut self) {
        // Addresses that failed since the last wait.
        let mut failed = 0;
        while !self.shared.shutdown.is_requested() {
            let accepted = {
                let mut shutdown = self.shared.shutdown.clone();
                tokio::select! {
                    biased;
                    accepted = self.connect() => accepted,
                    () = shutdown.requested() => break,
                }
            };
            let wait = match accepted {
                Ok(accepted) => {
                    (failed, self.early) = (0, 0);
                    match self.session(accepted).await {
                        Some(wait) => wait,
                        None => break,
                    }
                }
                Err(error) if error.is_early_packet && self.early < EARLY_IN_A_ROW => {
                    self.early += 1;
                    let wait = self.shared.config.retry.min;
                    self.shared.events.disconnected(&self.address(), &error.words, wait);
                    wait
                }
                Err(error) => {
                    failed += 1;
                    // A broker that throws the older connection out has accepted it before: this is the network's doing.
                    self.very_short = 0;
                    let address = self.address();
                    self.url = (self.url + 1) % self.shared.config.urls.len();
                    // The other addresses are tried at once.
                    let wait = if failed < self.shared.config.urls.len() {
                        Duration::ZERO
                    } else {
                        failed = 0;
                        self.backoff.next(random())
                    };
                    if error.needs_a_person {
                        self.shared.events.refused(&address, &error.words, wait);
                    } else {
                        self.shared.events.disconnected(&address, &error.words, wait);
                    }
                    wait
                }
            };
            tokio::select! {
                biased;
                () = sleep(wait) => {}
                () = self.shared.shutdown.requested() => {}
            }
        }
        self.stop().await;
    }

    /// Connects to the present address, all within `mqtt.connect_timeout`.
    async fn connect(&mut self) -> Result<Accepted, NotConnected> {
        let config = &self.shared.config;
        let deadline = Instant::now() + config.connect_timeout;
        let late = || {
            let timeout = config.connect_timeout;
            format!(
                "no answer within mqtt.connect_timeout ({timeout:?}); is the address right, does a firewall drop it?"
            )
        };
        let login = timeout_at(deadline, login::read(config)).await.map_err(|_| late())??;
        let transport = transport::open(&config.urls[self.url], config);
        let transport = timeout_at(deadline, transport).await.map_err(|_| late())?.map_err(|e| e.to_string())?;
        let mut link = Link::new(transport, config.max_packet_size);

        // From here until CONNACK the broker's session is unknown: see `stored`.
        let stored = &mut self.shared.stored;
        let was_confirmed = std::mem::replace(&mut stored.confirmed, false);
        let has_new_identifiers = stored.adopt_identifiers(self.shared.plan.borrow().stored());
        let file = &mut self.shared.file;
        if was_confirmed || has_new_identifiers || file.is_behind() {
            file.save(stored);
        }
        if let Err(error) = file.settled().await {
            stored.confirmed = was_confirmed;
            return Err(error.to_string().into());
        }

        crash_point!("source.connecting");
        let session = SessionKind::Durable { will: self.shared.presence.will() };
        match timeout_at(deadline, handshake::connect(&mut link, config, &login, session)).await {
            Err(_) => Err(late().into()),
            Ok(Ok(connack)) => Ok(Accepted { link, connack, trusted: was_confirmed }),
            Ok(Err(error)) => {
                match &error {
                    HandshakeError::Closed(_) => self.shared.presence.turned_away(None),
                    HandshakeError::Refused { connack, .. } => {
                        let may_be_the_will = reason::may_be_the_will(config.version, connack.code);
                        self.shared.presence.turned_away(Some(may_be_the_will));
                    }
                    _ => {}
                }
                if error.leaves_no_session() {
                    self.shared.stored.confirmed = was_confirmed;
                }
                Err(NotConnected {
                    is_early_packet: error.is_early_packet(),
                    needs_a_person: error.needs_a_person(self.shared.config.version),
                    words: error.to_string(),
                })
            }
        }
    }

    /// Runs an accepted connection to its end. Returns how long to wait for the next, `None` to stop.
    async fn session(&mut self, accepted: Accepted) -> Option<Duration> {
        let Accepted { link, connack, trusted } = accepted;
        let address = self.address();
        let began = Instant::now();
        self.shared.events.connected(&address, connack.session_present);
        if let Some(barred) = self.shared.presence.connected() {
            self.shared.events.presence_barred(barred);
        }
        self.report(&connack);
        if !connack.session_present {
            self.shared.stored.filters.clear();
        }
        let limits = self.limits(&connack);
        self.shared.caution.on_connected(limits);
        // From the first moment on, status shows the unanswered subscriptions.
        let plan = self.shared.adapted_plan();
        let Shared { events, stored, config, caution, .. } = &mut self.shared;
        events.limited(&connack.limits, &plan);
        events.planned(config.version, &plan, stored, caution);
        let finished = match self.adopt_session(connack.session_present).await {
            Err(error) => {
                let ended = Ended::Unwritten(error.to_string());
                Finished { ended, unanswered: Vec::new(), evidence: Evidence::Unrelated }
            }
            Ok(is_known) => {
                let session = Session::new(&mut self.shared, link, &connack, trusted && is_known, plan);
                // Boxed: the session's state is large, and lives across every await of the loop above.
                Box::pin(session.run()).await
            }
        };
        let by_others = matches!(finished.ended, Ended::ByBroker(_) | Ended::Refused(_) | Ended::Cut(_));
        if let Some(barred) = self.shared.presence.ended(by_others) {
            self.shared.events.presence_barred(barred);
        }
        let is_explained = !finished.unanswered.is_empty();
        let finding = self.examine(&finished);
        let ended = finished.ended;
        self.connected_until = Some(Instant::now());
        let up = began.elapsed();
        self.backoff.was_up(up);
        // A connection that ends on a subscription was not ended because of another client.
        let is_very_short = matches!(ended, Ended::Cut(_)) && up < VERY_SHORT && !is_explained;
        self.very_short = if is_very_short { self.very_short + 1 } else { 0 };
        match ended {
            Ended::Shutdown => None,
            Ended::JournalReopened => {
                self.shared.events.journal_reopened();
                let wait = self.backoff.next(random());
                self.shared.events.disconnected(&address, "the journal was reopened after a disk error", wait);
                self.shared.store.renew();
                Some(wait)
            }
            Ended::Skipped(count) => {
                self.shared.events.identifiers_skipped(&address, count);
                Some(Duration::ZERO)
            }
            Ended::AliasMisused(alias) => {
                self.forget_discarded().await;
                let wait = self.backoff.next(random());
                let words = format!("the broker used topic alias {alias}, which does not hold");
                self.shared.events.disconnected(&address, &words, wait);
                Some(wait)
            }
            Ended::Refused(words) if finding == Finding::Nothing => {
                let wait = self.backoff.next(random());
                self.shared.events.refused(&address, &words, wait);
                Some(wait)
            }
            Ended::TakenOver(words) => {
                let wait = self.backoff.taken_over(random());
                Some(self.taken_over(&address, &words, wait))
            }
            Ended::Cut(words) if self.very_short >= VERY_SHORT_IN_A_ROW => {
                let wait = self.backoff.suspicious(random());
                let words = format!("{words}, {} times in a row right after connecting", self.very_short);
                Some(self.taken_over(&address, &words, wait))
            }
            Ended::ByBroker(words) | Ended::Refused(words) | Ended::Cut(words) | Ended::Unwritten(words) => {
                let wait = match finding {
                    Finding::Searching | Finding::Culprit { left_out: Some(_), .. } => self.backoff.searching(random()),
                    Finding::Nothing | Finding::Culprit { left_out: None, .. } => self.backoff.next(random()),
                };
                self.shared.events.disconnected(&address, &words, wait);
                Some(wait)
            }
        }
    }

    /// Draws conclusions from the end of a connection about the filters that were unanswered.
    fn examine(&mut self, finished: &Finished) -> Finding {
        let now = Instant::now();
        let Shared { caution, plan, config, .. } = &mut self.shared;
        let has_others = |caution: &Caution, filter: &str| {
            let without = caution.adapt(&plan.borrow(), config.version, Some(filter));
            without.list().iter().any(|other| other.filter != filter && !caution.is_barred(&other.filter, now))
        };
        let finding = caution.ended(&finished.unanswered, finished.evidence, has_others, now);
        if let Finding::Culprit { filter, left_out, is_news } = &finding {
            let plan = self.shared.adapted_plan();
            let Shared { stored, events, caution, .. } = &mut self.shared;
            if plan.get(filter).is_some() {
                // While the filter is left out, the broker is not asked whether it still has it.
                stored.unsubscribed(filter);
            }
            let words = finished.ended.words();
            let error = events.culprit(filter, words, *left_out, *is_news, &plan);
            caution.shown(filter, error);
        }
        finding
    }

    /// After a read was discarded: waits until the disk has all earlier messages, then continues from the disk's state.
    async fn forget_discarded(&mut self) {
        let Shared { store, shutdown, .. } = &mut self.shared;
        while !store.is_recorded() && !store.is_stale() {
            tokio::select! {
                biased;
                () = shutdown.requested() => return,
                () = store.journal.changed() => {}
            }
        }
        store.renew();
    }

    fn taken_over(&mut self, address: &str, words: &str, wait: Duration) -> Duration {
        self.shared.events.taken_over(address, &self.shared.config.client_id, words, wait);
        wait
    }

    /// Leaves everything in order.
    async fn stop(mut self) {
        if self.connected_until.is_some() {
            self.shared.stored.last_connected_us = Some(clock::now().as_micros());
            self.shared.file.save(&self.shared.stored);
        }
        if let Err(error) = self.shared.file.settled().await {
            self.shared.events.not_stored(&error);
        }
        self.shared.events.stopped();
    }

    fn address(&self) -> String {
        self.shared.config.urls[self.url].to_string()
    }
}
