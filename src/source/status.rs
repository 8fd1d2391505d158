//! The state of the source for `/status`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::clock::Timestamp;

/// Shared between the session, which writes, and the status page, which reads.
#[derive(Debug, Default)]
pub struct SourceStatus {
    snapshot: Mutex<SourceSnapshot>,
    changed: Notify,
}

/// The source at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceSnapshot {
    pub connected: bool,
    pub connected_since: Option<Timestamp>,
    /// Whether the broker still had our session when we last connected.
    pub session_present: bool,
    /// How often it had lost it, since the process started.
    pub sessions_lost: u64,
    /// The address in use, or last tried. Never holds credentials.
    pub url: Option<String>,
    /// Why the last connection or attempt ended; stays until the next one succeeds.
    pub last_error: Option<String>,
    pub subscriptions: Vec<SubscriptionStatus>,
}

/// One topic filter that the rules need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionStatus {
    pub filter: String,
    pub qos_asked: u8,
    /// `None` until the broker has answered, and when it refused.
    pub qos_granted: Option<u8>,
    /// The refusal in words.
    pub error: Option<String>,
}

impl SourceStatus {
    pub fn snapshot(&self) -> SourceSnapshot {
        self.lock().clone()
    }

    /// Looks at the present state without a copy: there may be ten thousand filters in it.
    pub fn read<T>(&self, look: impl FnOnce(&SourceSnapshot) -> T) -> T {
        look(&self.lock())
    }

    /// Returns while, or as soon as, the session has its connection.
    pub async fn connected(&self) {
        loop {
            // Made first: it hears of every change from here on.
            let changed = self.changed.notified();
            if self.read(|now| now.connected) {
                return;
            }
            changed.await;
        }
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut SourceSnapshot)) {
        change(&mut self.lock());
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, SourceSnapshot> {
        // A snapshot is whole after every assignment; a panic elsewhere does not make it wrong.
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
