//! A message on its way to the broker, adapted to what the broker accepts: with a lower QoS, not retained, or not at
//! all. From then on it is in the broker's window.

use bytes::BytesMut;

use super::batch::Encoded;
use super::window::{Cause, Window};
use crate::message::Qos;
use crate::mqtt::limits::Limits;
use crate::mqtt::publishing::append_at_most_once;

/// What became of a message.
pub(super) enum Put {
    /// `is_open`: the broker will answer.
    Sent { is_open: bool },
    /// It must wait until the broker has answered for others.
    NoRoom,
    /// The broker does not take it.
    TooLarge(String),
}

/// Appends a packet to `out`, within what the broker takes: with a lower QoS, not retained.
pub(super) fn put(
    packet: Encoded<'_>,
    limits: &Limits,
    window: &mut Window,
    lowered: &mut Vec<u8>,
    out: &mut BytesMut,
    cause: impl FnOnce() -> Cause,
) -> Put {
    if packet.bytes.len() > limits.packet_bytes_max as usize {
        let (bytes, bytes_max) = (packet.bytes.len(), limits.packet_bytes_max);
        return Put::TooLarge(format!(
            "the message has {bytes} bytes and the broker takes packets of {bytes_max} at most; raise its limit"
        ));
    }
    let qos = packet.qos().min(limits.qos_max);
    if !window.has_room(qos) {
        return Put::NoRoom;
    }
    let start = out.len();
    if qos == Qos::AtMostOnce && packet.qos() != qos {
        lowered.clear();
        append_at_most_once(packet.bytes, packet.id_at, lowered);
        out.extend_from_slice(lowered);
    } else {
        out.extend_from_slice(packet.bytes);
    }
    let first = &mut out[start];
    *first = *first & !0b110 | qos.level() << 1;
    if !limits.retained_messages {
        *first &= !1;
    }
    let is_open = qos != Qos::AtMostOnce;
    if is_open {
        let id_at = start + packet.id_at;
        out[id_at..id_at + 2].copy_from_slice(&window.sent(qos, cause()).to_be_bytes());
    }
    Put::Sent { is_open }
}
