//! Requests over MQTT that run a read-only statement, and their answers.
//!
//! ```text
//! second connection ─► service (main thread): which query, is there room ─► threads: parameters, statement, answer
//!        ▲                       refusals of what has no room │                              │
//!        └───────────────────────────────────────────────────┴──────────── Outbound::try_publish
//! ```
//!
//! Every request is bounded: [`RUNNING_MAX`] run at once, [`WAITING_MAX`] wait, and each has `timeout` from its
//! arrival, `max_rows` rows and [`ANSWER_BYTES_MAX`] bytes. A request beyond a bound is refused with that reason.
//! Queries are not on the path of messages: they have their own threads and connections, and none while there is no
//! request. If the process dies, the client gets no answer and must ask again; no state remains.
//!
//! | file | holds |
//! |---|---|
//! | `service` | the queue, its threads, refusals |
//! | `job` | one request: the topic of its answer, and its content |
//! | `named`, `machbase` | the content of a request, in our form and in Machbase's |
//! | `answer` | the formats of an answer |

mod answer;
mod job;
mod machbase;
mod named;
mod service;

use std::time::Duration;

pub use service::{QuerySet, start};

/// Statements that run at once, each on a thread and a connection of its own. Weighed against a small server's
/// `max_connections` of 100, and against the memory of as many answers.
const RUNNING_MAX: usize = 8;

/// Requests that wait for one of these to end.
const WAITING_MAX: usize = 100;

/// Bytes of an answer, where the broker takes packets of that size. EMQX takes 1 MiB by default.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Of a packet, for everything but the answer's rows.
const PACKET_SPARE: usize = 512;

/// Of a topic that a client names for its answer. MQTT allows 65,535, which brokers and subscribers would have to hold.
const REPLY_BYTES_MAX: usize = 1024;

/// The largest payload that is searched for the answer's topic when a request is refused for lack of room: this happens
/// on the main thread, beside the session that takes messages. Longer payloads are refused on the Response Topic, or on
/// a `reply` that does not use the payload.
const REFUSED_BYTES_MAX: usize = 4 << 10;

/// A thread that nobody needed for so long ends, with its connections.
const IDLE: Duration = Duration::from_secs(30);
