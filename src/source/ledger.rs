//! The acknowledgements that are owed on this connection, and which of them may be sent.
//!
//! Entries leave in the order in which their packets arrived, each only once the journal has made its record durable.
//! With `durability: delivered` a PUBCOMP waits for its own record only, because that record has no message. Behind
//! messages that wait for a database, a PUBCOMP would block the broker's window. MQTT orders PUBACK and PUBREC, each by
//! PUBLISH. A ledger belongs to one connection: an acknowledgement can never reach another connection, where its packet
//! identifier may already mean a message that is not stored.

use std::collections::VecDeque;

use bytes::BytesMut;

use crate::mqtt::outgoing::{self, AckKind};

/// Acknowledgements owed, oldest first.
#[derive(Debug, Default)]
pub(super) struct AckLedger {
    /// PUBACK and PUBREC.
    owed: VecDeque<Owed>,
    /// PUBCOMP.
    completions: VecDeque<Owed>,
}

#[derive(Debug, Clone, Copy)]
struct Owed {
    /// The journal's ordinal that must be durable first.
    ordinal: u64,
    kind: AckKind,
    packet_id: u16,
}

impl AckLedger {
    /// More than a broker can have outstanding (65,535 identifiers, each at most once as PUBLISH and once as PUBREL):
    /// past it the session stops reading, whatever the broker does.
    pub(super) const OWED_MAX: usize = 2 * 65_535;

    /// Owes an acknowledgement for the packet just read. Ordinals never go back.
    pub(super) fn owe(&mut self, ordinal: u64, kind: AckKind, packet_id: u16) {
        let queue = if kind == AckKind::PubComp { &mut self.completions } else { &mut self.owed };
        debug_assert!(queue.back().is_none_or(|last| last.ordinal <= ordinal), "ordinals never go back");
        queue.push_back(Owed { ordinal, kind, packet_id });
    }

    /// Appends every acknowledgement that is due to `out`: PUBACK and PUBREC as far as `durable`, PUBCOMP as far as
    /// `recorded`, which is the same or further.
    pub(super) fn release(&mut self, durable: u64, recorded: u64, out: &mut BytesMut) {
        while let Some(owed) = self.take_due(durable, recorded) {
            crash_point!("source.acknowledgement.due");
            outgoing::acknowledge(owed.kind, owed.packet_id, out);
            crash_point!("source.acknowledgement.queued");
        }
    }

    /// A PUBREL has an ordinal of its own, which only second copies of messages behind it share.
    fn take_due(&mut self, durable: u64, recorded: u64) -> Option<Owed> {
        let message = self.owed.front().filter(|owed| owed.ordinal <= durable).map(|owed| owed.ordinal);
        let completion = self.completions.front().filter(|owed| owed.ordinal <= recorded).map(|owed| owed.ordinal);
        match (message, completion) {
            (Some(message), Some(completion)) if message < completion => self.owed.pop_front(),
            (_, Some(_)) => self.completions.pop_front(),
            (Some(_), None) => self.owed.pop_front(),
            (None, None) => None,
        }
    }

    /// Messages whose acknowledgement is owed.
    pub(super) fn messages(&self) -> usize {
        self.owed.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.owed.is_empty() && self.completions.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.owed.len() + self.completions.len() >= Self::OWED_MAX
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kind(choice: u8) -> AckKind {
        [AckKind::PubAck, AckKind::PubRec, AckKind::PubComp][usize::from(choice) % 3]
    }

    proptest! {
        #[test]
        fn acknowledgements_leave_in_order_of_arrival_and_never_before_they_are_durable(
            packets in prop::collection::vec((0u64..3, 0u8..3, 1u16..), 0..60),
            advances in prop::collection::vec(0u64..20, 0..20),
        ) {
            let mut ledger = AckLedger::default();
            let mut out = BytesMut::new();
            let mut expected = Vec::new();
            let mut ordinal = 0;
            let mut advances = advances.into_iter();
            let mut durable = 0;
            let mut released = 0;
            let mut ordinals = Vec::new();
            for (step, choice, id) in packets {
                // A release always has an ordinal of its own.
                ordinal += step.max(u64::from(kind(choice) == AckKind::PubComp));
                ledger.owe(ordinal, kind(choice), id);
                ordinals.push(ordinal);
                expected.extend([kind(choice) as u8, 2, (id >> 8) as u8, id as u8]);
                durable += advances.next().unwrap_or(0);
                ledger.release(durable, durable, &mut out);
                released = ordinals.iter().filter(|&&o| o <= durable).count();
                prop_assert_eq!(&out[..], &expected[..4 * released]);
            }
            ledger.release(u64::MAX, u64::MAX, &mut out);
            prop_assert!(ledger.is_empty());
            prop_assert_eq!(&out[..], &expected[..]);
            prop_assert!(released <= ordinals.len());
        }
    }

    #[test]
    fn a_completion_waits_for_no_message_before_it() {
        let mut ledger = AckLedger::default();
        let mut out = BytesMut::new();
        ledger.owe(1, AckKind::PubRec, 1);
        ledger.owe(2, AckKind::PubAck, 2);
        ledger.owe(3, AckKind::PubComp, 3);
        ledger.release(1, 3, &mut out);
        assert_eq!((&out[..], ledger.messages()), (&[0x50, 2, 0, 1, 0x70, 2, 0, 3][..], 1));
        ledger.release(2, 3, &mut out);
        assert!(ledger.is_empty());
    }
}
