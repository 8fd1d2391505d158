//! The order of stopping: the session stops reading messages, the journal makes the staged messages durable, the
//! session acknowledges them and disconnects, each database commits the messages in flight.

use tokio::sync::watch;

/// Tells every part to stop. Dropping it tells them too.
#[derive(Debug)]
pub struct ShutdownTrigger(watch::Sender<bool>);

/// Hears of it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

/// A connected pair.
pub fn channel() -> (ShutdownTrigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (ShutdownTrigger(sender), Shutdown(receiver))
}

impl ShutdownTrigger {
    pub fn fire(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    pub fn is_requested(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Returns once a stop is requested. Cancel-safe.
    pub async fn requested(&mut self) {
        // An error means the trigger is gone, which is a request as well.
        let _ = self.0.wait_for(|&stop| stop).await;
    }
}
