//! Number of rounds, progress output and figures of a fault campaign.
//!
//! A campaign is a test with many rounds, each from a seed. By default it is quick and a part of the normal tests.
//! `scripts/prove` sets the number of rounds for each tier, and collects the figures.
//!
//! - `ROWBRIDGE_PROVE_<NAME>`: number of rounds of the campaign NAME, in upper case.
//! - `ROWBRIDGE_PROVE_SEED`: the first seed; default 1. With one round it replays that seed.

#![allow(clippy::print_stdout, reason = "only in tests")]

use std::fmt::Write;
use std::time::{Duration, Instant};

/// How often a long campaign says how far it is.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// One campaign on its way.
pub struct Campaign {
    name: &'static str,
    first: u64,
    rounds: u64,
    done: u64,
    begun: Instant,
    reported: Instant,
}

impl Campaign {
    /// The campaign `name` (lower case, `_` between words) of `quick` rounds, unless the environment says how many.
    pub fn begin(name: &'static str, quick: u64) -> Campaign {
        let rounds = number(&format!("ROWBRIDGE_PROVE_{}", name.to_uppercase())).unwrap_or(quick);
        let first = number("ROWBRIDGE_PROVE_SEED").unwrap_or(1);
        let now = Instant::now();
        println!("{name}: {rounds} rounds from seed {first}");
        Campaign { name, first, rounds, done: 0, begun: now, reported: now }
    }

    /// The campaign's rounds.
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    /// The seed of the next round; `None` after the last. Print it with every failure.
    pub fn next_seed(&mut self) -> Option<u64> {
        if self.reported.elapsed() >= REPORT_EVERY {
            self.reported = Instant::now();
            let seconds = self.begun.elapsed().as_secs();
            println!("{}: {} of {} rounds in {seconds} s", self.name, self.done, self.rounds);
        }
        (self.done < self.rounds).then(|| {
            self.done += 1;
            self.first + self.done - 1
        })
    }

    /// Tells the figures of a campaign that found nothing, in one line that `scripts/prove` collects.
    ///
    /// # Panics
    /// If no round was taken: nothing would have been proved.
    pub fn proved(self, figures: &[(&str, u64)]) {
        assert!(self.done > 0 && self.done == self.rounds, "{}: {} of {} rounds", self.name, self.done, self.rounds);
        let mut line = format!("PROVED {} rounds={}", self.name, self.done);
        for (figure, value) in figures {
            let _ = write!(line, " {figure}={value}");
        }
        println!("{line} seconds={}", self.begun.elapsed().as_secs());
    }
}

/// # Panics
/// If the variable holds no number: a typing error must not make a long campaign a short one.
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number of rounds")))
}
