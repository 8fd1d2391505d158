//! How the broker assigns packet identifiers, judged by the recorded QoS 2 messages.
//!
//! Some brokers count through all 65,535 identifiers, also across reconnects (Mosquitto). Some assign the lowest free
//! identifier (HiveMQ), some start again with each connection, some count within their window. Only with the first kind
//! does an identifier certainly return after a whole round. A broker counts as this kind after [`RUN_MIN`] identifiers
//! that each followed the previous one while a lower one was certainly free. One of them must be the first new message
//! after a redelivery. The lowest-free kind never assigns such an identifier, the second kind not after a reconnect,
//! and the third starts again sooner. An identifier that goes back restarts the judgement.

/// The number of consecutive identifiers that makes a broker count as one that counts through all of them: the longest
/// window that a broker is known to count within (rumqttd), so that such a broker has started again before.
const RUN_MIN: u16 = 100;

/// A step of at most so many numbers goes forward; a longer one goes back.
const FORWARD_MAX: u32 = 32_767;

/// How many numbers QoS 1 messages may have taken between two QoS 2 messages for the second to follow the first. A number
/// from anywhere lies that near by chance once in a thousand times.
const PASSED_MAX: u64 = 64;

/// What the last numbers said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Numbering {
    /// 0 = none yet.
    last: u16,
    /// QoS 1 messages since, at most [`PASSED_MAX`].
    passed: u16,
    /// Numbers of new messages in order while a lower one was free, at most [`RUN_MIN`].
    run: u16,
    /// The last identifier was that of a redelivery whose first delivery was never seen, and followed the one before.
    is_after_redelivery: bool,
    /// The order went on over a reconnect.
    has_crossed: bool,
}

impl Numbering {
    /// Whether a number that was given out comes again only after all others.
    pub(super) fn is_in_order(self) -> bool {
        self.run >= RUN_MIN && self.has_crossed
    }

    /// QoS 1 messages were recorded, whose numbers the journal does not keep.
    pub(super) fn passed(&mut self, messages: u64) {
        self.passed = (u64::from(self.passed) + messages).min(PASSED_MAX) as u16;
    }

    /// A QoS 2 message was recorded, when the broker had at most `in_flight_max` others in flight.
    pub(super) fn took(&mut self, packet_id: u16, dup: bool, in_flight_max: u64) {
        let last = std::mem::replace(&mut self.last, packet_id);
        let passed = std::mem::take(&mut self.passed);
        let was_after_redelivery = std::mem::take(&mut self.is_after_redelivery);
        // Numbers go from 1 to 65,535 and begin anew.
        let step = (u32::from(packet_id) + 65_535 - u32::from(last)) % 65_535;
        if last == 0 || step == 0 || step > FORWARD_MAX {
            (self.run, self.has_crossed) = (0, false);
            return;
        }
        let follows = step <= 1 + u32::from(passed);
        self.is_after_redelivery = dup && follows;
        // Of `in_flight_max` others and this one, one has a higher number than there are messages: a lower one was free.
        if !dup && follows && u64::from(packet_id) > in_flight_max + 1 {
            self.run = (self.run + 1).min(RUN_MIN);
            self.has_crossed |= was_after_redelivery;
        }
    }

    /// As one byte and eight.
    pub(super) fn encode(self) -> (u8, u64) {
        let flags = u8::from(self.is_after_redelivery) | u8::from(self.has_crossed) << 1;
        (flags, u64::from(self.last) | u64::from(self.passed) << 16 | u64::from(self.run) << 32)
    }

    pub(super) fn decode(flags: u8, numbers: u64) -> Numbering {
        Numbering {
            last: numbers as u16,
            passed: ((numbers >> 16) as u16).min(PASSED_MAX as u16),
            run: ((numbers >> 32) as u16).min(RUN_MIN),
            is_after_redelivery: flags & 1 != 0,
            has_crossed: flags & 2 != 0,
        }
    }
}
