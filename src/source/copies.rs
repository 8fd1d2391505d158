//! Recognises a broker that sends a message once for each matching subscription and puts the identifiers of all
//! subscriptions on every copy (Artemis). MQTT 5 allows one copy with all identifiers, or copies with one identifier
//! each. Such copies cannot be distinguished from a second message. Once this is seen, the session subscribes so that
//! no two filters match.
//!
//! Taking two equal messages for copies by mistake costs traffic, never a message: nothing is dropped here.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::clock::Timestamp;
use crate::message::{Properties, Property};
use crate::mqtt::publish::Publish;

/// Watches the messages of one connection.
#[derive(Debug, Default)]
pub(super) struct Copies {
    /// Whether there are identifiers to look at.
    pub(super) is_watching: bool,
    /// The last message with several identifiers, as far as it must be equal, and when it was read.
    last: Option<(u64, Timestamp)>,
    is_found: bool,
}

impl Copies {
    /// A connection begins.
    pub(super) fn begin(&mut self, is_watching: bool) {
        *self = Copies { is_watching, ..Copies::default() };
    }

    /// Looks at a message. Copies are sent together, so they are read in one go.
    pub(super) fn look(
        &mut self,
        publish: &Publish<'_>,
        topic: &[u8],
        properties: Properties<'_>,
        received_at: Timestamp,
    ) {
        let (mut count, mut sum) = (0, 0u64);
        for property in properties.iter() {
            if let Property::SubscriptionId(id) = property {
                (count, sum) = (count + 1, sum + u64::from(id));
            }
        }
        if count < 2 || publish.dup {
            return;
        }
        let this = (xxh3_64_with_seed(publish.payload, xxh3_64(topic) ^ sum), received_at);
        self.is_found |= self.last == Some(this);
        self.last = Some(this);
    }

    /// Whether copies were recognised since the last time this was asked.
    pub(super) fn take_found(&mut self) -> bool {
        std::mem::take(&mut self.is_found)
    }
}
