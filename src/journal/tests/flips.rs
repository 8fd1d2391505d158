//! One piece of damage to a journal that was sound, and what is told of it.
//!
//! Every message comes back with equal bytes under its number, or lies in a range that is reported lost, or the end is
//! reported as lost from before it on. The only exceptions are those that `journal/mod.rs` names, and only in the newest
//! segment: a *torn* tail, which is told and counted, and, where whole sectors were erased or an older copy of the file
//! took its place, an end that is *unknowable*.

use std::collections::BTreeMap;

use super::super::inspect::{self, Finding};
use super::super::proof::damaged::{Damage, KINDS, Kind, Written, damage, files, write};
use super::super::proof::reference;
use super::*;
use crate::campaign::Campaign;

/// What a round came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Harmless,
    Lost,
    /// Lost, and nobody knows how much.
    EndLost,
    Torn,
    Unknowable,
}

struct Round<'a> {
    seed: u64,
    written: &'a Written,
    damage: &'a Damage,
}

impl Round<'_> {
    fn fail(&self, what: &str) -> ! {
        panic!(
            "{what}; {:?} at byte {} after a {}{}; replay: ROWBRIDGE_PROVE_SEED={} ROWBRIDGE_PROVE_JOURNAL_FLIPS=1",
            self.damage,
            self.damage.at,
            if self.written.is_stopped { "stop" } else { "kill" },
            if self.written.is_rebooted { " and a reboot" } else { "" },
            self.seed
        )
    }

    fn check(&self) -> Outcome {
        let fs = &self.written.fs;
        let damaged = files(fs);
        let report = inspect::verify(fs, data_dir(), &mut |_| {}).unwrap();
        let losses = || report.findings().filter(|(_, finding)| !matches!(finding, Finding::Gap { .. }));
        let told: u64 = losses().map(|(_, finding)| finding.messages_lost()).sum();
        let had_messages = losses().any(|(_, finding)| self.had_messages(finding));
        let newest = report.segments.last().map(|segment| segment.path.clone());
        let is_open_ended = report.segments.is_empty()
            || report.findings().any(|(path, finding)| match finding {
                Finding::EndLost { .. } => true,
                Finding::UnreadableHeader { .. } => Some(path) == newest.as_deref(),
                _ => false,
            });
        let halts = self.halts();
        let quarantine = fs.kill();
        let life = Life::begin(&quarantine, &self.written.config);
        let first = self.written.entries.first().map_or(1, |entry| match *entry {
            Got::Message(seq, _) => seq,
            Got::Lost(from, _) => from,
        });
        let mut reader = life.handle.reader();
        reader.seek(Seq(first)).unwrap();
        let entries = read_on(&mut reader);
        self.compare_with_reference(&entries);

        let (lost, silent) = self.compare(&entries, first);
        let outcome = match () {
            () if is_open_ended && life.metrics.messages_lost.get() > 0 => Outcome::EndLost,
            () if silent > 0 && life.metrics.journal_torn_tails.get() > 0 => Outcome::Torn,
            () if silent > 0 => Outcome::Unknowable,
            () if lost > 0 => Outcome::Lost,
            () => Outcome::Harmless,
        };
        // The oldest segment may also have been trimmed; databases that lack it say so.
        let is_oldest_gone = life.handle.status().oldest_seq.0 > first && self.damage.kind == Kind::Delete;
        let is_newest = newest.as_ref() == Some(&self.damage.path) || self.damage.kind == Kind::Swap;
        let has_kept = files(&quarantine).keys().any(|path| path.parent().is_some_and(|p| p.ends_with("quarantine")));
        let is_as_it_was = files(&quarantine).get(&self.damage.path) == damaged.get(&self.damage.path);
        match outcome {
            Outcome::Unknowable => {
                let is_erased = matches!(self.damage.kind, Kind::ZeroSector | Kind::ZeroPage);
                let is_known = self.written.is_stopped && is_erased;
                if is_known || !is_newest || !is_erased && self.damage.kind != Kind::OlderCopy {
                    self.fail("SILENT LOSS");
                }
            }
            Outcome::Torn if !is_newest => self.fail("a torn tail that is no tail"),
            Outcome::Torn if !self.written.is_rebooted && self.damage.kind == Kind::Flip && silent > 1 => {
                self.fail("whole messages behind the damaged one are gone")
            }
            Outcome::Torn
                if self.written.is_stopped && self.damage.place != "mark" && self.damage.kind == Kind::Flip =>
            {
                self.fail("a stop proves that the tail was whole");
            }
            Outcome::Lost | Outcome::EndLost if is_oldest_gone && !is_open_ended => {}
            Outcome::Lost | Outcome::EndLost => {
                if report.is_sound() || told == 0 && !report.segments.is_empty() {
                    self.fail("verify finds nothing");
                }
                // After a reboot the last group may have been torn, which is told and is no reason to halt.
                if !halts && (self.written.is_stopped || !is_newest || !self.written.is_rebooted) {
                    self.fail("halt goes on");
                }
                if !has_kept && !is_as_it_was {
                    self.fail("the damaged bytes are not kept");
                }
            }
            Outcome::Harmless if had_messages => self.fail("verify finds a loss where there is none"),
            Outcome::Harmless | Outcome::Torn => {}
        }
        outcome
    }

    /// Whether there were messages in the range that is told to be lost, and not a gap.
    fn had_messages(&self, finding: &Finding) -> bool {
        let range = match *finding {
            Finding::UnreadableHeader { from, to }
            | Finding::Damage { from, to, .. }
            | Finding::Missing { from, to }
            | Finding::EndLost { from, to, .. } => from.0..to.0,
            Finding::Gap { .. } | Finding::TornTail { .. } | Finding::Short { .. } => return false,
        };
        self.written.entries.iter().any(|entry| matches!(entry, Got::Message(seq, _) if range.contains(seq)))
    }

    /// Whether `halt` refuses to open, or to read on.
    fn halts(&self) -> bool {
        let halting = config::Journal { on_corruption: Corruption::Halt, ..self.written.config.clone() };
        let Ok(life) = Life::try_begin(&self.written.fs.kill(), &halting) else { return true };
        let mut reader = life.handle.reader();
        loop {
            match reader.next() {
                Ok(Some(_)) => {}
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }

    /// How many messages are in reported ranges that were none before, and how many are gone without one.
    fn compare(&self, entries: &[Got], first: u64) -> (u64, u64) {
        let mut before = BTreeMap::new();
        for entry in &self.written.entries {
            if let Got::Message(seq, payload) = entry {
                before.insert(*seq, payload);
            }
        }
        let (mut lost, mut expected) = (0, first);
        for entry in entries {
            let (from, to) = match entry {
                Got::Message(seq, payload) => {
                    if before.remove(seq) != Some(payload) {
                        self.fail(&format!("message {seq} is foreign"));
                    }
                    (*seq, seq + 1)
                }
                Got::Lost(from, to) => {
                    let inside: Vec<u64> = before.range(from..to).map(|(&seq, _)| seq).collect();
                    before.retain(|seq, _| !inside.contains(seq));
                    lost += inside.len() as u64;
                    (*from, *to)
                }
            };
            if from != expected {
                self.fail(&format!("{from} where {expected} was due"));
            }
            expected = to;
        }
        (lost, before.len() as u64)
    }

    fn compare_with_reference(&self, entries: &[Got]) {
        let named = files(&self.written.fs)
            .into_iter()
            .map(|(path, bytes)| (segment::name_of(&path), bytes))
            .collect::<Vec<_>>();
        for (seq, payload) in reference::certain(&named) {
            if !entries.contains(&Got::Message(seq, payload)) {
                self.fail(&format!("message {seq}, which is whole, does not come back"));
            }
        }
    }
}

#[test]
fn no_piece_of_damage_is_silent() {
    let mut campaign = Campaign::begin("journal_flips", 600);
    let (mut places, mut kinds, mut outcomes) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let is_thorough = campaign.rounds() >= 500;
    while let Some(seed) = campaign.next_seed() {
        let mut choices = Choices::seeded(seed);
        let written = write(seed, &mut choices);
        let Some(damage) = std::iter::from_fn(|| Some(damage(&written, &mut choices))).take(20).flatten().next() else {
            continue;
        };
        let outcome = Round { seed, written: &written, damage: &damage }.check();
        *places.entry(damage.place).or_insert(0) += 1;
        *kinds.entry(damage.kind).or_insert(0) += 1;
        *outcomes.entry(outcome).or_insert(0u64) += 1;
    }
    println!("{kinds:?} {places:?} {outcomes:?}");
    if is_thorough {
        assert!(KINDS.iter().all(|kind| kinds.contains_key(kind)), "a kind of damage did not happen: {kinds:?}");
        let all = ["body", "copy", "header", "id", "lock", "mark", "padding", "record_header", "snapshot", "unused"];
        assert!(all.iter().all(|place| places.contains_key(place)), "a place was not hit: {places:?}");
    }
    let count = |outcome| outcomes.get(&outcome).copied().unwrap_or(0);
    campaign.proved(&[
        ("harmless", count(Outcome::Harmless)),
        ("lost_told", count(Outcome::Lost)),
        ("end_lost_told", count(Outcome::EndLost)),
        ("torn_told", count(Outcome::Torn)),
        ("unknowable", count(Outcome::Unknowable)),
        ("silent", 0),
    ]);
}
