//! The read buffer, split into packets.
//!
//! Packets are returned in place. A packet larger than `mqtt.max_packet_size` is never buffered whole: its head (topic,
//! packet identifier, properties) is kept, the rest is skipped as it arrives, and the stream stays in step. The limit
//! is not announced to the broker, because the broker would silently drop larger packets.

use super::packet::FixedHeader;
use super::wire::Malformed;

/// The buffer at first: one read takes all that a socket usually holds.
const BUFFER_BYTES: usize = 128 * 1024;
/// How much of a packet too large is kept: the longest topic (64 KiB) and 32 KiB of properties.
const HEAD_BYTES_MAX: usize = 96 * 1024;
/// A packet other than PUBLISH that is longer than this has no business here.
const CONTROL_BYTES_MAX: usize = BUFFER_BYTES;

/// Bytes read and not yet handed out.
pub(crate) struct Inbox {
    buffer: Vec<u8>,
    /// Bytes that are read and not consumed are in `start..end`.
    start: usize,
    end: usize,
    packet_bytes_max: usize,
    passing_over: Option<PassingOver>,
}

/// A packet too large, of which `left` bytes have yet to come.
struct PassingOver {
    first: u8,
    head: Vec<u8>,
    left: usize,
}

/// The next packet.
#[derive(Debug, PartialEq)]
pub(crate) enum Frame<'a> {
    Whole {
        first: u8,
        body: &'a [u8],
    },
    /// A PUBLISH larger than allowed; the head of its body.
    TooLarge {
        first: u8,
        head: Vec<u8>,
    },
}

impl Inbox {
    pub(crate) fn new(packet_bytes_max: u32) -> Inbox {
        Inbox {
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
            packet_bytes_max: packet_bytes_max as usize,
            passing_over: None,
        }
    }

    /// Where the next read goes; never empty. Moves or grows the buffer only when a packet does not fit behind what is
    /// there, and never beyond `mqtt.max_packet_size`.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start >= self.buffer.len() / 2 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            } else {
                // Only an allowed packet longer than the buffer gets here: doubling as its bytes arrive, so that a
                // length alone makes us allocate nothing.
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
        }
        &mut self.buffer[self.end..]
    }

    /// What the buffer takes.
    #[cfg(feature = "fault-injection")]
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// `len` bytes were read into [`Inbox::space`].
    pub(crate) fn filled(&mut self, len: usize) {
        self.end += len;
        assert!(self.end <= self.buffer.len(), "a read stays within the space given");
    }

    /// The next packet, or `None` until more has been read.
    pub(crate) fn next(&mut self) -> Result<Option<Frame<'_>>, Malformed> {
        if self.passing_over.is_none() {
            let available = &self.buffer[self.start..self.end];
            let Some(header) = FixedHeader::read(available)? else { return Ok(None) };
            let available_len = available.len();
            let packet_len = header.packet_len();
            if !header.is_publish() && packet_len > CONTROL_BYTES_MAX {
                return Err(Malformed("a control packet of more than 128 KiB"));
            }
            if !header.is_publish() || packet_len <= self.packet_bytes_max {
                if available_len < packet_len {
                    return Ok(None);
                }
                let body = self.start + header.len..self.start + packet_len;
                self.start = body.end;
                return Ok(Some(Frame::Whole { first: header.first, body: &self.buffer[body] }));
            }
            let head_len = packet_len.min(HEAD_BYTES_MAX);
            if available_len < head_len {
                return Ok(None);
            }
            let head = self.buffer[self.start + header.len..self.start + head_len].to_vec();
            self.start += head_len;
            self.passing_over = Some(PassingOver { first: header.first, head, left: packet_len - head_len });
        }
        Ok(self.pass_over())
    }

    /// Drops the received part of the packet that is too large; returns its head once the last byte has arrived.
    fn pass_over(&mut self) -> Option<Frame<'static>> {
        let passing = self.passing_over.as_mut()?;
        let passed = passing.left.min(self.end - self.start);
        self.start += passed;
        passing.left -= passed;
        if passing.left > 0 {
            return None;
        }
        self.passing_over.take().map(|passed| Frame::TooLarge { first: passed.first, head: passed.head })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(first: u8, body: &[u8]) -> Vec<u8> {
        let mut packet = vec![first];
        let mut len = body.len();
        loop {
            let byte = (len % 128) as u8;
            len /= 128;
            packet.push(if len > 0 { byte | 0x80 } else { byte });
            if len == 0 {
                break;
            }
        }
        packet.extend_from_slice(body);
        packet
    }

    /// Feeds `stream` in pieces of the given sizes and collects (first byte, too large?, body or head).
    fn cut(stream: &[u8], pieces: &[usize], packet_bytes_max: u32) -> Vec<(u8, bool, Vec<u8>)> {
        let mut inbox = Inbox::new(packet_bytes_max);
        let mut frames = Vec::new();
        let mut rest = stream;
        let mut pieces = pieces.iter().cycle();
        while !rest.is_empty() {
            let space = inbox.space();
            let len = (*pieces.next().unwrap()).clamp(1, space.len()).min(rest.len());
            space[..len].copy_from_slice(&rest[..len]);
            inbox.filled(len);
            rest = &rest[len..];
            while let Some(frame) = inbox.next().unwrap() {
                frames.push(match frame {
                    Frame::Whole { first, body } => (first, false, body.to_vec()),
                    Frame::TooLarge { first, head } => (first, true, head),
                });
            }
        }
        frames
    }

    proptest! {
        #[test]
        fn packets_come_out_as_they_went_in_however_they_were_cut(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..20),
            pieces in prop::collection::vec(1usize..200, 1..10),
        ) {
            let stream: Vec<u8> = bodies.iter().flat_map(|body| packet(0x30, body)).collect();
            let frames = cut(&stream, &pieces, 1 << 20);
            prop_assert_eq!(frames, bodies.into_iter().map(|body| (0x30, false, body)).collect::<Vec<_>>());
        }

        #[test]
        fn a_packet_too_large_is_passed_over_and_the_next_one_is_read(
            body_len in 100usize..300_000, pieces in prop::collection::vec(1usize..70_000, 1..5),
        ) {
            let body: Vec<u8> = (0..body_len).map(|n| n as u8).collect();
            let stream = [packet(0x32, &body), packet(0x30, b"next")].concat();
            let frames = cut(&stream, &pieces, 64);
            prop_assert_eq!(frames.len(), 2);
            prop_assert!(frames[0].1 && body.starts_with(&frames[0].2));
            prop_assert!(frames[0].2.len() >= body_len.min(HEAD_BYTES_MAX - 5));
            prop_assert_eq!(&frames[1], &(0x30, false, b"next".to_vec()));
        }

        #[test]
        fn an_allowed_packet_larger_than_the_buffer_is_read(pieces in prop::collection::vec(1usize..70_000, 1..5)) {
            let body = vec![7; 3 * BUFFER_BYTES];
            let stream = [packet(0x30, &body), packet(0xD0, &[])].concat();
            let frames = cut(&stream, &pieces, 1 << 20);
            prop_assert_eq!(frames, vec![(0x30, false, body), (0xD0, false, vec![])]);
        }
    }

    #[test]
    fn a_control_packet_without_measure_is_malformed() {
        let mut inbox = Inbox::new(1 << 20);
        let header = [0x90, 0xFF, 0xFF, 0xFF, 0x7F];
        inbox.space()[..5].copy_from_slice(&header);
        inbox.filled(5);
        assert!(inbox.next().is_err());
    }
}
