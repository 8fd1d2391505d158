//! A faulty network: a TCP proxy on the loopback that can cut connections, hold bytes back and refuse new ones. Moods
//! are for all connections at once; a trap is for one, at one byte (see [`super::fault`]).

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::fault::{Armed, Fault, Pump, Trap, Way};

/// How often a connection's thread looks at the proxy's mood.
pub(super) const GLANCE: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mood {
    /// Everything passes.
    Pass,
    /// Connections stay open and nothing passes; it passes later, when the mood changes.
    Hold,
    /// Connections stay open, and what is sent disappears.
    BlackHole,
    /// New connections are closed at once.
    Refuse,
}

pub(super) struct Shared {
    target: u16,
    mood: AtomicU8,
    /// Bytes from the target to the client that may still pass before everything is cut; negative: no limit.
    budget: AtomicI64,
    ended: AtomicBool,
    /// For the connections to come, one each.
    traps: Mutex<VecDeque<Armed>>,
    /// How many were taken so far.
    connections: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
    /// What the target has sent, by connection; `None` where nobody asked for it.
    heard: Mutex<Option<BTreeMap<u64, Vec<u8>>>>,
}

/// The proxy. Ends, with all its connections, when it goes out of scope.
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    accept: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A proxy to a port of 127.0.0.1.
    pub(crate) fn to(target: u16) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            target,
            mood: AtomicU8::new(Mood::Pass as u8),
            budget: AtomicI64::new(-1),
            ended: AtomicBool::new(false),
            traps: Mutex::new(VecDeque::new()),
            connections: AtomicU64::new(0),
            open: Mutex::new(Vec::new()),
            heard: Mutex::new(None),
        });
        let in_thread = Arc::clone(&shared);
        let accept = Some(std::thread::spawn(move || accept(&listener, &in_thread)));
        Proxy { port, shared, accept }
    }

    /// Keeps what the target sends from now on, for [`Proxy::has_heard`].
    pub(crate) fn record(&self) {
        self.shared.heard.lock().unwrap().get_or_insert_default();
    }

    /// Whether the target has sent these bytes since [`Proxy::record`].
    pub(crate) fn has_heard(&self, bytes: &[u8]) -> bool {
        let heard = self.shared.heard.lock().unwrap();
        let connections = heard.as_ref().expect("it records").values();
        connections.into_iter().any(|sent| memchr::memmem::find(sent, bytes).is_some())
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.shared.mood.store(mood as u8, Ordering::SeqCst);
    }

    /// Closes every open connection; new ones are taken.
    pub(crate) fn cut(&self) {
        self.shared.cut();
    }

    /// Cuts once the target has sent that many bytes more: in the midst of a packet, or of a COMMIT's answer.
    pub(crate) fn cut_after(&self, bytes: u32) {
        self.shared.budget.store(i64::from(bytes), Ordering::SeqCst);
    }

    /// Sets a trap for the next connection; after several calls, for as many, in their order.
    pub(crate) fn arm(&self, trap: Trap) -> Armed {
        let armed = Armed::new(trap);
        self.shared.traps.lock().unwrap().push_back(armed.clone());
        armed
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.shared.cut();
        if let Some(accept) = self.accept.take() {
            let _ = accept.join();
        }
    }
}

impl Shared {
    pub(super) fn is(&self, mood: Mood) -> bool {
        self.mood.load(Ordering::SeqCst) == mood as u8
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }

    /// Sleeps, but not past the proxy's end.
    pub(super) fn sleep(&self, pause: Duration) {
        let deadline = Instant::now() + pause;
        while Instant::now() < deadline && !self.has_ended() {
            std::thread::sleep(GLANCE.min(pause));
        }
    }

    pub(super) fn cut(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub(super) fn hear(&self, connection: u64, bytes: &[u8]) {
        if let Some(heard) = self.heard.lock().unwrap().as_mut() {
            heard.entry(connection).or_default().extend_from_slice(bytes);
        }
    }

    /// Takes `count` bytes from the budget; false when it is used up.
    pub(super) fn spend(&self, count: usize) -> bool {
        let left = self.budget.load(Ordering::SeqCst);
        if left < 0 {
            return true;
        }
        let left = left - i64::try_from(count).unwrap();
        self.budget.store(if left <= 0 { -1 } else { left }, Ordering::SeqCst);
        left > 0
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.has_ended() {
        match listener.accept() {
            Ok((client, _)) if shared.is(Mood::Refuse) => drop(client),
            Ok((client, _)) => join(client, shared),
            Err(_) => std::thread::sleep(GLANCE),
        }
    }
}

fn join(client: TcpStream, shared: &Arc<Shared>) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, shared.target)) else { return };
    for stream in [&client, &server] {
        stream.set_nonblocking(false).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(GLANCE)).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
        shared.open.lock().unwrap().push(stream.try_clone().unwrap());
    }
    let number = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
    let armed = shared.traps.lock().unwrap().pop_front();
    let armed = armed.unwrap_or_else(|| Armed::new(Trap { way: Way::Up, after: 0, fault: Fault::Nothing }));
    let (client_reads, server_reads) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let up = Pump { from: client_reads, to: server, way: Way::Up, armed: armed.clone(), number };
    let down = Pump { from: server_reads, to: client, way: Way::Down, armed, number };
    for pump in [up, down] {
        let shared = Arc::clone(shared);
        std::thread::spawn(move || pump.run(&shared));
    }
}
