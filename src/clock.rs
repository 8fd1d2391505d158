//! The only place that reads the wall clock.
//!
//! Rowbridge orders nothing by wall-clock time: sequence numbers order messages, and monotonic [`std::time::Instant`]s
//! measure waits. Wall-clock time is *recorded* (`received_at`, `updated_at`) or compared for ages, where an error
//! costs only disk space. Deletion by age waits until the clock has run evenly for a while.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

/// How far the wall clock may stray from the monotonic one before it counts as set, not merely as kept right.
const JUMP_MIN: Duration = Duration::from_secs(300);

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

/// Since when the wall clock has run evenly, as far as this process has seen: before anything is deleted for its age. A
/// device without a battery starts in some other year until it reaches a time server.
#[derive(Debug, Clone, Copy)]
pub struct Evenness {
    wall: Timestamp,
    since: Instant,
}

impl Evenness {
    /// From now on.
    pub fn begin() -> Evenness {
        Evenness { wall: now(), since: Instant::now() }
    }

    /// For how long it has; begins again if it jumped. A machine that was suspended looks as if it had.
    pub fn lasted(&mut self) -> Duration {
        self.lasted_until(now(), Instant::now())
    }

    fn lasted_until(&mut self, wall: Timestamp, at: Instant) -> Duration {
        let lasted = at.saturating_duration_since(self.since);
        let by_wall = i128::from(wall.0) - i128::from(self.wall.0);
        let strayed = (by_wall - lasted.as_micros() as i128).unsigned_abs();
        if strayed <= JUMP_MIN.as_micros() {
            return lasted;
        }
        *self = Evenness { wall, since: at };
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const YEAR_MICROS: i64 = 365 * 86_400 * 1_000_000;

    #[test]
    fn a_clock_that_jumps_either_way_has_to_run_evenly_anew() {
        let begin = Instant::now();
        let wall = |at: Instant| at.duration_since(begin).as_micros() as i64;
        let mut evenness = Evenness { wall: Timestamp(0), since: begin };
        let (one, two, three) = (begin + HOUR, begin + 2 * HOUR, begin + 3 * HOUR);
        assert_eq!(evenness.lasted_until(Timestamp(wall(one)), one), HOUR);
        assert_eq!(evenness.lasted_until(Timestamp(wall(two) + 60_000_000), two), 2 * HOUR, "set right by a minute");
        assert_eq!(evenness.lasted_until(Timestamp(wall(two) + YEAR_MICROS), two), Duration::ZERO);
        assert_eq!(evenness.lasted_until(Timestamp(wall(three) + YEAR_MICROS), three), HOUR);
        assert_eq!(evenness.lasted_until(Timestamp(wall(three)), three), Duration::ZERO);
        assert_eq!(evenness.lasted_until(Timestamp(i64::MIN), three), Duration::ZERO);
        assert_eq!(evenness.lasted_until(Timestamp(i64::MAX), three), Duration::ZERO);
    }
}
