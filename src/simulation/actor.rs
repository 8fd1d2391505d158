//! Tasks that the script polls itself, in any order.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

/// Tells whoever waits for time to pass that an actor can go on.
#[derive(Default)]
pub(super) struct Alarm {
    sleeper: Mutex<Option<Waker>>,
}

impl Alarm {
    pub(super) fn set(&self, waker: &Waker) {
        *self.sleeper.lock().unwrap() = Some(waker.clone());
    }
}

struct Signal {
    is_woken: AtomicBool,
    alarm: Arc<Alarm>,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::Relaxed);
        let sleeper = self.alarm.sleeper.lock().unwrap().take();
        sleeper.into_iter().for_each(Waker::wake);
    }
}

/// One task of a process.
pub(super) struct Actor {
    future: Pin<Box<dyn Future<Output = ()>>>,
    signal: Arc<Signal>,
    is_done: bool,
}

impl Actor {
    pub(super) fn new(alarm: &Arc<Alarm>, future: impl Future<Output = ()> + 'static) -> Actor {
        let signal = Arc::new(Signal { is_woken: AtomicBool::new(true), alarm: Arc::clone(alarm) });
        Actor { future: Box::pin(future), signal, is_done: false }
    }

    pub(super) fn is_woken(&self) -> bool {
        !self.is_done && self.signal.is_woken.load(Ordering::Relaxed)
    }

    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    pub(super) fn poll(&mut self) {
        self.signal.is_woken.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&self.signal));
        self.is_done = self.future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
    }
}
