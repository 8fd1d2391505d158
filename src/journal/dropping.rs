//! Whether the journal is dropping messages now (`when_full: drop_oldest` or `drop_newest`), for `/readyz` and `status`.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::Fs;
use super::shared::{Shared, lock};

/// So long after a drop messages count as being dropped, whatever the journal looks like: a full disk can drop messages
/// below `max_size`. 10 s: what looks at `/readyz` does so at least that often.
const RECENT: Duration = Duration::from_secs(10);

/// The last time that a message was dropped for lack of room.
#[derive(Debug, Default)]
pub(super) struct LastDrop(Mutex<Option<Instant>>);

impl LastDrop {
    pub(super) fn note(&self) {
        *lock(&self.0) = Some(Instant::now());
    }
}

impl<F: Fs> Shared<F> {
    /// Messages were dropped, and the next one costs another: it was just now, or there is still no room and nothing that
    /// may give way.
    pub(super) fn is_dropping(&self) -> bool {
        let last = *lock(&self.last_drop.0);
        last.is_some_and(|at| at.elapsed() < RECENT || self.is_stuck())
    }

    /// Another segment passes `max_size`, and the oldest is not delivered.
    fn is_stuck(&self) -> bool {
        let is_full = self.bytes() + self.segment_bytes > self.max_size;
        let second = lock(&self.segments).get(1).map(|segment| segment.base);
        let is_needed = |base| self.delivered_by_all().is_none_or(|delivered| delivered < base);
        is_full && second.is_none_or(is_needed)
    }
}
