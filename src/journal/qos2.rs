//! Which QoS 2 messages have been taken, so that a redelivery after a crash is recognised.
//!
//! A pure function of the record stream: the writer keeps one copy (snapshotted at the start of each segment), the
//! session another that runs ahead of the disk.

/// Packet ids known to this session, with the hash of what they carried.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Qos2Table {}

/// What an inbound QoS 2 PUBLISH is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos2Verdict {
    /// Never seen: store it.
    New,
    /// Already taken: do not store it again, acknowledge it.
    Duplicate,
}

impl Qos2Table {
    /// `dup=0` is always new; `dup=1` with a known id and the same content hash is a duplicate.
    pub fn verdict(&self, _packet_id: u16, _dup: bool, _content_hash: u64) -> Qos2Verdict {
        todo!()
    }

    /// A message with this id was taken.
    pub fn take(&mut self, _packet_id: u16, _content_hash: u64) {
        todo!()
    }

    /// The broker released the id (PUBREL). Kept until 32,768 newer ids have been taken, because Mosquitto sends a
    /// PUBLISH again even after its PUBREL when reconnects follow each other quickly.
    pub fn release(&mut self, _packet_id: u16) {
        todo!()
    }

    /// The broker lost the session.
    pub fn clear(&mut self) {
        todo!()
    }
}
