//! The events of a world: a hash over all of them, and the last ones in words for failure reports.

use tokio::time::Instant;

/// Events shown of a failure; a replay of one seed shows all.
const SHOWN: usize = 60;

pub(super) struct Trace {
    seed: u64,
    began: Instant,
    hash: u64,
    events: Vec<(u64, &'static str, u64, u64)>,
}

impl Trace {
    pub(super) fn new(seed: u64) -> Trace {
        Trace { seed, began: Instant::now(), hash: 0, events: Vec::new() }
    }

    pub(super) fn note(&mut self, what: &'static str, a: u64, b: u64) {
        let at = self.began.elapsed().as_micros() as u64;
        for number in [what.len() as u64, u64::from(what.as_bytes()[0]), a, b, at] {
            self.hash = (self.hash ^ number).wrapping_mul(0x0000_0100_0000_01B3).rotate_left(29);
        }
        self.events.push((at, what, a, b));
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let is_replay = std::env::var("ROWBRIDGE_PROVE_PATH").is_ok_and(|rounds| rounds == "1");
        let passed_over = if is_replay { 0 } else { self.events.len().saturating_sub(SHOWN) };
        for (at, what, a, b) in &self.events[passed_over..] {
            eprintln!("{:>14.3} ms  {what} {a} {b}", *at as f64 / 1000.0);
        }
        eprintln!(
            "seed {0} failed; to see it again: ROWBRIDGE_PROVE_SEED={0} ROWBRIDGE_PROVE_PATH=1 \
             cargo test --features fault-injection --lib simulation -- --nocapture",
            self.seed
        );
    }
}
