//! SIGTERM and SIGINT request a stop; a second one ends the process at once. SIGHUP requests a reload.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals this process listens to, from the moment it is made.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// SIGHUP, which ends a process that does not expect it. What comes before it is waited for is one reload.
pub struct Hangup(Signal);

impl Hangup {
    /// On the runtime that is entered.
    pub fn new() -> io::Result<Hangup> {
        signal(SignalKind::hangup()).map(Hangup)
    }
}

impl Signals {
    pub fn new(Hangup(hangup): Hangup) -> io::Result<Signals> {
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())?, hangup })
    }

    /// Waits for SIGTERM or SIGINT, and returns its name. Calls `on_hangup` for each SIGHUP meanwhile.
    pub async fn stop_requested(&mut self, mut on_hangup: impl FnMut()) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => on_hangup(),
            }
        }
    }
}

/// From now on the next SIGTERM or SIGINT ends the process at once. Nothing is lost: that is a crash like any other.
pub fn watch_for_second(mut signals: Signals) {
    tokio::spawn(async move {
        let signal = signals.stop_requested(|| {}).await;
        crash_point!("stop.second_signal");
        tracing::warn!(signal, "second signal: leaving at once; nothing is lost");
        std::process::exit(1);
    });
}
