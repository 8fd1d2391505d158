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
    campaign("journal_crashes", 150, Mode { faults: false, rot: false, lies: false });
}

#[test]
fn failing_calls_and_crashes_lose_nothing_durable() {
    campaign("journal_faults", 150, Mode { faults: true, rot: false, lies: false });
}

#[test]
fn a_flipped_bit_never_changes_a_message_or_hides_a_loss() {
    campaign("journal_rot", 150, Mode { faults: false, rot: true, lies: false });
}

#[test]
fn a_disk_that_lies_about_syncs_is_caught() {
    let is_caught = |seed| {
        let run = || World::begin(seed, Choices::seeded(seed)).run(Mode { faults: false, rot: false, lies: true });
        std::panic::catch_unwind(run).is_err()
    };
    assert!((1..=40).filter(|&seed| is_caught(seed)).count() >= 20, "the oracle is blind");
}

#[test]
fn what_fuzzers_call_holds_over_random_inputs() {
    for seed in 1..=15 {
        let mut choices = Choices::seeded(seed);
        let bytes: Vec<u8> = (0..40 * seed).map(|_| choices.below(256) as u8).collect();
        fuzzing::decode_record(&bytes);
        fuzzing::mutate_and_compare(&bytes);
        fuzzing::run_script(&bytes);
        fuzzing::recover_directory(&[("id".to_owned(), bytes.clone()), (format!("{seed:020}.seg"), bytes)]);
    }
}
