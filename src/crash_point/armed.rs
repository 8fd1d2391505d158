//! Whether a crash point is the armed one, and the end of the process there.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{POINTS, PUBLISH_POINTS};

const VARIABLE: &str = "ROWBRIDGE_CRASH_AT";

/// The point that the environment names.
struct Armed {
    name: String,
    /// Dies at this passage.
    passage: u64,
    passed: AtomicU64,
    cut: u64,
}

fn armed() -> Option<&'static Armed> {
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    ARMED.get_or_init(|| std::env::var(VARIABLE).ok().map(|text| parse(&text))).as_ref()
}

/// # Panics
/// If there is no such point: a typing error must not pass for a proof.
fn parse(text: &str) -> Armed {
    let mut parts = text.split(':');
    let name = parts.next().unwrap_or_default().to_owned();
    let mut known = POINTS.iter().map(|point| point.name).chain(PUBLISH_POINTS.iter().copied());
    assert!(known.any(|known| known == name), "{VARIABLE}={text}: there is no such crash point");
    let mut number = |default| match parts.next() {
        None => default,
        Some(part) => part.parse().unwrap_or_else(|_| panic!("{VARIABLE}={text}: {part} is no number")),
    };
    Armed { passage: number(1), cut: number(0), passed: AtomicU64::new(0), name }
}

/// Counts a passage of the point; whether it is the last.
pub fn is_due(name: &str) -> bool {
    armed().is_some_and(|armed| armed.name == name && armed.passed.fetch_add(1, Ordering::SeqCst) + 1 == armed.passage)
}

/// How much of a half-done step is done, as the environment says.
pub fn cut() -> u64 {
    armed().map_or(0, |armed| armed.cut)
}

/// Kills this process.
#[allow(clippy::print_stderr, reason = "not in a release")]
pub fn die(name: &str) -> ! {
    eprintln!("crash point {name}");
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    // The signal is on its way.
    loop {
        std::thread::park();
    }
}
