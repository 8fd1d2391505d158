//! The only place that reads the wall clock.
//!
//! Rowbridge orders nothing by wall-clock time: sequence numbers order messages and monotonic [`std::time::Instant`]s
//! measure waits. Wall-clock time is only ever *recorded* (`received_at`, `updated_at`) or compared for ages whose
//! misjudgement costs nothing but disk space.

use std::fmt;

/// A point in time: microseconds since 1970-01-01T00:00:00Z, the resolution of Postgres' `timestamptz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Microseconds since the Unix epoch.
    pub fn as_micros(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with microseconds; the raw number if it lies outside the years -9999 to 9999.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => write!(f, "{time:.6}"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

/// The wall clock's time now.
#[allow(clippy::disallowed_methods)]
pub fn now() -> Timestamp {
    #[cfg(test)]
    if let Some(now) = crate::simulation::seams::now() {
        return now;
    }
    Timestamp(jiff::Timestamp::now().as_microsecond())
}
