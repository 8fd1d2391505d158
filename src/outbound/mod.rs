//! The second MQTT connection, and what goes over it: it publishes and takes requests, and is no part of the way from the
//! broker to a database.
//!
//! ```text
//! publishers ─► Outbound ─► bounded queues ─► session ─► broker
//! readers of requests ◄── bounded channel ◄──┘
//! ```
//!
//! - It has a client id of its own (`-out`) and a clean start: nothing of it outlives the connection, and the durable
//!   session ([`crate::source`]) neither waits for it nor fails with it.
//! - A batch ([`Outbound::publish`]) is sent until the broker has acknowledged or refused each of its messages, in order, over
//!   as many connections as that takes: at least once while the process lives. If the process dies, it is the publisher who
//!   knows where it stands.
//! - Answers ([`Outbound::try_publish`]) are sent once, if there is a connection and room: what is lost is counted.
//! - Requests are handed over in the order they came; while nobody takes them, nothing is read.

use std::time::Duration;

use crate::config::Config;

mod batch;
mod events;
mod handle;
mod publish;
mod request;
mod run;
mod session;
mod status;
mod unsettled;
mod window;

pub use batch::{Batch, Published, RefusedMessage, Ticket, Unknown};
pub use handle::{Connection, NotQueued, Outbound, channel};
pub use publish::{PublishState, Publishing};
pub use request::Request;
pub use status::{OutboundSnapshot, OutboundStatus};

pub use crate::mqtt::publishing::{ToPublish, Unsendable, check_topic};

/// Bytes of a request's packet. A larger one comes without its payload: statements and their parameters are short.
pub const REQUEST_BYTES_MAX: u32 = 64 * 1024;

/// How long a stop may take: what is queued is sent, acknowledged and the broker left.
pub const STOP_WAIT: Duration = Duration::from_secs(3);

/// Whether anything in the configuration needs the second connection; else it is not opened.
pub fn is_used(config: &Config) -> bool {
    !config.publish.is_empty()
}

/// Why `topic` is none that an answer may go to: a client chose it. `prefix` is the configured `reply_prefix`: the topic
/// must be it, or lie below it.
pub fn check_reply_topic(topic: &str, prefix: Option<&str>) -> Result<(), String> {
    check_topic(topic).map_err(|error| error.to_string())?;
    if topic.starts_with('$') {
        return Err("the topic begins with $, which is the broker's own".to_owned());
    }
    let Some(prefix) = prefix else { return Ok(()) };
    let prefix = prefix.trim_end_matches('/');
    let is_below = topic.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if is_below { Ok(()) } else { Err(format!("the topic does not lie below reply_prefix ({prefix})")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_goes_only_to_a_plain_topic_below_the_prefix() {
        for topic in ["db/reply", "db/reply/client-1", "db/reply/"] {
            assert_eq!(check_reply_topic(topic, Some("db/reply")), Ok(()));
            assert_eq!(check_reply_topic(topic, Some("db/reply/")), Ok(()));
            assert_eq!(check_reply_topic(topic, None), Ok(()));
        }
        for topic in ["db/replyx", "db", "other", "", "#", "db/reply/+", "db/reply/#", "$SYS/x", "db/reply/\0"] {
            assert!(check_reply_topic(topic, Some("db/reply")).is_err(), "{topic}");
        }
        for topic in ["", "#", "a/+", "$SYS/x", "a\0b", &"x".repeat(65_536)] {
            assert!(check_reply_topic(topic, None).is_err());
        }
    }
}
