//! A journal that stores nothing and never reports a message as durable. So no message is acknowledged, and the broker
//! keeps what it delivers to the check.

use tokio::sync::Notify;

use crate::journal::Qos2Table;
use crate::message::Message;
use crate::source::Journal;

#[derive(Default)]
pub(super) struct SilentJournal {
    last: u64,
    /// The ordinal of the first message.
    first_message: Option<u64>,
    submitted: Notify,
}

impl SilentJournal {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

impl Journal for SilentJournal {
    fn qos2(&self) -> Qos2Table {
        Qos2Table::default()
    }

    fn generation(&self) -> u64 {
        0
    }

    fn push_message(&mut self, _message: &Message<'_>, _qos2: Option<(u16, u64)>) -> u64 {
        let ordinal = self.next();
        self.first_message.get_or_insert(ordinal);
        ordinal
    }

    fn push_release(&mut self, _packet_id: u16) -> u64 {
        self.next()
    }

    fn push_clear(&mut self) -> u64 {
        self.next()
    }

    fn submit(&mut self) {
        self.submitted.notify_one();
    }

    fn discard(&mut self) {}

    fn is_backlogged(&self) -> bool {
        false
    }

    /// All up to the first message: a new session is subscribed to once its beginning is durable.
    fn durable(&self) -> u64 {
        self.first_message.map_or(self.last, |first| first - 1)
    }

    async fn changed(&self) {
        self.submitted.notified().await;
    }
}
