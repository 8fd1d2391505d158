//! The state of the second connection, for `status` and the page.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Timestamp;

/// Shared between the connection, which writes, and the status page, which reads.
#[derive(Debug)]
pub struct OutboundStatus {
    snapshot: Mutex<OutboundSnapshot>,
    packet_bytes_max: AtomicU32,
}

impl Default for OutboundStatus {
    fn default() -> OutboundStatus {
        OutboundStatus { snapshot: Mutex::default(), packet_bytes_max: AtomicU32::new(u32::MAX) }
    }
}

/// The second connection at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutboundSnapshot {
    pub connected: bool,
    pub connected_since: Option<Timestamp>,
    /// Why the last connection or attempt ended; stays until the next one succeeds.
    pub last_error: Option<String>,
    /// The last message that the broker refused, with its reason.
    pub last_refusal: Option<String>,
    /// Request topics that the broker refused, with its reason.
    pub refused_filters: Vec<(String, String)>,
}

impl OutboundStatus {
    pub fn snapshot(&self) -> OutboundSnapshot {
        self.lock().clone()
    }

    pub(super) fn packet_bytes_max(&self) -> u32 {
        self.packet_bytes_max.load(Ordering::Relaxed)
    }

    pub(super) fn set_packet_bytes_max(&self, bytes_max: u32) {
        self.packet_bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut OutboundSnapshot)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, OutboundSnapshot> {
        // A snapshot is whole after every assignment; a panic elsewhere does not make it wrong.
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
