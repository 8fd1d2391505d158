//! The load: one MQTT 3.1.1 connection that publishes messages of one size at QoS 1, never more than [`WINDOW`] ahead
//! of what Mosquitto has passed on.
//!
//! How much that is, Mosquitto's own count of written bytes tells: every byte it writes is a message to the one
//! subscriber, all of one length, or a PUBACK of 4 bytes to us. So the subscriber is paced without being asked anything.
//! How long a message is on its way out (MQTT 5 adds properties) is found out first, with [`CALIBRATION`] of them.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::load::{self, PAYLOAD_LEN, TOPICS};
use super::usage;

/// Messages under way to the subscriber: more than enough to keep 20 in flight, within Mosquitto's usual queue of 1,000.
const WINDOW: u64 = 600;
/// Messages in one write at most.
const BURST: u64 = 40;
/// Messages by which the outgoing length is found out: fewer than may be in flight, so that none waits.
const CALIBRATION: u64 = 16;
/// Until everything of the start, or of the calibration, has been written.
const QUIET: Duration = Duration::from_millis(500);
/// Between two looks at a full window.
const LOOK_AGAIN: Duration = Duration::from_micros(200);
const PUBACK_LEN: u64 = 4;
/// Without any progress for so long, the measurement is over.
const STALLED: Duration = Duration::from_secs(20);

/// How fast to publish.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// As fast as the subscriber takes it.
    Saturated,
    /// So many per second.
    Steady(u64),
}

impl Pace {
    /// When message `number`, counted from 0, is to be sent by a publisher that began then.
    pub(crate) fn due(self, begun: Instant, number: u64) -> Instant {
        match self {
            Pace::Saturated => begun,
            Pace::Steady(per_second) => begun + Duration::from_secs_f64((number + 1) as f64 / per_second as f64),
        }
    }
}

pub(crate) struct Publisher {
    socket: TcpStream,
    broker: u32,
    published: u64,
    acknowledged: Arc<AtomicU64>,
    /// What of the broker's count is neither a message to the subscriber nor a PUBACK to us.
    other_bytes: u64,
    /// A message's length on its way to the subscriber.
    outgoing_len: u64,
    packets: Vec<u8>,
}

impl Publisher {
    /// Connects to the broker, process `broker`, on `port`.
    pub(crate) fn connect(port: u16, broker: u32) -> io::Result<Publisher> {
        let mut socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        // Protocol level 4, clean session, no keep-alive, client identifier `load`.
        socket.write_all(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x00\x00\x04load")?;
        let mut connack = [0; 4];
        socket.read_exact(&mut connack)?;
        if connack != [0x20, 2, 0, 0] {
            return Err(io::Error::other(format!("the broker refuses the publisher: {connack:?}")));
        }
        let acknowledged = Arc::new(AtomicU64::new(0));
        let (acks, counter) = (socket.try_clone()?, Arc::clone(&acknowledged));
        std::thread::spawn(move || count_acknowledgements(acks, &counter));
        Ok(Publisher {
            socket,
            broker,
            published: 0,
            acknowledged,
            other_bytes: 0,
            outgoing_len: 0,
            packets: Vec::new(),
        })
    }

    /// Publishes one message and waits for its PUBACK.
    pub(crate) fn probe(&mut self) -> io::Result<()> {
        self.write(1)?;
        self.wait_acknowledged()
    }

    /// Finds out how long a message is on its way out, by as many messages as it returns.
    pub(crate) fn calibrate(&mut self) -> io::Result<u64> {
        std::thread::sleep(QUIET);
        let before = usage::bytes_handed_over(self.broker)?;
        self.write(CALIBRATION)?;
        self.wait_acknowledged()?;
        std::thread::sleep(QUIET);
        self.other_bytes = usage::bytes_handed_over(self.broker)?;
        self.outgoing_len = (self.other_bytes - before) / CALIBRATION - PUBACK_LEN;
        assert_eq!((self.other_bytes - before) % CALIBRATION, 0, "messages have one length, and nothing else is sent");
        self.published = 0;
        self.acknowledged.store(0, Ordering::Release);
        Ok(CALIBRATION)
    }

    /// Publishes `count` messages; of a steady pace, the first one interval after `begun`.
    pub(crate) fn publish(&mut self, begun: Instant, count: u64, pace: Pace) -> io::Result<()> {
        let mut last_progress = Instant::now();
        while self.published < count {
            let due = match pace {
                Pace::Saturated => count,
                Pace::Steady(per_second) => (begun.elapsed().as_secs_f64() * per_second as f64) as u64,
            };
            if due <= self.published {
                let next = pace.due(begun, self.published);
                std::thread::sleep(next.saturating_duration_since(Instant::now()).max(LOOK_AGAIN));
                continue;
            }
            let under_way = self.published - self.passed_on()?.min(self.published);
            let room = WINDOW.saturating_sub(under_way);
            let burst = due.min(count).saturating_sub(self.published).min(room).min(BURST);
            // A full burst, or none: a write for each message would cost the broker more than the messages.
            if burst == 0 || pace == Pace::Saturated && burst < BURST.min(count - self.published) {
                if last_progress.elapsed() > STALLED {
                    let passed_on = self.passed_on()?;
                    let text =
                        format!("of {} messages the subscriber has taken {passed_on} and no more", self.published);
                    return Err(io::Error::other(text));
                }
                std::thread::sleep(LOOK_AGAIN);
                continue;
            }
            last_progress = Instant::now();
            self.write(burst)?;
        }
        self.wait_acknowledged()
    }

    /// Messages that the broker has written to the subscriber, a few more or less.
    fn passed_on(&self) -> io::Result<u64> {
        let bytes = usage::bytes_handed_over(self.broker)?.saturating_sub(self.other_bytes);
        let acks = self.acknowledged.load(Ordering::Acquire) * PUBACK_LEN;
        Ok(bytes.saturating_sub(acks) / self.outgoing_len)
    }

    fn wait_acknowledged(&self) -> io::Result<()> {
        let begun = Instant::now();
        while self.acknowledged.load(Ordering::Acquire) < self.published {
            if begun.elapsed() > STALLED {
                return Err(io::Error::other("the broker does not acknowledge what was published"));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    fn write(&mut self, count: u64) -> io::Result<()> {
        self.packets.clear();
        for number in self.published..self.published + count {
            append_packet(number, &mut self.packets);
        }
        self.published += count;
        self.socket.write_all(&self.packets)
    }
}

/// Counts PUBACKs until the connection ends.
fn count_acknowledgements(mut socket: TcpStream, counter: &AtomicU64) {
    let mut buffer = [0; 4096];
    let mut rest = 0;
    while let Ok(len) = socket.read(&mut buffer) {
        if len == 0 {
            return;
        }
        rest += len as u64;
        counter.fetch_add(rest / PUBACK_LEN, Ordering::AcqRel);
        rest %= PUBACK_LEN;
    }
}

/// PUBLISH of message `number`: every one has the same length.
fn append_packet(number: u64, out: &mut Vec<u8>) {
    let topic = load::topic(number, TOPICS);
    let body_len = 2 + topic.len() + 2 + PAYLOAD_LEN;
    out.extend_from_slice(&[0x32, (body_len % 128) as u8 | 0x80, (body_len / 128) as u8]);
    out.extend_from_slice(&(topic.len() as u16).to_be_bytes());
    out.extend_from_slice(topic.as_bytes());
    // 1 to 65,535, in turn: there are never so many unacknowledged.
    out.extend_from_slice(&((number % 65_535) as u16 + 1).to_be_bytes());
    out.extend_from_slice(load::payload(number, PAYLOAD_LEN).as_bytes());
}
