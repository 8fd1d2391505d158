//! Campaigns of random lives: `proof/simulation.rs` says what is checked.

use super::*;
use crate::campaign::Campaign;

fn campaign(name: &'static str, quick: u64, mode: Mode) {
    let mut campaign = Campaign::begin(name, quick);
    while let Some(seed) = campaign.next_seed() {
        World::begin(seed, Choices::seeded(seed)).run(mode);
    }
    campaign.proved(&[]);
}

#[test]
fn crashes_at_any_moment_lose_nothing_durable() {
    campaign("journal_crashes", 150, Mode { faults: false, rot: false });
}

#[test]
fn failing_calls_and_crashes_lose_nothing_durable() {
    campaign("journal_faults", 150, Mode { faults: true, rot: false });
}

#[test]
fn a_flipped_bit_never_changes_a_message_or_hides_a_loss() {
    campaign("journal_rot", 150, Mode { faults: false, rot: true });
}
