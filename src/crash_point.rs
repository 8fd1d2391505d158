//! Named points at which the process kills itself, to prove that it may die at any of them.
//!
//! `crash_point!("name")` is placed between two steps, so that a crash there has completed the first one only. With the
//! feature `fault-injection`, and `ROWBRIDGE_CRASH_AT=name` or `name:passage` or `name:passage:cut` in the environment,
//! that passage (counted from 1 over the life of the process) ends in SIGKILL: nothing unwinds, nothing is flushed.
//! Without the feature, as in every release, the macro expands to nothing.
//!
//! `crash_point!("name", effect)` first performs half of a step: `effect` is the state that a crash in its middle
//! leaves, and [`cut`] says how much of the step was done, in the unit of that point.

/// See the module.
#[cfg(feature = "fault-injection")]
macro_rules! crash_point {
    ($name:literal) => {
        if $crate::crash_point::is_due($name) {
            $crate::crash_point::die($name);
        }
    };
    ($name:literal, $effect:expr) => {
        if $crate::crash_point::is_due($name) {
            // Whether half a step succeeded does not matter.
            let _ = $effect;
            $crate::crash_point::die($name);
        }
    };
}

/// Expands to nothing.
#[cfg(not(feature = "fault-injection"))]
macro_rules! crash_point {
    ($name:literal) => {};
    ($name:literal, $effect:expr) => {};
}

#[cfg(feature = "fault-injection")]
mod armed;
#[cfg(any(test, feature = "fault-injection"))]
mod registry;

#[cfg(feature = "fault-injection")]
pub use armed::{cut, die, is_due};
#[cfg(any(test, feature = "fault-injection"))]
pub use registry::{COVERED_ELSEWHERE, CrashPoint, POINTS, PUBLISH_POINTS};
