//! Connects, runs the session, and connects again, for as long as the bridge runs. Unlike the durable session it has
//! nothing to lose: no stored state, and no conclusions about filters.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout_at};

use super::REQUEST_BYTES_MAX;
use super::events::Events;
use super::handle::{Answer, Connection, Queued};
use super::request::Request;
use super::session::{Ended, Session};
use super::suspicion::Suspicion;
use super::unsettled::Unsettled;
use crate::config;
use crate::mqtt::backoff::{Backoff, random};
use crate::mqtt::handshake;
use crate::mqtt::link::Link;
use crate::mqtt::login;
use crate::mqtt::outgoing::SessionKind;
use crate::mqtt::packet::ConnAck;
use crate::mqtt::transport;
use crate::shutdown::Shutdown;
use crate::source::SourceStatus;

/// What every connection works on.
pub(super) struct Shared {
    pub(super) config: config::Mqtt,
    pub(super) batches: mpsc::Receiver<Queued>,
    pub(super) message_answers: mpsc::Receiver<Answer>,
    pub(super) query_answers: mpsc::Receiver<Answer>,
    pub(super) filters: watch::Receiver<Vec<String>>,
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) unsettled: Unsettled,
    pub(super) suspicion: Suspicion,
    /// Filters for which the broker ends the connection: until when they are not asked for, and why.
    pub(super) left_out: HashMap<String, (Instant, String)>,
    pub(super) events: Events,
    pub(super) shutdown: Shutdown,
}

/// Why there is no connection.
struct NotConnected {
    words: String,
    needs_a_person: bool,
}

impl From<String> for NotConnected {
    fn from(words: String) -> NotConnected {
        NotConnected { words, needs_a_person: false }
    }
}

impl Connection {
    /// Connects only while this session has its connection: where a broker, or a proxy, takes only so many, messages go first.
    pub fn behind(self, session: Arc<SourceStatus>) -> Connection {
        Connection { session: Some(session), ..self }
    }

    /// Once it is opened, publishes and takes requests until `shutdown`; then sends what is queued, for a moment, and leaves.
    pub async fn run(self, mut shutdown: Shutdown) {
        let Connection {
            config,
            mut opened,
            batches,
            message_answers,
            query_answers,
            filters,
            requests,
            events,
            session,
        } = self;
        tokio::select! {
            biased;
            opened = opened.wait_for(|opened| *opened) => if opened.is_err() {
                // Nobody is left who could open it.
                return;
            },
            () = shutdown.requested() => return,
        }
        let backoff = Backoff::new(config.retry.clone());
        let shared = Shared {
            config,
            batches,
            message_answers,
            query_answers,
            filters,
            requests,
            unsettled: Unsettled::default(),
            suspicion: Suspicion::default(),
            left_out: HashMap::new(),
            events,
            shutdown,
        };
        Runner { shared, backoff, url: 0, session }.run().await;
    }
}

struct Runner {
    shared: Shared,
    backoff: Backoff,
    /// Index of the address in use.
    url: usize,
    session: Option<Arc<SourceStatus>>,
}

impl Runner {
    async fn run(mut self) {
        self.shared.events.started();
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
            let address = self.address();
            let (words, needs_a_person, wait) = match accepted {
                Ok((link, connack)) => {
                    failed = 0;
                    let began = Instant::now();
                    self.shared.events.connected(&address, &connack.limits);
                    // Boxed: the session's state is large, and lives across every await of the loop above.
                    let ended = Box::pin(Session::new(&mut self.shared, link, &connack).run()).await;
                    self.backoff.was_up(began.elapsed());
                    match ended {
                        Ended::Shutdown => break,
                        Ended::Lost { words, needs_a_person, .. } => {
                            // While a culprit is looked for, everything else waits.
                            let wait = match self.shared.suspicion.is_careful() {
                                true => self.shared.config.retry.min,
                                false => self.backoff.next(random()),
                            };
                            (words, needs_a_person, wait)
                        }
                    }
                }
                Err(NotConnected { words, needs_a_person }) => {
                    failed += 1;
                    self.url = (self.url + 1) % self.shared.config.urls.len();
                    // The other addresses are tried at once.
                    let wait = if failed < self.shared.config.urls.len() {
                        Duration::ZERO
                    } else {
                        failed = 0;
                        self.backoff.next(random())
                    };
                    (words, needs_a_person, wait)
                }
            };
            self.shared.events.disconnected(&address, &words, needs_a_person, wait);
            self.shared.events.tell_losses(Instant::now());
            tokio::select! {
                biased;
                () = sleep(wait) => {}
                () = self.shared.shutdown.requested() => {}
            }
        }
        self.shared.events.stopped();
    }

    /// Connects to the present address once the session has its connection, all from then on within `mqtt.connect_timeout`.
    async fn connect(&mut self) -> Result<(Link, ConnAck), NotConnected> {
        if let Some(session) = &self.session {
            session.connected().await;
        }
        let config = &self.shared.config;
        let deadline = Instant::now() + config.connect_timeout;
        let late = || format!("no answer within mqtt.connect_timeout ({:?})", config.connect_timeout);
        let login = timeout_at(deadline, login::read(config)).await.map_err(|_| late())??;
        let transport = transport::open(&config.urls[self.url], config);
        let transport = timeout_at(deadline, transport).await.map_err(|_| late())?.map_err(|e| e.to_string())?;
        let mut link = Link::new(transport, REQUEST_BYTES_MAX);
        let connecting = handshake::connect(&mut link, config, &login, SessionKind::Clean);
        match timeout_at(deadline, connecting).await {
            Err(_) => Err(late().into()),
            Ok(Ok(connack)) => Ok((link, connack)),
            Ok(Err(error)) => {
                Err(NotConnected { needs_a_person: error.needs_a_person(config.version), words: error.to_string() })
            }
        }
    }

    fn address(&self) -> String {
        self.shared.config.urls[self.url].to_string()
    }
}
