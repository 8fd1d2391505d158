//! Random runs on a faulty disk, against an oracle that remembers the promises.
//!
//! A script is a seed. It pushes, submits, takes the writer's turns one by one, reads, delivers, trims, meets failing
//! calls, is killed, loses power and restarts on the remaining files. After every start:
//! - every durable record is read back once, with equal bytes and its number (unless delivered and trimmed);
//! - numbers are dense, or the entry says what is lost; without bit rot nothing durable is ever lost;
//! - nothing is read that was never pushed, nothing twice, and the order is the order of pushing;
//! - a second recovery of the same disk changes nothing;
//! - a QoS 2 message that was durable and not released is known.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// Decisions of a life in a seeded simulation, and at most in a scripted one.
const STEPS: u64 = 120;

/// What was promised, over all lives.
#[derive(Default)]
struct Oracle {
    /// Messages pushed so far; message `n` has the payload `content(n)`.
    pushed: u64,
    /// Messages of this life that are not durable: ordinal, number, packet id.
    waiting: Vec<(u64, u64, Option<u16>)>,
    /// Durable messages, by the number of their content.
    durable: BTreeSet<u64>,
    /// Everything ever read: sequence number to content.
    seen: BTreeMap<u64, u64>,
    /// Taken, durable, and no release or newer message with that id was pushed: packet id to content.
    held: BTreeMap<u16, u64>,
    /// Everything below is in the database.
    delivered: u64,
    /// The highest watermark of any life.
    watermark: u64,
    /// Where ranges begin that were lost in a write that was acknowledged before it was durable.
    torn: BTreeSet<u64>,
    /// A bit was flipped: durable messages may be lost, but never changed, and never without a word.
    rotten: bool,
}

pub(in crate::journal) struct World {
    random: Choices,
    config: config::Journal,
    life: Life,
    reader: Reader<SimFs>,
    oracle: Oracle,
    seed: u64,
}

fn content(number: u64) -> Vec<u8> {
    let len = match number % 11 {
        0 => 900,
        1 => 0,
        n => n * 17,
    };
    let mut payload = number.to_le_bytes().to_vec();
    payload.extend((0..len).map(|at| (number * 31 + at) as u8));
    payload
}

impl World {
    pub(in crate::journal) fn begin(seed: u64, mut random: Choices) -> World {
        let config = config::Journal {
            segment_size: random.one_of(&[512, 1500, 4096, 20_000]),
            max_size: 200_000,
            // Written and not synced is then a state that lasts.
            durability: match random.below(4) {
                0 => Durability::Interval(Duration::from_secs(3600)),
                _ => Durability::Commit,
            },
            ..config()
        };
        let life = Life::begin(&SimFs::new(seed), &config);
        let reader = life.handle.reader();
        let oracle = Oracle { delivered: 1, watermark: 1, ..Oracle::default() };
        World { random, config, life, reader, oracle, seed }
    }

    fn push(&mut self) {
        for _ in 0..self.random.below(12) {
            match self.random.below(10) {
                0 => {
                    let id = 1 + self.random.below(5) as u16;
                    self.life.intake.push_release(id);
                    self.oracle.held.remove(&id);
                    self.oracle.waiting.iter_mut().for_each(|(.., held)| *held = held.filter(|&held| held != id));
                }
                1 if self.random.below(8) == 0 => {
                    self.life.intake.push_clear();
                    self.oracle.held.clear();
                    self.oracle.waiting.iter_mut().for_each(|(.., held)| *held = None);
                }
                kind => {
                    let number = self.oracle.pushed;
                    self.oracle.pushed += 1;
                    let id = (kind < 4).then(|| 1 + self.random.below(5) as u16);
                    let payload = content(number);
                    let ordinal = self.life.intake.push_message(&message(&payload), id.map(|id| (id, number)));
                    if let Some(id) = id {
                        self.oracle.held.remove(&id);
                        self.oracle.waiting.iter_mut().for_each(|(.., held)| *held = held.filter(|&held| held != id));
                    }
                    self.oracle.waiting.push((ordinal, number, id));
                }
            }
        }
    }

    /// Notes what has become durable.
    fn observe(&mut self) {
        let is_promised = self.config.durability == Durability::Commit;
        let durable = self.life.intake.durable();
        let oracle = &mut self.oracle;
        oracle.waiting.retain(|&(ordinal, number, id)| {
            if ordinal <= durable && is_promised {
                oracle.durable.insert(number);
                oracle.held.extend(id.map(|id| (id, number)));
            }
            ordinal > durable
        });
        oracle.watermark = oracle.watermark.max(self.life.handle.status().next_seq.0);
    }

    /// A session that meets a reopened journal gives up its connection and begins again.
    fn adopt(&mut self) {
        self.observe();
        self.oracle.waiting.clear();
        self.life.intake.qos2();
    }

    fn read_some(&mut self) {
        for _ in 0..self.random.below(40) {
            let position = self.reader.position();
            let Some(got) = self.reader.next().unwrap().map(got) else { return };
            let seed = self.seed;
            match got {
                Got::Message(seq, payload) => {
                    let number = u64::from_le_bytes(*payload.first_chunk().unwrap());
                    assert_eq!(payload, content(number), "seed {seed}: bytes of {seq}");
                    assert_eq!(seq, position.0, "seed {seed}: dense");
                    let before = *self.oracle.seen.entry(seq).or_insert(number);
                    assert_eq!(before, number, "seed {seed}: message {seq} changed");
                }
                Got::Lost(from, to) => {
                    assert!(from == position.0 && to > from, "seed {seed}: {from}..{to} at {position}");
                }
            }
        }
    }

    fn deliver(&mut self) {
        let read = self.reader.position().0.max(self.oracle.delivered);
        let up_to = self.oracle.delivered + self.random.below(read - self.oracle.delivered + 1);
        self.oracle.delivered = up_to;
        self.life.handle.set_delivered(0, Seq(up_to));
        self.life.let_time_pass();
    }

    /// A process dies, and another starts on what it left.
    fn restart(&mut self) {
        self.observe();
        let mut fs = self.end(&self.life.fs.clone());
        // Recovery may itself be cut short, again and again.
        for _ in 0..self.random.below(3) {
            fs.fail_call(self.random.below(12), SimFault::Short);
            drop(Life::try_begin(&fs, &self.config));
            fs = self.end(&fs);
        }
        self.life = Life::begin(&fs, &self.config);
        self.reader = self.life.handle.reader();
        self.oracle.waiting.clear();
        self.check();
    }

    /// A kill or a power cut. Also a kill after a failed sync, when the system shows the next process bytes that are not
    /// on the disk.
    fn end(&mut self, fs: &SimFs) -> SimFs {
        let seed = self.random.below(u64::MAX);
        if self.random.below(3) == 0 { fs.kill() } else { fs.crash(seed) }
    }

    /// Everything the oracle can know, after a start.
    fn check(&mut self) {
        let seed = self.seed;
        let entries = read_all(&self.life);
        let status = self.life.handle.status();
        if !self.oracle.rotten {
            assert!(status.next_seq.0 >= self.oracle.watermark, "seed {seed}: the end went back");
            assert!(status.oldest_seq.0 <= self.oracle.delivered, "seed {seed}: trimmed too much");
        }
        let mut expected = status.oldest_seq.0;
        let mut present = BTreeSet::new();
        let mut last = None;
        for entry in &entries {
            match entry {
                Got::Message(seq, payload) => {
                    assert_eq!(*seq, expected, "seed {seed}: dense");
                    expected += 1;
                    let number = u64::from_le_bytes(*payload.first_chunk().unwrap());
                    assert!(number < self.oracle.pushed, "seed {seed}: never pushed");
                    assert_eq!(*payload, content(number), "seed {seed}: bytes of {seq}");
                    assert!(last.is_none_or(|last| last < number), "seed {seed}: order, or twice");
                    last = Some(number);
                    present.insert(number);
                    if let Some(&before) = self.oracle.seen.get(seq) {
                        assert_eq!(before, number, "seed {seed}: message {seq} changed");
                    }
                    self.oracle.seen.insert(*seq, number);
                }
                Got::Lost(from, to) => {
                    assert_eq!(*from, expected, "seed {seed}: dense");
                    let why = self.why_lost();
                    let is_new = *from >= self.oracle.watermark || self.oracle.torn.contains(from);
                    assert!(
                        self.oracle.rotten || is_new && self.config.durability != Durability::Commit,
                        "seed {seed}: messages {from}..{to} lost without rot: {why:?}"
                    );
                    self.oracle.torn.insert(*from);
                    expected = *to;
                }
            }
        }
        assert_eq!(expected, status.next_seq.0, "seed {seed}: read to the end");
        if !self.oracle.rotten {
            let first = present.first().copied().unwrap_or(u64::MAX);
            let trimmed = |number: u64| number < first && self.is_delivered(number);
            for &number in &self.oracle.durable {
                assert!(present.contains(&number) || trimmed(number), "seed {seed}: durable message {number} is gone");
            }
            let table = self.life.intake.qos2();
            for (&id, &number) in &self.oracle.held {
                assert_eq!(table.verdict(id, true, number), Qos2Verdict::Duplicate, "seed {seed}: QoS 2 id {id}");
            }
        }
        self.oracle.watermark = status.next_seq.0;
        self.oracle.durable.extend(present);
        self.check_twice(&entries);
    }

    /// The reasons that are told for losses.
    fn why_lost(&self) -> Vec<String> {
        let mut reader = self.life.handle.reader();
        std::iter::from_fn(|| {
            reader
                .next()
                .unwrap()
                .map(|entry| if let Entry::Lost(lost) = entry { format!("{lost:?}") } else { String::new() })
        })
        .filter(|why| !why.is_empty())
        .collect()
    }

    /// Whether the database has the message, as far as it was ever read.
    fn is_delivered(&self, number: u64) -> bool {
        self.oracle.seen.range(..self.oracle.delivered).any(|(_, &seen)| seen == number)
    }

    /// Recovery twice is recovery once.
    fn check_twice(&self, entries: &[Got]) {
        let again = Life::begin(&self.life.fs.crash(1), &self.config);
        assert_eq!(read_all(&again), entries, "seed {}", self.seed);
        assert_eq!(again.handle.status().next_seq, self.life.handle.status().next_seq);
        assert_eq!(again.handle.ids(), self.life.handle.ids());
        assert!(again.intake.qos2() == self.life.intake.qos2());
        // Damage in sealed segments is not mended, and each process that meets it counts it.
        assert!(self.oracle.rotten || again.metrics.messages_lost.get() == 0, "seed {}", self.seed);
    }

    fn rot(&mut self) {
        let segments = self.life.segments();
        let path = &segments[self.random.below(segments.len() as u64) as usize];
        let (bit, random) = (1 << self.random.below(8), self.random.below(u64::MAX));
        self.life.fs.damage(path, |bytes| {
            let at = random as usize % bytes.len();
            bytes[at] ^= bit;
        });
        self.oracle.rotten = true;
    }

    pub(in crate::journal) fn run(&mut self, mode: Mode) {
        let Mode { faults, rot, lies } = mode;
        if lies {
            self.life.fs.lie_about_syncs();
        }
        for _ in 0..STEPS {
            if self.random.is_exhausted() {
                break;
            }
            match self.random.below(24) {
                0..8 => self.push(),
                8..12 => self.life.intake.submit(),
                12..17 => drop(self.life.writer.step()),
                17..20 => self.read_some(),
                20 => self.deliver(),
                21 if faults => {
                    let fault = self.random.one_of(&[SimFault::Io, SimFault::Short, SimFault::Full]);
                    self.life.fs.fail_call(self.random.below(10), fault);
                }
                22 => {
                    self.life.let_time_pass();
                    self.life.settle();
                }
                23 if self.random.below(3) == 0 => {
                    if rot {
                        self.rot();
                    }
                    self.restart();
                    if rot {
                        return;
                    }
                }
                _ => {}
            }
            if self.life.intake.generation() != self.life.intake.adopted_generation() {
                self.adopt();
            }
            self.observe();
        }
        self.restart();
    }
}

/// What goes wrong in a simulation beside kills and power cuts.
#[derive(Debug, Clone, Copy)]
pub(in crate::journal) struct Mode {
    /// Calls fail.
    pub(in crate::journal) faults: bool,
    /// Bits flip.
    pub(in crate::journal) rot: bool,
    /// Syncs say that they did what they did not: what the oracle must catch.
    pub(in crate::journal) lies: bool,
}
