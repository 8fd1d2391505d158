//! The session's view of the journal, [`crate::journal::Intake`], as a trait, so that a test can replace the disk.

use std::future::Future;
use std::time::Duration;

use crate::journal::{Fs, Intake, Qos2Table};
use crate::message::Message;

/// Where messages go. The methods are those of [`Intake`]; the promises too.
pub trait Journal: Send + Sync + 'static {
    /// The QoS 2 table as the disk has it now; also takes note of a new generation.
    fn qos2(&self) -> Qos2Table;
    /// Changes when what was pushed but is not durable has been lost. Until `qos2` is called again nothing is taken.
    fn generation(&self) -> u64;
    /// Stages a message and returns its ordinal.
    fn push_message(&mut self, message: &Message<'_>, qos2: Option<(u16, u64)>) -> u64;
    /// Stages a PUBREL's release.
    fn push_release(&mut self, packet_id: u16) -> u64;
    /// Stages "the broker lost the session".
    fn push_clear(&mut self) -> u64;
    /// How long a message may wait before [`Journal::submit`] for others that are synced together with it.
    fn sync_interval(&self) -> Duration {
        Duration::ZERO
    }
    /// Hands what is staged to the writer; never blocks.
    fn submit(&mut self);
    /// Forgets what is staged and not submitted, as though it had never been pushed.
    fn discard(&mut self);
    /// Whether the session should stop reading.
    fn is_backlogged(&self) -> bool;
    /// The highest ordinal that may be acknowledged.
    fn durable(&self) -> u64;
    /// The highest ordinal that the journal has.
    fn recorded(&self) -> u64 {
        self.durable()
    }
    /// Whether an acknowledgement waits for more than the journal.
    fn awaits_delivery(&self) -> bool {
        false
    }
    /// So many acknowledgements are owed. To be said before `submit`.
    fn set_unacknowledged(&self, _count: usize) {}
    /// Waits until one of the three above may have changed. Cancel-safe.
    fn changed(&self) -> impl Future<Output = ()> + Send;
}

impl<F: Fs> Journal for Intake<F> {
    fn qos2(&self) -> Qos2Table {
        Intake::qos2(self)
    }

    fn generation(&self) -> u64 {
        Intake::generation(self)
    }

    fn push_message(&mut self, message: &Message<'_>, qos2: Option<(u16, u64)>) -> u64 {
        Intake::push_message(self, message, qos2)
    }

    fn push_release(&mut self, packet_id: u16) -> u64 {
        Intake::push_release(self, packet_id)
    }

    fn push_clear(&mut self) -> u64 {
        Intake::push_clear(self)
    }

    fn sync_interval(&self) -> Duration {
        Intake::sync_interval(self)
    }

    fn submit(&mut self) {
        Intake::submit(self);
    }

    fn discard(&mut self) {
        Intake::discard(self);
    }

    fn is_backlogged(&self) -> bool {
        Intake::is_backlogged(self)
    }

    fn durable(&self) -> u64 {
        Intake::durable(self)
    }

    fn recorded(&self) -> u64 {
        Intake::recorded(self)
    }

    fn awaits_delivery(&self) -> bool {
        Intake::awaits_delivery(self)
    }

    fn set_unacknowledged(&self, count: usize) {
        Intake::set_unacknowledged(self, count);
    }

    fn changed(&self) -> impl Future<Output = ()> + Send {
        Intake::changed(self)
    }
}
