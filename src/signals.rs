//! SIGTERM and SIGINT request a stop; a second one ends the process at once. SIGHUP requests a reload.

use std::{io, process, thread};

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// While the daemon starts: SIGTERM and SIGINT end it at once, with exit code 0, and leave on the disk what a crash leaves.
/// A process with the id 1, as in a container, would not be ended by them otherwise.
pub struct Starting {
    /// Dropped when the start is over.
    _is_over: oneshot::Sender<()>,
}

impl Starting {
    pub fn new() -> io::Result<Starting> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (mut terminate, mut interrupt) = {
            let _entered = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
        };
        let (sender, is_over) = oneshot::channel::<()>();
        let wait = async move {
            let signal = tokio::select! {
                // One that came before others listen must not be passed over.
                biased;
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
                _ = is_over => return,
            };
            tracing::info!(signal, "stopped while it started");
            process::exit(0);
        };
        thread::Builder::new().name("start".to_owned()).spawn(move || runtime.block_on(wait))?;
        Ok(Starting { _is_over: sender })
    }
}

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
