//! Collects what the daemon's own modules log while a check uses them.

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Keeps warnings of this program's modules. Clones share them.
#[derive(Clone, Default)]
pub struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    /// What was heard since the last call.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: Subscriber> Layer<S> for Heard {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN || !metadata.target().starts_with("rowbridge::") {
            return;
        }
        let mut words = Words::default();
        event.record(&mut words);
        // A connection that failed, and what became of each filter, are findings of their own.
        if !words.is_told_elsewhere {
            let text =
                if words.fields.is_empty() { words.message } else { format!("{} ({})", words.message, words.fields) };
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        }
    }
}

/// An event as a sentence.
#[derive(Default)]
struct Words {
    message: String,
    fields: String,
    is_told_elsewhere: bool,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "error" | "did" | "qos_asked" | "retry_in_ms" | "retry_in_s" => self.is_told_elsewhere = true,
            name => {
                let comma = if self.fields.is_empty() { "" } else { ", " };
                // Writing to a text does not fail.
                let _ = write!(self.fields, "{comma}{name}: {value:?}");
            }
        }
    }
}
