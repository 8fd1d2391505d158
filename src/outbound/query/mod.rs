//! Requests over MQTT that run a statement which only reads, and their answers.
//!
//! ```text
//! second connection ─► service (main thread): which query, is there room ─► threads: parameters, statement, answer
//!        ▲                       refusals of what has no room │                              │
//!        └───────────────────────────────────────────────────┴──────────── Outbound::try_publish
//! ```
//!
//! A request is bounded in everything: [`RUNNING_MAX`] run at once, [`WAITING_MAX`] wait, and each has `timeout` from its
//! arrival, `max_rows` rows and [`ANSWER_BYTES_MAX`] bytes. What exceeds a bound is refused with that reason. Nothing of this is on
//! the way of messages: threads and connections are its own, and there are none while nobody asks. If the process dies, whoever
//! asked gets no answer and asks again; no state is left anywhere.
//!
//! | file | holds |
//! |---|---|
//! | `service` | the queue, its threads, refusals |
//! | `job` | one request: where the answer goes, and what it is |
//! | `named`, `machbase` | what a request asks for, in our words and in Machbase's |
//! | `answer` | the forms of an answer |

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

/// Of a request that is refused for lack of room, what is looked at for the answer's topic: it is read on the main thread, beside
/// the session that takes messages. Longer payloads are refused on the Response Topic, or on a `reply` that needs nothing of them.
const REFUSED_BYTES_MAX: usize = 4 << 10;

/// A thread that nobody needed for so long ends, with its connections.
const IDLE: Duration = Duration::from_secs(30);
