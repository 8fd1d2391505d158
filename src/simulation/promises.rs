//! The promises of the bridge, and whether it kept them.

use std::collections::{BTreeMap, BTreeSet};

use super::database::{Held, Server};
use super::figures::Figures;
use super::messages::{Kind, Number, kind_of};
use super::process::{KEEP_LONG, Process, is_delivered};
use super::world::World;
use crate::delivery::totals;

/// What is known of the journal, over all lives.
#[derive(Default)]
pub(super) struct Promises {
    /// The highest durable end that any process told.
    end: u64,
    generation: u64,
    /// Numbers that a process found, or failed to find, behind the durable end after a crash or a failed write: the
    /// messages there were never acknowledged.
    uncertain: Vec<(u64, u64)>,
}

impl Promises {
    /// A process has recovered the journal (I5, I1).
    pub(super) fn started(&mut self, process: &Process) {
        let next_seq = process.handle.status().next_seq.0;
        assert!(next_seq >= self.end, "the journal's end went back from {} to {next_seq}", self.end);
        self.uncertain.push((self.end, next_seq));
        self.end = next_seq;
        self.generation = 0;
    }

    pub(super) fn observe(&mut self, process: &Process, figures: &mut Figures) {
        let next_seq = process.handle.status().next_seq.0;
        assert!(next_seq >= self.end, "the journal's end went back from {} to {next_seq}", self.end);
        let generation = process.handle.generation();
        if generation != self.generation {
            figures.reopens += generation - self.generation;
            self.generation = generation;
            self.uncertain.push((self.end, next_seq));
        }
        self.end = next_seq;
    }

    fn is_uncertain(&self, seq: u64) -> bool {
        self.uncertain.iter().any(|&(from, to)| from <= seq && seq < to)
    }
}

impl World<'_> {
    /// After the drain.
    pub(super) fn check(&mut self) {
        let process = self.process.as_ref().expect("the world has settled");
        let ids = process.handle.ids();
        assert_eq!(ids.len(), 1, "the journal took a new id, and nothing was put back");
        let mut brought = 0;
        let mut is_unsure = false;
        for (index, server) in self.servers.iter().enumerate() {
            let server = server.lock().unwrap();
            let (count, unsure) = server.brought.get(&process.number).copied().unwrap_or_default();
            brought += count;
            is_unsure |= unsure || server.is_unsure;
            self.figures.transactions += server.transactions;
            self.figures.refused_moves += server.refused_moves;
            self.figures.restored += server.restored;
            let letters = server.state.held.values().filter(|held| matches!(held, Held::Letter(_))).count() as u64;
            self.figures.letters += letters;
            self.figures.rows += server.state.held.len() as u64 - letters;
            self.figures.lost_ranges += server.state.lost.len() as u64;
            self.check_database(index, &server);
        }
        self.figures.messages += self.messages.len() as u64;
        self.figures.deduplicated += process.metrics.messages_deduplicated.get();
        let counted: u64 = (self.config.rules.iter())
            .map(|rule| totals(&process.metrics, &self.config.databases[rule.database].name, &rule.name))
            .map(|tally| tally.written + tally.dead_lettered)
            .sum();
        assert!(
            is_unsure || counted == brought,
            "{counted} messages counted, {brought} brought to the databases (I12)"
        );
    }

    /// With `durability: delivered`, what was acknowledged is in every database by then (I1).
    pub(super) fn check_acknowledged(&mut self) {
        let servers: Vec<_> = self.servers.iter().map(|server| server.lock().unwrap()).collect();
        let unseen =
            self.messages.iter_mut().enumerate().filter(|(_, message)| message.is_acknowledged && !message.is_found);
        for (number, message) in unseen {
            for (index, server) in servers.iter().enumerate() {
                let is_due = index == 0 || message.topic.starts_with("t/");
                let is_there = !is_due || server.ever.values().any(|&there| there == number as Number);
                assert!(is_there, "message {number} is acknowledged, and database {index} does not have it");
            }
            message.is_found = true;
        }
    }

    fn check_database(&self, index: usize, server: &Server) {
        let lost = |seq: u64| server.state.lost.iter().any(|&(_, from, to)| from <= seq && seq < to);
        // I2: what is reported lost is lost for a reason.
        for &(_, from, to) in &server.state.lost {
            for seq in from..to {
                let may_be_trimmed = seq < server.highest && server.restored > 0 && !self.keeps_all();
                assert!(
                    may_be_trimmed || self.promises.is_uncertain(seq),
                    "message {seq} is reported lost without reason"
                );
            }
        }
        // I6 and I12: all that was journaled is there, or reported.
        if index == 0 {
            let id = self.process.as_ref().expect("the world has settled").handle.status().id;
            for seq in 1..server.state.offsets[&id] {
                let is_there = server.state.held.contains_key(&(id, seq));
                assert!(is_there || lost(seq), "message {seq} is nowhere and not reported");
            }
        }
        self.check_counts(index, server, lost);
        self.check_order(server);
    }

    /// Whether a process has ended that had its journal in memory.
    fn forgets_qos_2(&self) -> bool {
        is_delivered(&self.config) && self.figures.starts > 1
    }

    /// Whether nothing is ever trimmed.
    fn keeps_all(&self) -> bool {
        let journal = &self.config.journal;
        journal.keep == KEEP_LONG && journal.max_size >= 200 * journal.segment_size && !self.disk_was_full
    }

    /// At QoS 1 nothing is lost, at QoS 2 nothing is lost or doubled, at QoS 0 nothing is invented.
    fn check_counts(&self, index: usize, server: &Server, lost: impl Fn(u64) -> bool) {
        let mut held: BTreeMap<Number, u64> = BTreeMap::new();
        for message in server.state.held.values() {
            *held.entry(message.number()).or_default() += 1;
            if let Held::Row(number) = *message {
                assert_eq!(kind_of(number), Kind::Good, "message {number} is a row");
            }
        }
        let reported: BTreeSet<Number> =
            server.ever.iter().filter(|((_, seq), _)| lost(*seq)).map(|(_, &number)| number).collect();
        for (number, message) in self.messages.iter().enumerate() {
            let number = number as Number;
            let count = held.get(&number).copied().unwrap_or_default();
            if index > 0 && !message.topic.starts_with("t/") {
                assert_eq!(count, 0, "message {number} is none of this database's");
                continue;
            }
            let is_excused = message.is_excused || reported.contains(&number);
            let least = u64::from(message.due.is_some_and(|qos| qos > 0) && !is_excused);
            let most = match message.due {
                None => 0,
                Some(1) => u64::MAX,
                Some(_) if message.is_repeated || self.forgets_qos_2() => u64::MAX,
                Some(_) => 1,
            };
            assert!(
                least <= count && count <= most,
                "message {number} is {count} times in database {index}, due at QoS {:?}, acknowledged: {}",
                message.due,
                message.is_acknowledged
            );
        }
    }

    /// I8: per topic and QoS, messages come first in the order in which they were published.
    fn check_order(&self, server: &Server) {
        let mut seen = BTreeSet::new();
        let mut last: BTreeMap<(&str, u8), Number> = BTreeMap::new();
        let rank = |journal| server.journals.iter().position(|known| known == journal);
        let mut ever: Vec<_> =
            server.ever.iter().map(|((journal, seq), &number)| (rank(journal), *seq, number)).collect();
        ever.sort_unstable();
        for (_, _, number) in ever {
            if !seen.insert(number) {
                continue;
            }
            let message = &self.messages[number as usize];
            let before = last.insert((&message.topic, message.due.unwrap_or(0)), number);
            assert!(before.is_none_or(|before| before < number), "message {number} came after {before:?}");
        }
    }
}
