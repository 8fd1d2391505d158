//! What the scenarios stand on: the services, the bridge as a child process, a publisher, a faulty network, and the
//! questions asked of the databases afterwards.

pub(crate) mod bridge;
pub(crate) mod browser;
pub(crate) mod fault;
pub(crate) mod hivemq;
pub(crate) mod http;
pub(crate) mod mosquitto;
pub(crate) mod mqtt;
pub(crate) mod oracle;
pub(crate) mod pgbouncer;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod publisher;
pub(crate) mod rabbitmq;
pub(crate) mod subscriber;

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// Long enough for anything on a loaded machine; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Whether the sizes of the closing figures are asked for.
pub(crate) fn full_scale() -> bool {
    std::env::var("ROWBRIDGE_TEST_SCALE").is_ok_and(|scale| scale == "full")
}

/// `small`, or `full` under `ROWBRIDGE_TEST_SCALE=full`.
pub(crate) fn sized(small: u64, full: u64) -> u64 {
    if full_scale() { full } else { small }
}

/// A loopback port that nothing listens on. Below the range from which the kernel takes outgoing ports, so that a
/// server can be restarted on it: a client that dials a port of that range while nobody listens can meet itself.
pub(crate) fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Several test processes may run at once: each begins elsewhere.
    let start = (std::process::id().wrapping_mul(2_617) % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let port = FIRST + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port on the loopback interface");
}

/// Asks `question` until it answers, and fails the test with `what` when it has not within [`PATIENCE`].
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, question: impl FnMut() -> Option<T>) -> T {
    wait_within(PATIENCE, what, question)
}

/// As [`wait_for`], with a patience of its own.
#[track_caller]
pub(crate) fn wait_within<T>(patience: Duration, what: &str, mut question: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = question() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {} s in vain: {what}", patience.as_secs());
        std::thread::sleep(Duration::from_millis(25));
    }
}
