//! The second MQTT connection: it publishes and receives requests. It is not on the path from the broker to a database.
//!
//! ```text
//! publishers ─► Outbound ─► bounded queues ─► session ─► broker
//! readers of requests ◄── bounded channel ◄──┘
//! ```
//!
//! - The connection has its own client id (`-out`) and a clean start, so nothing outlives it. The durable session
//!   ([`crate::source`]) neither waits for it nor fails with it.
//! - A batch ([`Outbound::publish`]) is sent until the broker has acknowledged or refused each of its messages, in
//!   order, over as many connections as necessary: at least once while the process lives. If the process dies, the
//!   publisher itself knows where to continue.
//! - A message for which the broker ends the connection again and again is found and refused ([`suspicion`]).
//! - Answers to queries ([`Outbound::try_publish`]) and to messages ([`Outbound::answer`]) are sent once, if there is a
//!   connection and room. Lost answers are counted and logged. Each kind has its own queue; answers to messages go first.
//! - Requests are handed over in the order of their arrival. While nobody takes them, the connection is not read.

use std::time::Duration;

mod batch;
mod events;
mod handle;
mod publish;
mod put;
pub mod query;
mod reply;
mod request;
mod run;
mod session;
mod status;
mod suspicion;
mod unsettled;
mod window;

pub use batch::{Batch, Published, RefusedMessage, Ticket, Unknown};
pub use handle::{Connection, NotQueued, Outbound, channel};
pub use publish::{PublishState, Publishing, tell_abandoned};
pub use reply::{answer, elapse};
pub use request::Request;
pub use status::{OutboundSnapshot, OutboundStatus};

pub use crate::mqtt::publishing::{ToPublish, Unsendable};
pub use crate::rule::{TopicFault, check_reply_topic, check_topic};

/// Bytes of a request's packet. A larger one comes without its payload: statements and their parameters are short.
pub const REQUEST_BYTES_MAX: u32 = 64 * 1024;

/// How long a stop may take: what is queued is sent, acknowledged and the broker left.
pub const STOP_WAIT: Duration = Duration::from_secs(3);
