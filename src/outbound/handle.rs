//! The handle by which other modules use the second connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::batch::{Batch, Published, Ticket, Unknown};
use super::events::Events;
use super::request::Request;
use super::status::OutboundStatus;
use crate::config::{self, MqttVersion};
use crate::mqtt::publishing::{ToPublish, Unsendable};
use crate::source::SourceStatus;
use crate::telemetry::Metrics;

/// The number of batches that may wait, besides those in flight. A publisher's next batch is ready when one is done,
/// and memory is bounded by this many batches.
const BATCHES_MAX: usize = 8;
/// Answers to queries that wait: what ten thousand clients ask at once is more than anybody answers.
const ANSWERS_MAX: usize = 4096;
/// Bytes of the answers to queries that wait.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Answers to messages that wait here. More wait with whoever makes them, see [`Outbound::answer`].
const MESSAGE_ANSWERS_MAX: usize = 1024;
/// Requests that were read and not taken. Each is at most [`super::REQUEST_BYTES_MAX`].
const REQUESTS_MAX: usize = 256;

/// The second connection, for those who publish. Cheap to clone; works from any thread.
#[derive(Debug, Clone)]
pub struct Outbound {
    version: MqttVersion,
    batches: mpsc::Sender<Queued>,
    query_answers: mpsc::Sender<Answer>,
    query_answer_bytes: Arc<AtomicUsize>,
    /// A queue of their own: a flood of queries does not push them out.
    message_answers: mpsc::Sender<Answer>,
    filters: Arc<watch::Sender<Vec<String>>>,
    opened: Arc<watch::Sender<bool>>,
    status: Arc<OutboundStatus>,
}

/// A batch on its way to the session.
pub(super) struct Queued {
    pub(super) batch: Batch,
    pub(super) done: oneshot::Sender<Published>,
}

/// A message that is sent once or not at all.
pub(super) struct Answer {
    pub(super) message: Batch,
    pub(super) queued: Instant,
    /// Of an answer to a query.
    _share: Option<Share>,
}

/// Bytes out of [`ANSWER_BYTES_MAX`], given back when it is dropped.
struct Share {
    bytes: usize,
    of: Arc<AtomicUsize>,
}

impl Share {
    fn take(bytes: usize, of: &Arc<AtomicUsize>) -> Share {
        of.fetch_add(bytes, Ordering::Relaxed);
        Share { bytes, of: Arc::clone(of) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Why an answer was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotQueued {
    #[error(transparent)]
    Unsendable(#[from] Unsendable),
    #[error("the message has {bytes} bytes, and the broker takes packets of {bytes_max} at most")]
    TooLarge { bytes: usize, bytes_max: u32 },
    #[error("too many answers wait for the broker")]
    Full,
    #[error("the bridge stops")]
    Stopped,
}

/// The side of the connection that [`Connection::run`] works for.
pub struct Connection {
    pub(super) config: config::Mqtt,
    pub(super) opened: watch::Receiver<bool>,
    pub(super) batches: mpsc::Receiver<Queued>,
    pub(super) message_answers: mpsc::Receiver<Answer>,
    pub(super) query_answers: mpsc::Receiver<Answer>,
    pub(super) filters: watch::Receiver<Vec<String>>,
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) events: Events,
    /// The session that goes first.
    pub(super) session: Option<Arc<SourceStatus>>,
}

/// A connection that is not opened before it is first used, the handle for it, and what comes on the topics that
/// [`Outbound::subscribe`] names. The receiver must be read promptly: while it is full, nothing is read from the broker. If
/// it is dropped, requests are passed over.
pub fn channel(config: &config::Mqtt, metrics: &Arc<Metrics>) -> (Outbound, Connection, mpsc::Receiver<Request>) {
    let (batches, batches_out) = mpsc::channel(BATCHES_MAX);
    let (query_answers, query_answers_out) = mpsc::channel(ANSWERS_MAX);
    let (message_answers, message_answers_out) = mpsc::channel(MESSAGE_ANSWERS_MAX);
    let (requests, requests_out) = mpsc::channel(REQUESTS_MAX);
    let (filters, filters_out) = watch::channel(Vec::new());
    let (opened, opened_out) = watch::channel(false);
    let status = Arc::new(OutboundStatus::default());
    let outbound = Outbound {
        version: config.version,
        batches,
        query_answers,
        query_answer_bytes: Arc::default(),
        message_answers,
        filters: Arc::new(filters),
        opened: Arc::new(opened),
        status: Arc::clone(&status),
    };
    let mut config = config.clone();
    config.client_id.push_str("-out");
    // Requests come one by one, from topics of their own.
    config.topic_alias_maximum = 0;
    let events = Events::new(status, Arc::clone(metrics));
    let connection = Connection {
        config,
        opened: opened_out,
        batches: batches_out,
        message_answers: message_answers_out,
        query_answers: query_answers_out,
        filters: filters_out,
        requests,
        events,
        session: None,
    };
    (outbound, connection, requests_out)
}

impl Outbound {
    /// Has the connection opened, if it is not. So do all that follow.
    pub fn open(&self) {
        if !*self.opened.borrow() {
            self.opened.send_replace(true);
        }
    }

    /// Whether anything uses it.
    pub fn is_open(&self) -> bool {
        *self.opened.borrow()
    }

    /// An empty batch for [`Outbound::publish`].
    pub fn batch(&self) -> Batch {
        Batch::new(self.version)
    }

    /// Queues a batch, and waits for room. Batches are sent in the order they were queued.
    pub async fn publish(&self, batch: Batch) -> Result<Ticket, Unknown> {
        self.open();
        let (done, ticket) = oneshot::channel();
        self.batches.send(Queued { batch, done }).await.map_err(|_| Unknown)?;
        Ok(Ticket(ticket))
    }

    /// Queues a message that is sent once, at best: an answer to a query. What is not sent, or refused by the broker, is
    /// counted and logged.
    pub fn try_publish(&self, message: &ToPublish<'_>) -> Result<(), NotQueued> {
        self.open();
        let message = self.encode_answer(message)?;
        let share = Share::take(message.byte_count(), &self.query_answer_bytes);
        if self.query_answer_bytes.load(Ordering::Relaxed) > ANSWER_BYTES_MAX {
            return Err(NotQueued::Full);
        }
        let answer = Answer { message, queued: Instant::now(), _share: Some(share) };
        self.query_answers.try_send(answer).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NotQueued::Full,
            mpsc::error::TrySendError::Closed(_) => NotQueued::Stopped,
        })
    }

    /// Whether half of the room that [`Outbound::try_publish`] has is taken.
    pub fn is_half_full(&self) -> bool {
        self.query_answers.capacity() < ANSWERS_MAX / 2
    }

    /// Queues an answer to a message and waits for room. It is sent before all answers to queries.
    pub async fn answer(&self, message: &ToPublish<'_>) -> Result<(), NotQueued> {
        self.open();
        let answer = Answer { message: self.encode_answer(message)?, queued: Instant::now(), _share: None };
        self.message_answers.send(answer).await.map_err(|_| NotQueued::Stopped)
    }

    fn encode_answer(&self, message: &ToPublish<'_>) -> Result<Batch, NotQueued> {
        let mut batch = self.batch();
        batch.push(message)?;
        let (bytes, bytes_max) = (batch.byte_count(), self.packet_bytes_max());
        if bytes > bytes_max as usize {
            return Err(NotQueued::TooLarge { bytes, bytes_max });
        }
        Ok(batch)
    }

    /// The longest packet that the broker takes, as far as it has said. The topic and the properties are part of it.
    pub fn packet_bytes_max(&self) -> u32 {
        self.status.packet_bytes_max()
    }

    /// MQTT 5 has response topics, correlation data and user properties.
    pub fn version(&self) -> MqttVersion {
        self.version
    }

    /// The filters to subscribe to from now on (QoS 1), on this connection and each later one.
    pub fn subscribe(&self, filters: Vec<String>) {
        if !filters.is_empty() {
            self.open();
        }
        self.filters.send_replace(filters);
    }

    pub fn status(&self) -> &Arc<OutboundStatus> {
        &self.status
    }
}
