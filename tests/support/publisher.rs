//! Publishers. [`Publisher`] sends one message at a time and waits for its acknowledgement. [`Load`] sends many from a
//! thread, with a window in flight, and loses none: what the broker had not acknowledged when a connection broke is sent
//! again on the next one, in the MQTT way, so that QoS 2 stays exact as long as the broker keeps the session.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::mqtt::{Connection, Outgoing, Version, release};
use super::{PATIENCE, wait_for};

/// A client id that no other client of this process uses.
pub(crate) fn client_id(kind: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{kind}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Sends one message at a time.
pub(crate) struct Publisher(Connection);

impl Publisher {
    pub(crate) fn new(port: u16) -> Publisher {
        Publisher::speaking(port, Version::V5)
    }

    pub(crate) fn speaking(port: u16, version: Version) -> Publisher {
        Publisher(Connection::open(port, version, &client_id("publisher"), true).unwrap())
    }

    /// Returns once the broker has taken responsibility for the message.
    pub(crate) fn publish(&mut self, message: &Outgoing) {
        let bytes = self.0.publish_packet(message, 1, false);
        self.0.send(&bytes).unwrap();
        if message.qos == 0 {
            return;
        }
        if message.qos == 2 {
            assert_eq!(self.answer(), 0x50, "PUBREC expected");
            self.0.send(&release(1)).unwrap();
            assert_eq!(self.answer(), 0x70, "PUBCOMP expected");
        } else {
            assert_eq!(self.answer(), 0x40, "PUBACK expected");
        }
    }

    /// A payload at QoS 1.
    pub(crate) fn send(&mut self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.publish(&Outgoing::new(topic, payload));
    }

    fn answer(&mut self) -> u8 {
        self.0.receive(PATIENCE).unwrap().expect("the broker acknowledges").first
    }
}

type Make = Arc<dyn Fn(u64) -> (String, Vec<u8>) + Send + Sync>;
type Taken = Box<dyn Fn() -> u64 + Send>;

/// A flow of messages numbered from `first`, described; [`Load::start`] sets it going.
pub(crate) struct Load {
    port: u16,
    qos: u8,
    first: u64,
    count: u64,
    per_second: Option<u64>,
    pace: Option<(u64, Taken)>,
    make: Make,
}

/// The message that [`Load`] sends unless told otherwise: its number, and a value that can be checked against it.
pub(crate) fn reading(id: u64) -> (String, Vec<u8>) {
    let topic = format!("sensors/site{}/device{}/telemetry", id % 3, id % 50);
    (topic, format!(r#"{{"id":{id},"temp":{}.25}}"#, id % 40).into_bytes())
}

impl Load {
    /// `count` readings at `qos`, as fast as the broker takes them.
    pub(crate) fn new(port: u16, qos: u8, count: u64) -> Load {
        Load { port, qos, first: 0, count, per_second: None, pace: None, make: Arc::new(reading) }
    }

    pub(crate) fn numbered_from(mut self, first: u64) -> Load {
        self.first = first;
        self
    }

    pub(crate) fn per_second(mut self, rate: u64) -> Load {
        self.per_second = Some(rate);
        self
    }

    /// Never more than `lead` messages ahead of what `taken` says has arrived: a broker drops what its queue cannot hold.
    pub(crate) fn paced_by(mut self, lead: u64, taken: impl Fn() -> u64 + Send + 'static) -> Load {
        self.pace = Some((lead, Box::new(taken)));
        self
    }

    pub(crate) fn made_by(mut self, make: impl Fn(u64) -> (String, Vec<u8>) + Send + Sync + 'static) -> Load {
        self.make = Arc::new(make);
        self
    }

    pub(crate) fn start(self) -> Running {
        let acknowledged = Arc::new(AtomicU64::new(0));
        let abandoned = Arc::new(AtomicBool::new(false));
        let flow = Flow {
            // Mosquitto takes 20 unfinished QoS 2 messages from a client.
            window: if self.qos == 2 { 20 } else { 100 },
            client_id: client_id("load"),
            next: self.first,
            end: self.first + self.count,
            next_id: 0,
            in_flight: BTreeMap::new(),
            order: 0,
            acknowledged: Arc::clone(&acknowledged),
            abandoned: Arc::clone(&abandoned),
            started: Instant::now(),
            pace_known: 0,
            load: self,
        };
        Running { thread: Some(std::thread::spawn(move || flow.run())), acknowledged, abandoned }
    }

    /// Sends everything before it returns.
    pub(crate) fn run(self) {
        self.start().finish();
    }
}

/// A load on its way.
pub(crate) struct Running {
    thread: Option<JoinHandle<()>>,
    acknowledged: Arc<AtomicU64>,
    abandoned: Arc<AtomicBool>,
}

impl Running {
    /// How many messages the broker has taken responsibility for.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until that many messages are acknowledged.
    #[track_caller]
    pub(crate) fn wait_until(&self, count: u64) {
        wait_for(&format!("{count} messages published"), || {
            (self.acknowledged() >= count || self.is_finished()).then_some(())
        });
    }

    /// Waits until everything is acknowledged.
    pub(crate) fn finish(mut self) {
        self.thread.take().expect("joined once").join().expect("the publisher's thread ends well");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }
}

/// A message that the broker has not finished with.
struct InFlight {
    /// Position in the order of sending, for sending again.
    order: u64,
    number: u64,
    /// PUBREC has come: only PUBREL may be sent again.
    released: bool,
}

/// The thread's state.
struct Flow {
    load: Load,
    window: usize,
    client_id: String,
    next: u64,
    end: u64,
    next_id: u16,
    in_flight: BTreeMap<u16, InFlight>,
    order: u64,
    acknowledged: Arc<AtomicU64>,
    abandoned: Arc<AtomicBool>,
    started: Instant,
    pace_known: u64,
}

impl Flow {
    fn run(mut self) {
        let mut last_progress = (self.started, 0);
        while !self.is_complete() && !self.abandoned.load(Ordering::Relaxed) {
            // The broker may be away for a while: that is often the point of the test.
            if self.converse().is_err() {
                std::thread::sleep(Duration::from_millis(50));
            }
            let done = self.acknowledged.load(Ordering::Relaxed);
            if done > last_progress.1 {
                last_progress = (Instant::now(), done);
            }
            assert!(last_progress.0.elapsed() < PATIENCE, "the broker takes nothing any more, after {done} messages");
        }
    }

    fn is_complete(&self) -> bool {
        self.next == self.end && self.in_flight.is_empty()
    }

    /// One connection, until everything is done or it breaks.
    fn converse(&mut self) -> io::Result<()> {
        let mut connection = Connection::open(self.load.port, Version::V3, &self.client_id, false)?;
        self.send_again(&mut connection)?;
        let mut quiet_since = Instant::now();
        while !self.is_complete() && !self.abandoned.load(Ordering::Relaxed) {
            let sent = self.send_more(&mut connection)?;
            let patience = if sent { Duration::from_millis(1) } else { Duration::from_millis(5) };
            while let Some(packet) = connection.receive(patience)? {
                quiet_since = Instant::now();
                match packet.first {
                    0x50 => {
                        if let Some(message) = self.in_flight.get_mut(&packet.id()) {
                            message.released = true;
                        }
                        connection.send(&release(packet.id()))?;
                    }
                    0x40 | 0x70 => self.settle(packet.id()),
                    other => return Err(io::Error::other(format!("unexpected packet {other:#x}"))),
                }
                if self.in_flight.len() <= self.window / 2 {
                    break;
                }
            }
            // Silence with messages in flight: a black hole on the way.
            if !self.in_flight.is_empty() && quiet_since.elapsed() > Duration::from_secs(20) {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        Ok(())
    }

    fn settle(&mut self, id: u16) {
        if self.in_flight.remove(&id).is_some() {
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn send_again(&mut self, connection: &mut Connection) -> io::Result<()> {
        let mut ids: Vec<(u64, u16)> = self.in_flight.iter().map(|(&id, message)| (message.order, id)).collect();
        ids.sort_unstable();
        for (_, id) in ids {
            let message = self.in_flight.get_mut(&id).expect("just listed");
            message.released &= connection.session_present;
            let bytes = if message.released {
                release(id)
            } else {
                let outgoing = outgoing(&self.load, message.number);
                connection.publish_packet(&outgoing, id, connection.session_present)
            };
            connection.send(&bytes)?;
        }
        Ok(())
    }

    /// Fills the window as far as rate and pace allow; whether anything was sent.
    fn send_more(&mut self, connection: &mut Connection) -> io::Result<bool> {
        let mut bytes = Vec::new();
        let mut due = self.due();
        while due > 0 && self.next < self.end && self.in_flight.len() < self.window && bytes.len() < 256 * 1024 {
            let outgoing = outgoing(&self.load, self.next);
            let id = if self.load.qos == 0 { 0 } else { self.free_id() };
            bytes.extend(connection.publish_packet(&outgoing, id, false));
            if self.load.qos == 0 {
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
            } else {
                let message = InFlight { order: self.order, number: self.next, released: false };
                self.in_flight.insert(id, message);
            }
            self.order += 1;
            self.next += 1;
            due -= 1;
        }
        connection.send(&bytes)?;
        Ok(!bytes.is_empty())
    }

    /// How many messages may be sent now.
    fn due(&mut self) -> u64 {
        let sent = self.next - self.load.first;
        let by_rate = self.load.per_second.map_or(u64::MAX, |rate| {
            let until_now = self.started.elapsed().as_secs_f64() * rate as f64;
            (until_now as u64).saturating_sub(sent)
        });
        let by_pace = match &self.load.pace {
            None => u64::MAX,
            Some((lead, taken)) => {
                if sent >= self.pace_known + lead / 2 {
                    self.pace_known = taken().max(self.pace_known);
                }
                (self.pace_known + lead).saturating_sub(sent)
            }
        };
        by_rate.min(by_pace)
    }

    fn free_id(&mut self) -> u16 {
        loop {
            self.next_id = self.next_id.checked_add(1).unwrap_or(1);
            if !self.in_flight.contains_key(&self.next_id) {
                return self.next_id;
            }
        }
    }
}

fn outgoing(load: &Load, number: u64) -> Outgoing {
    let (topic, payload) = (load.make)(number);
    Outgoing { topic, payload, qos: load.qos, ..Outgoing::default() }
}
