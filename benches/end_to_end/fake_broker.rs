//! A broker that does nothing but send: as fast as acknowledgements allow, or at a steady rate. MQTT 5, one client.
//!
//! It accepts any session and grants every subscription, knows neither routing nor queues, and so costs a fraction of
//! what the subscriber does: how fast it is by itself, the scenario `ceiling` shows. Made for children of this process
//! that behave; it is an error of the measurement when they do not.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::frames::{Frames, put_length};
use super::load;

/// Messages in one write at most.
const BURST: u64 = 1_000;
/// Between two looks while there is nothing to send.
const LOOK_AGAIN: Duration = Duration::from_micros(200);

/// What to send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Feed {
    pub(crate) messages: u64,
    pub(crate) qos: u8,
    /// Messages under way before the first is acknowledged; without effect at QoS 0.
    pub(crate) window: u64,
    pub(crate) payload_len: usize,
    pub(crate) topics: u64,
    /// Messages per second; `None`: as fast as they are acknowledged.
    pub(crate) rate: Option<u64>,
}

impl Feed {
    /// So many of the usual messages at QoS 1, 1,000 of them under way.
    pub(crate) fn of(messages: u64) -> Feed {
        Feed { messages, qos: 1, window: 1_000, payload_len: load::PAYLOAD_LEN, topics: load::TOPICS, rate: None }
    }

    /// A connection over which nothing comes.
    pub(crate) fn silence() -> Feed {
        Feed::of(0)
    }
}

/// The broker. It ends when it goes out of scope.
pub(crate) struct FakeBroker {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    may_send: AtomicBool,
    has_ended: AtomicBool,
    acknowledged: AtomicU64,
}

impl FakeBroker {
    /// Waits for clients; the first message is sent after [`FakeBroker::begin`].
    pub(crate) fn start(feed: Feed) -> io::Result<FakeBroker> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::<Shared>::default();
        let in_thread = Arc::clone(&shared);
        let frames = Frames::new(feed.qos, feed.payload_len, feed.topics);
        std::thread::Builder::new().name("fake broker".to_owned()).spawn(move || {
            let mut sender = Sender { feed, frames, shared: in_thread, sent: 0, under_way: 0, begun: None };
            for stream in listener.incoming() {
                if sender.shared.has_ended.load(Ordering::Acquire) {
                    return;
                }
                // The end of a connection is the client's affair.
                let _ = stream.and_then(|stream| sender.serve(stream));
            }
        })?;
        Ok(FakeBroker { port, shared })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn begin(&self) {
        self.shared.may_send.store(true, Ordering::Release);
    }

    /// Messages of QoS 1 or 2 that the client has taken over.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Acquire)
    }
}

impl Drop for FakeBroker {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::Release);
        // It may wait for a client.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

struct Sender {
    feed: Feed,
    frames: Frames,
    shared: Arc<Shared>,
    sent: u64,
    under_way: u64,
    begun: Option<Instant>,
}

impl Sender {
    fn serve(&mut self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut received = Vec::new();
        let mut answers = Vec::new();
        let mut chunk = vec![0; 64 * 1024];
        while !self.shared.has_ended.load(Ordering::Acquire) {
            let sendable = self.sendable();
            if sendable > 0 {
                let (packets, count) = self.frames.take(self.sent, sendable);
                stream.write_all(packets)?;
                self.sent += count;
                self.under_way += if self.feed.qos > 0 { count } else { 0 };
            }
            // Only a full window leaves nothing to do but wait; otherwise one look.
            let is_stuck = self.under_way >= self.feed.window && self.feed.rate.is_none();
            stream.set_nonblocking(!is_stuck)?;
            let read = stream.read(&mut chunk);
            stream.set_nonblocking(false)?;
            match read {
                Ok(0) => return Ok(()),
                Ok(len) => received.extend_from_slice(&chunk[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if sendable == 0 {
                        std::thread::sleep(LOOK_AGAIN);
                    }
                    continue;
                }
                Err(error) => return Err(error),
            }
            let mut at = 0;
            while let Some((first, body, len)) = packet(&received[at..]) {
                self.answer(first, body, &mut answers)?;
                at += len;
            }
            received.drain(..at);
            if !answers.is_empty() {
                stream.write_all(&answers)?;
                answers.clear();
            }
        }
        Ok(())
    }

    /// How many messages may be sent now.
    fn sendable(&mut self) -> u64 {
        if !self.shared.may_send.load(Ordering::Acquire) {
            return 0;
        }
        let begun = *self.begun.get_or_insert_with(Instant::now);
        let due = match self.feed.rate {
            Some(rate) => (begun.elapsed().as_secs_f64() * rate as f64) as u64,
            None => self.feed.messages,
        };
        let room = if self.feed.qos == 0 { BURST } else { self.feed.window - self.under_way };
        due.min(self.feed.messages).saturating_sub(self.sent).min(room).min(BURST)
    }

    fn answer(&mut self, first: u8, body: &[u8], answers: &mut Vec<u8>) -> io::Result<()> {
        match first >> 4 {
            1 => answers.extend_from_slice(&[0x20, 3, 0, 0, 0]),
            // PUBACK, PUBCOMP
            4 | 7 => {
                self.under_way -= 1;
                self.shared.acknowledged.fetch_add(1, Ordering::AcqRel);
            }
            // PUBREC → PUBREL
            5 => answers.extend_from_slice(&[0x62, 2, body[0], body[1]]),
            8 => {
                let granted = vec![self.feed.qos; filters(body).ok_or_else(|| io::Error::other("a bad SUBSCRIBE"))?];
                answers.push(0x90);
                put_length(3 + granted.len(), answers);
                answers.extend_from_slice(&[body[0], body[1], 0]);
                answers.extend_from_slice(&granted);
            }
            12 => answers.extend_from_slice(&[0xD0, 0]),
            _ => {}
        }
        Ok(())
    }
}

/// How many filters a SUBSCRIBE names.
fn filters(body: &[u8]) -> Option<usize> {
    // After the packet identifier, the properties, of which a client sends few.
    let mut at = 3 + usize::from(*body.get(2)?);
    let mut count = 0;
    while at < body.len() {
        let len = u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]);
        at += 2 + usize::from(len) + 1;
        count += 1;
    }
    Some(count)
}

/// The packet at the front: its first byte, its body and its length.
fn packet(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (mut len, mut header_len) = (0, 1);
    loop {
        let byte = *bytes.get(header_len)?;
        len |= usize::from(byte & 0x7F) << (7 * (header_len - 1));
        header_len += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let body = bytes.get(header_len..header_len + len)?;
    Some((bytes[0], body, header_len + len))
}

/// A subscriber that looks at nothing and acknowledges at once: the fake broker's own limit. Returns when it has taken
/// `feed.messages`.
pub(crate) fn take_all(port: u16, feed: Feed) -> io::Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    // Only what the fake broker looks at: packet types, and one filter.
    stream.write_all(&[0x10, 0, 0x82, 7, 0, 1, 0, 0, 1, b'#', 1])?;
    stream.read_exact(&mut [0; 5 + 6])?;
    let frame = Frames::new(feed.qos, feed.payload_len, 1).len();
    let (mut taken, mut acknowledged, mut rest, mut answers) = (0, 0, 0, Vec::new());
    let mut chunk = vec![0; 256 * 1024];
    while taken < feed.messages {
        let len = stream.read(&mut chunk)?;
        if len == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        rest += len;
        taken += (rest / frame) as u64;
        rest %= frame;
        // Every identifier is as good as the next: the fake broker counts.
        answers.clear();
        while feed.qos == 1 && acknowledged < taken {
            answers.extend_from_slice(&[0x40, 2, 0, 1]);
            acknowledged += 1;
        }
        stream.write_all(&answers)?;
    }
    Ok(())
}
