//! The wait before a retry: exponential, with jitter, so that many bridges do not retry at the same moment.

use std::time::Duration;

/// Doubles from `min` to `max`; each wait is drawn from the upper half of the current step.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    step: Duration,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration) -> Backoff {
        Backoff { min, max: max.max(min), step: min }
    }

    /// The next wait: between half of the step and the whole of it.
    pub(super) fn next_wait(&mut self) -> Duration {
        let step = self.step;
        self.step = (step * 2).min(self.max);
        step.mul_f64(0.5 + 0.5 * random_fraction())
    }

    /// The peer answered: begin from `min` again.
    pub(super) fn reset(&mut self) {
        self.step = self.min;
    }
}

/// Uniform in 0..1; 1 if the system has no randomness to give, which only costs the jitter.
fn random_fraction() -> f64 {
    #[cfg(test)]
    if let Some(random) = crate::simulation::seams::random() {
        return f64::from(random) / f64::from(u32::MAX);
    }
    getrandom::u32().map_or(1.0, |number| f64::from(number) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits_stay_within_bounds_and_steps_never_shrink(min in 1u64..5_000, max in 1u64..60_000, count in 1usize..20) {
            let (min, max) = (Duration::from_millis(min), Duration::from_millis(max));
            let mut backoff = Backoff::new(min, max);
            let mut step_last = Duration::ZERO;
            for _ in 0..count {
                prop_assert!(backoff.step >= step_last);
                step_last = backoff.step;
                let wait = backoff.next_wait();
                prop_assert!(wait >= min / 2 && wait <= max.max(min));
            }
            backoff.reset();
            prop_assert_eq!(backoff.step, min);
        }
    }
}
