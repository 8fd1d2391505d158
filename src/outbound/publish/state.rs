//! The state of one publication in `status`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use crate::telemetry::Metrics;

/// Shared between the publisher, which writes, and `status`.
#[derive(Debug)]
pub struct PublishState {
    pub name: Arc<str>,
    published: Counter,
    skipped: Counter,
    pending: Gauge,
    next_offset: AtomicU64,
    error: Mutex<Option<String>>,
}

impl PublishState {
    pub(super) fn new(name: &Arc<str>, metrics: &Metrics) -> Arc<PublishState> {
        let (published, skipped, pending) = metrics.publish.of(name);
        let (next_offset, error) = (AtomicU64::new(1), Mutex::default());
        Arc::new(PublishState { name: Arc::clone(name), published, skipped, pending, next_offset, error })
    }

    /// Since the start: rows that the broker has.
    pub fn published(&self) -> u64 {
        self.published.get()
    }

    /// Since the start: changes that no message could be made of, or that the broker refused for good.
    pub fn skipped(&self) -> u64 {
        self.skipped.get()
    }

    /// Changes that wait in the database, as last counted.
    pub fn pending(&self) -> u64 {
        self.pending.get().max(0).unsigned_abs()
    }

    /// Of the oldest change that is not finished.
    pub fn next_offset(&self) -> u64 {
        self.next_offset.load(Ordering::Relaxed)
    }

    /// Why nothing is published at present.
    pub fn error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn finished(&self, published: u64, skipped: u64, next_offset: u64) {
        self.published.inc_by(published);
        self.skipped.inc_by(skipped);
        self.next_offset.store(next_offset, Ordering::Relaxed);
    }

    pub(super) fn set_next_offset(&self, next_offset: u64) {
        self.next_offset.store(next_offset, Ordering::Relaxed);
    }

    pub(super) fn set_pending(&self, pending: u64) {
        self.pending.set(i64::try_from(pending).unwrap_or(i64::MAX));
    }

    /// Whether it is another than before.
    pub(super) fn set_error(&self, error: Option<String>) -> bool {
        let mut known = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = *known != error;
        *known = error;
        is_new
    }
}
