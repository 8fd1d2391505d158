//! Batches with messages that are neither acknowledged nor refused yet. They outlive connections.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use super::batch::{Batch, Encoded, Published, RefusedMessage};
use super::handle::Queued;

/// Batches under way at once: with a window of thousands, small ones must not wait for each other.
const BATCHES_MAX: usize = 64;

#[derive(Default)]
pub(super) struct Unsettled {
    batches: VecDeque<Active>,
    /// The number of the first; they count up.
    first: u64,
    /// Index of the first batch that is not sent to its end.
    sending: usize,
}

struct Active {
    batch: Batch,
    /// The next message to send.
    next: usize,
    /// Messages sent and not settled.
    open: usize,
    refused: Vec<RefusedMessage>,
    done: Option<oneshot::Sender<Published>>,
}

impl Unsettled {
    pub(super) fn has_room(&self) -> bool {
        self.batches.len() < BATCHES_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    pub(super) fn add(&mut self, queued: Queued) {
        let Queued { batch, done } = queued;
        self.batches.push_back(Active { batch, next: 0, open: 0, refused: Vec::new(), done: Some(done) });
        self.complete();
    }

    /// The next message to send: the number of its batch, its place in it, and itself.
    pub(super) fn next(&self) -> Option<(u64, usize, Encoded<'_>)> {
        let active = self.batches.get(self.sending)?;
        let packet = active.batch.packet(active.next)?;
        Some((self.first + self.sending as u64, active.next, packet))
    }

    /// The message of [`Unsettled::next`] was sent; `is_open`: it will be settled later.
    pub(super) fn sent(&mut self, is_open: bool) {
        let active = &mut self.batches[self.sending];
        active.next += 1;
        active.skip_refused();
        active.open += usize::from(is_open);
        self.complete();
    }

    /// The message of [`Unsettled::next`] is not sent.
    pub(super) fn pass_over(&mut self, why: String) {
        let active = &mut self.batches[self.sending];
        active.refused.push(RefusedMessage { index: active.next, code: None, why });
        self.sent(false);
    }

    /// The broker answered for a message; `refusal` is its code and its words.
    pub(super) fn settle(&mut self, batch: u64, index: usize, refusal: Option<(u8, String)>) {
        let active = &mut self.batches[(batch - self.first) as usize];
        active.open -= 1;
        if let Some((code, why)) = refusal {
            active.refused.push(RefusedMessage { index, code: Some(code), why });
        }
        self.complete();
    }

    /// The connection is lost; `unanswered` are the messages without an answer of the broker, in the order sent.
    /// Everything from a batch's first such message on will be sent again, except refused messages. The broker may have
    /// accepted later messages, and a publisher that counts its messages must know.
    pub(super) fn rewind(&mut self, unanswered: impl Iterator<Item = (u64, usize)>) {
        for (batch, index) in unanswered {
            let active = &mut self.batches[(batch - self.first) as usize];
            active.next = active.next.min(index);
        }
        for active in &mut self.batches {
            active.open = 0;
            active.refused.retain(|refused| refused.index < active.next || refused.code.is_some());
            active.skip_refused();
        }
        self.sending = 0;
        self.complete();
    }

    /// Tells of the batches that are through, and moves on to the next one to send.
    fn complete(&mut self) {
        while let Some(active) = self.batches.get_mut(self.sending)
            && active.next == active.batch.len()
        {
            self.sending += 1;
        }
        while self.batches.front().is_some_and(Active::is_settled)
            && let Some(mut active) = self.batches.pop_front()
        {
            self.first += 1;
            self.sending = self.sending.saturating_sub(1);
            active.refused.sort_by_key(|refused| refused.index);
            if let Some(done) = active.done.take() {
                // Whoever waited may be gone.
                let _ = done.send(Published { refused: active.refused, batch: Some(active.batch) });
            }
        }
    }
}

impl Active {
    fn is_settled(&self) -> bool {
        self.open == 0 && self.next == self.batch.len()
    }

    /// Only where messages are sent again, some that lie ahead are refused.
    fn skip_refused(&mut self) {
        while self.refused.iter().any(|refused| refused.index == self.next) {
            self.next += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MqttVersion;
    use crate::mqtt::publishing::ToPublish;

    fn queue(unsettled: &mut Unsettled, messages: usize) -> oneshot::Receiver<Published> {
        let mut batch = Batch::new(MqttVersion::V5);
        (0..messages).for_each(|n| batch.push(&ToPublish::new(&format!("t/{n}"), b"")).unwrap());
        let (done, ticket) = oneshot::channel();
        unsettled.add(Queued { batch, done });
        ticket
    }

    fn send_all(unsettled: &mut Unsettled) -> Vec<(u64, usize)> {
        let mut sent = Vec::new();
        while let Some((batch, index, _)) = unsettled.next() {
            sent.push((batch, index));
            unsettled.sent(true);
        }
        sent
    }

    #[test]
    fn a_batch_is_through_once_each_message_is_acknowledged_or_refused() {
        let mut unsettled = Unsettled::default();
        let (mut one, mut two, mut none) =
            (queue(&mut unsettled, 2), queue(&mut unsettled, 1), queue(&mut unsettled, 0));
        assert_eq!(send_all(&mut unsettled), [(0, 0), (0, 1), (1, 0)]);
        unsettled.settle(1, 0, None);
        unsettled.settle(0, 1, Some((0x87, "no".into())));
        assert!(one.try_recv().is_err() && two.try_recv().is_err(), "batches are told of in order");
        unsettled.settle(0, 0, Some((0x97, "no".into())));
        let refused: Vec<usize> = one.try_recv().unwrap().refused.iter().map(|refused| refused.index).collect();
        assert_eq!(refused, [0, 1]);
        assert!(two.try_recv().unwrap().refused.is_empty() && none.try_recv().is_ok());
        assert!(unsettled.is_empty());
    }

    #[test]
    fn what_a_lost_connection_left_unanswered_is_sent_again_in_order() {
        let mut unsettled = Unsettled::default();
        let mut one = queue(&mut unsettled, 3);
        let mut two = queue(&mut unsettled, 2);
        assert_eq!(send_all(&mut unsettled).len(), 5);
        unsettled.settle(0, 0, Some((0x87, "no".into())));
        unsettled.settle(0, 2, Some((0x87, "no".into())));
        unsettled.settle(1, 0, None);
        unsettled.rewind([(0, 1), (1, 1)].into_iter());
        assert_eq!(send_all(&mut unsettled), [(0, 1), (1, 1)], "what was refused is the publisher's again");
        [(0, 1), (1, 1)].iter().for_each(|&(batch, index)| unsettled.settle(batch, index, None));
        let refused: Vec<usize> = one.try_recv().unwrap().refused.iter().map(|refused| refused.index).collect();
        assert_eq!(refused, [0, 2]);
        assert!(two.try_recv().unwrap().refused.is_empty());
    }
}
