//! What a process holds: memory and open files, sampled over a campaign. They must not grow with the faults.

use crate::support::bridge::Bridge;

/// What the last third of the samples may lie above the first. The allocator keeps what the largest batch took, so the
/// first minutes creep up; a leak of one connection's buffers (about 20 KiB) shows after 500 of them.
const RESIDENT_SLACK_BYTES: u64 = 10 << 20;
/// A connection that is being made as the sample is taken: a socket to each peer, the name lookup, the status page.
const FILES_SLACK: u64 = 6;

/// Samples of one bridge.
#[derive(Debug, Default)]
pub(crate) struct Vitals {
    resident: Vec<u64>,
    files: Vec<u64>,
}

impl Vitals {
    pub(crate) fn sample(&mut self, bridge: &Bridge) {
        let listing = std::fs::read_dir(format!("/proc/{}/fd", bridge.pid()));
        let Ok(listing) = listing else { return };
        self.files.push(listing.count() as u64);
        self.resident.push(bridge.resident_bytes());
    }

    /// Compares the medians of the first and the last third. The answer is what it found, for the figures.
    #[track_caller]
    pub(crate) fn assert_flat(&self, what: &str) -> String {
        self.assert_flat_within(what, RESIDENT_SLACK_BYTES)
    }

    /// As [`Vitals::assert_flat`], with a bound of its own for the memory.
    #[track_caller]
    pub(crate) fn assert_flat_within(&self, what: &str, slack_bytes: u64) -> String {
        if self.files.len() < 9 {
            return format!("{what}: {} samples are too few to tell", self.files.len());
        }
        let (resident, files) = (thirds(&self.resident), thirds(&self.files));
        let found = format!(
            "{what}: resident {} -> {} KiB, open files {} -> {}, {} samples",
            resident.0 >> 10,
            resident.1 >> 10,
            files.0,
            files.1,
            self.files.len()
        );
        assert!(files.1 <= files.0 + FILES_SLACK, "open files grow: {found}");
        assert!(resident.1 <= resident.0 + slack_bytes, "memory grows: {found}");
        found
    }
}

/// The medians of the first and the last third.
fn thirds(samples: &[u64]) -> (u64, u64) {
    let third = samples.len() / 3;
    (median(&samples[..third]), median(&samples[samples.len() - third..]))
}

fn median(samples: &[u64]) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}
