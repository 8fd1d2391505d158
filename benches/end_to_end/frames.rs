//! PUBLISH packets of MQTT 5, made before the measurement, in a ring; only their numbers and packet identifiers are
//! written anew on each turn.

use super::load;

/// Memory for the ring: no more than it takes to vary the values.
const RING_BYTES: usize = 16 * 1024 * 1024;
const RING_FRAMES_MIN: usize = 16;
const RING_FRAMES_MAX: usize = 65_536;
/// Packet identifiers go from 1 to this, in turn.
const IDS: u64 = 65_535;

pub(crate) struct Frames {
    ring: Vec<u8>,
    count: usize,
    len: usize,
    /// Where a frame's packet identifier lies; `None` at QoS 0.
    id_at: Option<usize>,
    number_at: usize,
}

impl Frames {
    pub(crate) fn new(qos: u8, payload_len: usize, topics: u64) -> Frames {
        let room = RING_BYTES / (payload_len + 64);
        let count = room.clamp(RING_FRAMES_MIN, RING_FRAMES_MAX).max(topics as usize);
        // Whole rounds of the topics.
        let count = count - count % topics as usize;
        let topic_len = load::topic(0, topics).len();
        let id_len = if qos == 0 { 0 } else { 2 };
        let body_len = 2 + topic_len + id_len + 1 + payload_len;
        let mut header = vec![0x30 | qos << 1];
        put_length(body_len, &mut header);
        let id_at = header.len() + 2 + topic_len;
        let mut frames = Frames {
            ring: Vec::with_capacity(count * (header.len() + body_len)),
            count,
            len: header.len() + body_len,
            id_at: (qos > 0).then_some(id_at),
            number_at: id_at + id_len + 1 + load::NUMBER_AT,
        };
        for number in 0..count as u64 {
            let topic = load::topic(number, topics);
            frames.ring.extend_from_slice(&header);
            frames.ring.extend_from_slice(&(topic.len() as u16).to_be_bytes());
            frames.ring.extend_from_slice(topic.as_bytes());
            frames.ring.extend_from_slice(&[0, 0][..id_len]);
            // No properties.
            frames.ring.push(0);
            frames.ring.extend_from_slice(load::payload(number, payload_len).as_bytes());
        }
        frames
    }

    /// Bytes of every frame.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The packets of up to `wanted` messages from `first` on, and how many they are: fewer where the ring ends.
    pub(crate) fn take(&mut self, first: u64, wanted: u64) -> (&[u8], u64) {
        let at = (first % self.count as u64) as usize;
        let taken = (wanted as usize).min(self.count - at);
        for index in 0..taken {
            let number = first + index as u64;
            let frame = &mut self.ring[(at + index) * self.len..][..self.len];
            if let Some(id_at) = self.id_at {
                frame[id_at..id_at + 2].copy_from_slice(&((number % IDS) as u16 + 1).to_be_bytes());
            }
            let mut rest = load::FIRST_NUMBER + number;
            for digit in frame[self.number_at..self.number_at + 10].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        (&self.ring[at * self.len..(at + taken) * self.len], taken as u64)
    }
}

/// A variable byte integer.
pub(crate) fn put_length(mut len: usize, out: &mut Vec<u8>) {
    loop {
        let low = (len % 128) as u8;
        len /= 128;
        out.push(if len > 0 { low | 0x80 } else { low });
        if len == 0 {
            return;
        }
    }
}
