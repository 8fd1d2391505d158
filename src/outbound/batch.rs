//! Messages that are queued for the broker together, encoded one after the other, and the broker's answers to them.

use tokio::sync::oneshot;

use crate::config::MqttVersion;
use crate::message::Qos;
use crate::mqtt::publishing::{ToPublish, Unsendable, encode};

/// A batch is worth handing over from here on: one channel send and one answer for so many messages cost nothing.
const MESSAGES_MAX: usize = 2048;
/// As many bytes fill the socket's buffers; more only wait here.
const BYTES_MAX: usize = 256 * 1024;

/// Messages to publish in this order. Made by [`super::Outbound::batch`].
#[derive(Debug)]
pub struct Batch {
    version: MqttVersion,
    bytes: Vec<u8>,
    packets: Vec<Packet>,
}

#[derive(Debug, Clone, Copy)]
struct Packet {
    /// Where it ends in the bytes; it begins where the one before ends.
    end: usize,
    /// Where in it its packet identifier lies; 0 = it has none.
    id_at: u32,
}

/// A packet to send. Its identifier is yet to be put in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Encoded<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) id_at: usize,
}

impl Encoded<'_> {
    pub(super) fn qos(&self) -> Qos {
        Qos::from_level(self.bytes[0] >> 1 & 0b11).expect("it was encoded from a QoS")
    }

    /// Its topic, for a log line.
    pub(super) fn topic(&self) -> &str {
        let header_len = 1 + self.bytes[1..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
        let len = usize::from(u16::from_be_bytes([self.bytes[header_len], self.bytes[header_len + 1]]));
        std::str::from_utf8(&self.bytes[header_len + 2..header_len + 2 + len]).unwrap_or_default()
    }
}

impl Batch {
    pub(super) fn new(version: MqttVersion) -> Batch {
        Batch { version, bytes: Vec::new(), packets: Vec::new() }
    }

    /// Adds a message. On an error the batch is as it was before.
    pub fn push(&mut self, message: &ToPublish<'_>) -> Result<(), Unsendable> {
        let id_at = encode(self.version, message, &mut self.bytes)?;
        self.packets.push(Packet { end: self.bytes.len(), id_at });
        Ok(())
    }

    /// How many messages it holds.
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Bytes of all its packets.
    pub fn byte_count(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it should be handed over before more is added.
    pub fn is_full(&self) -> bool {
        self.packets.len() >= MESSAGES_MAX || self.bytes.len() >= BYTES_MAX
    }

    /// Empties it, for the next messages in the same memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.packets.clear();
    }

    pub(super) fn packet(&self, index: usize) -> Option<Encoded<'_>> {
        let packet = self.packets.get(index)?;
        let start = if index == 0 { 0 } else { self.packets[index - 1].end };
        Some(Encoded { bytes: &self.bytes[start..packet.end], id_at: packet.id_at as usize })
    }
}

/// A message that the broker, or its limits, did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedMessage {
    /// Its place in the batch.
    pub index: usize,
    /// The broker's reason code (MQTT 5), 0x80 or above; `None` where we did not send it.
    pub code: Option<u8>,
    /// In words, with the remedy where there is one.
    pub why: String,
}

/// What became of a batch: all that is not refused was acknowledged (QoS 1 and 2) or sent (QoS 0).
#[derive(Debug, Default)]
pub struct Published {
    /// In the order of the batch.
    pub refused: Vec<RefusedMessage>,
    /// The batch itself, for its memory.
    pub batch: Option<Batch>,
}

/// The bridge stops: what became of the rest of a batch is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection for publishing has ended; what the broker has of this batch is not known")]
pub struct Unknown;

/// Tells once what became of a batch.
#[derive(Debug)]
pub struct Ticket(pub(super) oneshot::Receiver<Published>);

impl Ticket {
    /// Waits until every message of the batch is acknowledged or refused. Across connections: what is unacknowledged when
    /// one is lost is sent again on the next, in the same order, from the first such message on.
    pub async fn settled(self) -> Result<Published, Unknown> {
        self.0.await.map_err(|_| Unknown)
    }
}
