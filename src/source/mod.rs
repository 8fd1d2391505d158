//! The durable MQTT session: one persistent session with the broker, whose messages go into the journal.
//!
//! ```text
//! transport (TCP, TLS, WebSocket) ─► inbox ─► packet ─► store ─► journal
//!                                 ◄─ out  ◄────────── ledger ◄── durable
//! ```
//!
//! - A message is acknowledged only after its record is durable, in the order received, only on the connection that
//!   delivered it ([`ledger`]).
//! - QoS 2 is exactly once, across crashes too ([`store`]); PUBCOMP is sent only after the release is durable.
//! - The session is never given up: every failure is logged with its reason and retried ([`crate::mqtt::backoff`]).
//! - A message that cannot be stored as sent (too large, a topic that is not text) is journaled with its
//!   [`crate::message::Fault`] and acknowledged: it ends as a dead letter, never as a reconnect loop. An invalid topic
//!   alias ends the connection once; after that, messages without a topic become dead letters.
//!
//! rumqttc's event loop cannot keep the first two promises; only its packet encoders are used.

mod caution;
mod company;
mod copies;
mod cover;
mod events;
mod filter_tree;
#[cfg(feature = "fault-injection")]
pub mod fuzzing;
mod intake;
mod ledger;
mod presence;
mod reconcile;
mod run;
mod session;
mod skipped;
mod stand_ins;
mod status;
mod store;
mod stored;
mod subscriptions;

pub use intake::Journal;
pub use run::run;
pub use status::{SourceSnapshot, SourceStatus, SubscriptionStatus};
pub use stored::{StoredFilter, StoredSubscriptions, SubscriptionsFile};
pub use subscriptions::{Subscription, Subscriptions};

use crate::mqtt::packet::{FixedHeader, Incoming};

/// Decodes a PUBLISH as the session does it, and returns the lengths of packet and payload; `None` if it is not a whole,
/// well-formed one. For `benches/parts/`, which sees nothing else of this module's inside.
#[doc(hidden)]
pub fn decode_publish(version: crate::config::MqttVersion, bytes: &[u8]) -> Option<(usize, usize)> {
    let header = FixedHeader::read(bytes).ok()??;
    let body = bytes.get(header.len..header.packet_len())?;
    match Incoming::decode(version, header.first, body).ok()? {
        Incoming::Publish(publish) => Some((header.packet_len(), publish.payload.len())),
        Incoming::Control(_) => None,
    }
}
