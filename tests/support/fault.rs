//! What a faulty network does to one connection, after an exact number of bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::proxy::{GLANCE, Mood, Shared};

/// How long a half-closed connection is drained, and a stranded one waits for the client to come back.
const AT_MOST: Duration = Duration::from_secs(30);
/// A sender that is silent for so long has sent what it had to send.
const SENT_ALL: Duration = Duration::from_millis(30);
/// So many bytes go one by one before a split connection is whole again: a sleep lies between each two.
const SPLIT_BYTES: usize = 300;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// What happens once the byte is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing: the bytes are counted.
    Nothing,
    /// Both ends get a reset.
    Reset,
    /// Both ends see the other one's orderly end.
    Close,
    /// This way ends in order; the other goes on.
    HalfClose,
    /// Nothing passes this way for a while, then all goes on.
    Hold(Duration),
    /// Nothing passes this way for a while, then both ends get a reset: an answer is lost though its cause happened.
    HoldThenReset(Duration),
    /// Both ways stay open and swallow everything. When one end gives up, the other hears of it so much later: its
    /// keep-alive would tell it some day.
    BlackHole(Duration),
    /// Each further piece arrives later.
    Slow(Duration),
    /// Further bytes arrive one by one.
    Split,
    /// The client gets a reset. What it had sent beyond the byte is on its way for so long after the client's next
    /// connection stands, then reaches the server on the old one.
    Strand(Duration),
}

/// A fault, and after how many bytes of which way it happens: so many pass, and not one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trap {
    pub(crate) way: Way,
    pub(crate) after: u64,
    pub(crate) fault: Fault,
}

/// One connection's trap as the test sees it.
#[derive(Debug, Clone)]
pub(crate) struct Armed(Arc<State>);

#[derive(Debug)]
struct State {
    trap: Trap,
    fired: AtomicBool,
    /// The connection that it was set for has ended.
    over: AtomicBool,
    swallows: AtomicBool,
    up: AtomicU64,
    down: AtomicU64,
}

impl Armed {
    pub(super) fn new(trap: Trap) -> Armed {
        let (up, down) = (AtomicU64::new(0), AtomicU64::new(0));
        let [fired, over, swallows] = [(); 3].map(|()| AtomicBool::new(false));
        Armed(Arc::new(State { trap, fired, over, swallows, up, down }))
    }

    pub(crate) fn has_fired(&self) -> bool {
        self.0.fired.load(Ordering::SeqCst)
    }

    /// Whether the connection ended of something else before it came to the trap: nothing will happen any more.
    pub(crate) fn was_missed(&self) -> bool {
        self.0.over.load(Ordering::SeqCst) && !self.has_fired()
    }

    /// How many bytes have passed that way.
    pub(crate) fn passed(&self, way: Way) -> u64 {
        self.counter(way).load(Ordering::SeqCst)
    }

    fn counter(&self, way: Way) -> &AtomicU64 {
        match way {
            Way::Up => &self.0.up,
            Way::Down => &self.0.down,
        }
    }

    /// How many bytes may pass that way before the trap; `None` = no limit.
    fn room(&self, way: Way) -> Option<u64> {
        let trap = self.0.trap;
        let is_pending = trap.way == way && trap.fault != Fault::Nothing && !self.has_fired();
        is_pending.then(|| trap.after - self.passed(way))
    }

    fn swallows(&self) -> bool {
        self.0.swallows.load(Ordering::SeqCst)
    }
}

/// One way of one connection.
pub(super) struct Pump {
    pub(super) from: TcpStream,
    pub(super) to: TcpStream,
    pub(super) way: Way,
    pub(super) armed: Armed,
    /// Position among the proxy's connections.
    pub(super) number: u64,
}

/// Whether a pump goes on.
#[derive(PartialEq)]
enum Next {
    GoOn,
    /// Both ways end.
    End,
    /// This way ends, the other lives.
    Leave,
}

impl Pump {
    /// Copies until either side ends, or the trap does away with the connection.
    pub(super) fn run(mut self, shared: &Shared) {
        let mut chunk = [0; 16 * 1024];
        let (mut delay, mut split) = (None, 0);
        let next = loop {
            if shared.has_ended() {
                break Next::End;
            }
            if shared.is(Mood::Hold) {
                std::thread::sleep(GLANCE);
                continue;
            }
            let room = self.armed.room(self.way);
            if room == Some(0) {
                self.armed.0.fired.store(true, Ordering::SeqCst);
                match self.armed.0.trap.fault {
                    Fault::Slow(pause) => delay = Some(pause),
                    Fault::Split => split = SPLIT_BYTES,
                    fault => match self.suffer(fault, shared) {
                        Next::GoOn => {}
                        next => break next,
                    },
                }
                continue;
            }
            let len = room.map_or(chunk.len(), |room| chunk.len().min(usize::try_from(room).unwrap()));
            match self.from.read(&mut chunk[..len]) {
                Ok(0) => break Next::End,
                Ok(_) if self.armed.swallows() || shared.is(Mood::BlackHole) => {}
                Ok(count) => {
                    delay.into_iter().for_each(std::thread::sleep);
                    if !self.pass(&chunk[..count], &mut split, shared) {
                        break Next::End;
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => break Next::End,
            }
        };
        self.armed.0.over.store(true, Ordering::SeqCst);
        if next == Next::End {
            self.end(shared);
        }
    }

    /// Sends on what came; false when that was the end.
    fn pass(&mut self, bytes: &[u8], split: &mut usize, shared: &Shared) -> bool {
        let passes = self.way == Way::Up || shared.spend(bytes.len());
        // A used-up budget lets half of the last piece through.
        let bytes = if passes { bytes } else { &bytes[..bytes.len() / 2] };
        if self.way == Way::Down {
            shared.hear(self.number, bytes);
        }
        let (singles, rest) = bytes.split_at(bytes.len().min(*split));
        *split -= singles.len();
        for byte in singles.chunks(1) {
            std::thread::sleep(Duration::from_micros(200));
            if self.to.write_all(byte).is_err() {
                return false;
            }
        }
        self.armed.counter(self.way).fetch_add(bytes.len() as u64, Ordering::SeqCst);
        let is_sent = self.to.write_all(rest).is_ok();
        if !passes {
            shared.cut();
        }
        is_sent && passes
    }

    fn suffer(&mut self, fault: Fault, shared: &Shared) -> Next {
        match fault {
            Fault::Reset => self.reset(),
            Fault::Close => Next::End,
            Fault::HalfClose => {
                let _ = self.to.shutdown(Shutdown::Write);
                self.collect(AT_MOST, shared);
                Next::Leave
            }
            Fault::Hold(pause) => {
                shared.sleep(pause);
                Next::GoOn
            }
            Fault::HoldThenReset(pause) => {
                shared.sleep(pause);
                self.reset()
            }
            Fault::BlackHole(_) => {
                self.armed.0.swallows.store(true, Ordering::SeqCst);
                Next::GoOn
            }
            Fault::Strand(pause) => {
                let held = self.collect(SENT_ALL, shared);
                reset(&self.from);
                let deadline = Instant::now() + AT_MOST;
                while shared.connections() == self.number && Instant::now() < deadline && !shared.has_ended() {
                    std::thread::sleep(GLANCE);
                }
                shared.sleep(pause);
                let _ = self.to.write_all(&held);
                Next::End
            }
            Fault::Nothing | Fault::Slow(_) | Fault::Split => Next::GoOn,
        }
    }

    /// Everything that comes until there was silence for so long, or the end.
    fn collect(&mut self, silence: Duration, shared: &Shared) -> Vec<u8> {
        let (mut held, mut chunk) = (Vec::new(), [0; 16 * 1024]);
        let mut heard = Instant::now();
        while heard.elapsed() < silence && !shared.has_ended() {
            match self.from.read(&mut chunk) {
                Ok(count) if count > 0 => {
                    held.extend_from_slice(&chunk[..count]);
                    heard = Instant::now();
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                _ => break,
            }
        }
        held
    }

    fn reset(&self) -> Next {
        reset(&self.from);
        reset(&self.to);
        Next::Leave
    }

    fn end(&self, shared: &Shared) {
        if let Fault::BlackHole(lasts) = self.armed.0.trap.fault
            && self.armed.swallows()
        {
            shared.sleep(lasts);
        }
        // The stranded bytes go their way without the client.
        if matches!(self.armed.0.trap.fault, Fault::Strand(_)) && self.armed.has_fired() && self.way == Way::Down {
            return;
        }
        let _ = self.from.shutdown(Shutdown::Both);
        let _ = self.to.shutdown(Shutdown::Both);
    }
}

/// Ends a connection with a reset, whoever else holds it.
fn reset(stream: &TcpStream) {
    // An error says that it has ended already.
    let _ = rustix::net::connect_unspec(stream);
}
