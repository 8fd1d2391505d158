//! Which acknowledgements are owed on this connection, and which of them may go out.
//!
//! Entries leave in the order their packets arrived, each only once the journal has made its record durable. A ledger
//! lives and dies with one connection: an acknowledgement can never reach another one, where its packet identifier may
//! already mean a message that is not stored.

use std::collections::VecDeque;

use bytes::BytesMut;

use crate::mqtt::outgoing::{self, AckKind};

/// Acknowledgements owed, oldest first.
#[derive(Debug, Default)]
pub(super) struct AckLedger {
    owed: VecDeque<Owed>,
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
        debug_assert!(self.owed.back().is_none_or(|last| last.ordinal <= ordinal), "ordinals never go back");
        self.owed.push_back(Owed { ordinal, kind, packet_id });
    }

    /// Appends every acknowledgement that `durable` covers to `out`.
    pub(super) fn release(&mut self, durable: u64, out: &mut BytesMut) {
        while let Some(owed) = self.owed.front().filter(|owed| owed.ordinal <= durable) {
            crash_point!("source.acknowledgement.due");
            outgoing::acknowledge(owed.kind, owed.packet_id, out);
            self.owed.pop_front();
            crash_point!("source.acknowledgement.queued");
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.owed.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.owed.len() >= Self::OWED_MAX
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
                ordinal += step;
                ledger.owe(ordinal, kind(choice), id);
                ordinals.push(ordinal);
                expected.extend([kind(choice) as u8, 2, (id >> 8) as u8, id as u8]);
                durable += advances.next().unwrap_or(0);
                ledger.release(durable, &mut out);
                released = ordinals.iter().filter(|&&o| o <= durable).count();
                prop_assert_eq!(&out[..], &expected[..4 * released]);
            }
            ledger.release(u64::MAX, &mut out);
            prop_assert!(ledger.owed.is_empty());
            prop_assert_eq!(&out[..], &expected[..]);
            prop_assert!(released <= ordinals.len());
        }
    }
}
