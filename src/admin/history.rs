//! The last hour in numbers, for the page's sparklines: a ring of fixed size, in memory only.

use std::collections::VecDeque;
use std::time::Duration;

use indexmap::IndexMap;
use serde::Serialize;
use tokio::time::Instant;

use super::observer::Glance;

/// Between two samples. An hour on a screen has about so many points to show.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);

/// An hour's rates, and the sample before. A sample takes 64 bytes and 24 for each database: with two of them the ring takes
/// 40 KiB.
const SAMPLES_MAX: usize = 361;

/// The growth of the journal is measured over this many samples at most: five minutes.
const GROWTH_SAMPLES_MAX: usize = 30;

/// And over this many at least, or the first burst after a calm would give an alarming figure.
const GROWTH_SAMPLES_MIN: usize = 3;

/// The samples, oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    begun: Option<Instant>,
    samples: VecDeque<Sample>,
}

#[derive(Debug)]
struct Sample {
    at: Instant,
    next_seq: u64,
    bytes: u64,
    undelivered_bytes: u64,
    /// In the order of the configuration.
    databases: Box<[DatabaseSample]>,
}

#[derive(Debug)]
struct DatabaseSample {
    /// `None` until it has answered once.
    next_seq: Option<u64>,
    pending: u64,
}

/// The answer of `/history`: lists of equal length, oldest first. `null` where a figure is not known.
#[derive(Debug, Serialize)]
pub(super) struct HistoryPart {
    pub interval_seconds: u64,
    /// The age of each sample.
    pub seconds_ago: Vec<u64>,
    /// Taken from the broker into the journal.
    pub messages_per_second: Vec<Option<f64>>,
    pub journal_bytes: Vec<u64>,
    pub journal_max_bytes: u64,
    /// Of the journal, what a database still lacks: estimated, as if all messages were equally large.
    pub undelivered_bytes: u64,
    /// Until the journal is full, if it goes on growing as it does; `null` while it does not.
    pub journal_full_in_seconds: Option<u64>,
    pub databases: IndexMap<String, DatabaseHistoryPart>,
}

#[derive(Debug, Serialize)]
pub(super) struct DatabaseHistoryPart {
    /// Delivered to this database.
    pub messages_per_second: Vec<Option<f64>>,
    pub pending: Vec<u64>,
}

impl History {
    /// Adds a sample if it is time for one.
    pub(super) fn sample(&mut self, at: Instant, glance: &Glance) {
        let begun = *self.begun.get_or_insert(at);
        let is_soon = |then| at.saturating_duration_since(then) < INTERVAL;
        let is_due = match self.samples.back() {
            Some(last) => !is_soon(last.at),
            // Until a database has answered, all that the journal holds counts as pending: a peak that is none.
            None => !is_soon(begun) || glance.databases.iter().all(|database| database.next_seq.is_some()),
        };
        if !is_due {
            return;
        }
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample::of(at, glance));
    }

    /// `names` and `max_bytes` as they are in the configuration.
    pub(super) fn part(&self, now: Instant, names: impl Iterator<Item = String>, max_bytes: u64) -> HistoryPart {
        let samples = &self.samples;
        let database = |index: usize| DatabaseHistoryPart {
            messages_per_second: self.rates(|sample| sample.databases[index].next_seq),
            pending: samples.iter().map(|sample| sample.databases[index].pending).collect(),
        };
        HistoryPart {
            interval_seconds: INTERVAL.as_secs(),
            seconds_ago: samples.iter().map(|sample| now.saturating_duration_since(sample.at).as_secs()).collect(),
            messages_per_second: self.rates(|sample| Some(sample.next_seq)),
            journal_bytes: samples.iter().map(|sample| sample.bytes).collect(),
            journal_max_bytes: max_bytes,
            undelivered_bytes: samples.back().map_or(0, |sample| sample.undelivered_bytes),
            journal_full_in_seconds: self.full_in(max_bytes).map(|left| left.as_secs()),
            databases: names.enumerate().map(|(index, name)| (name, database(index))).collect(),
        }
    }

    /// Per second, since the sample before; with two decimals.
    fn rates(&self, count: impl Fn(&Sample) -> Option<u64>) -> Vec<Option<f64>> {
        let mut before: Option<&Sample> = None;
        let rate = |sample| {
            let before = before.replace(sample)?;
            // A database that was replaced by an older copy goes back.
            let grown = count(sample)?.checked_sub(count(before)?)?;
            let seconds = sample.at.duration_since(before.at).as_secs_f64();
            Some((grown as f64 / seconds * 100.0).round() / 100.0)
        };
        self.samples.iter().map(rate).collect()
    }

    /// By the undelivered messages' growth since they last shrank.
    fn full_in(&self, max_bytes: u64) -> Option<Duration> {
        let last = self.samples.back()?;
        let mut first = last;
        let mut samples = 1;
        for sample in self.samples.iter().rev().skip(1).take(GROWTH_SAMPLES_MAX) {
            if sample.undelivered_bytes > first.undelivered_bytes {
                break;
            }
            first = sample;
            samples += 1;
            // A calm before it began would make the growth look slower.
            if first.undelivered_bytes == 0 {
                break;
            }
        }
        let grown = last.undelivered_bytes - first.undelivered_bytes;
        if samples < GROWTH_SAMPLES_MIN || grown == 0 {
            return None;
        }
        let seconds = last.at.duration_since(first.at).as_secs_f64();
        let left = max_bytes.saturating_sub(last.undelivered_bytes) as f64;
        Duration::try_from_secs_f64(left / grown as f64 * seconds).ok()
    }
}

impl Sample {
    fn of(at: Instant, glance: &Glance) -> Sample {
        let journal = &glance.journal;
        let sample = |next_seq: Option<u64>| DatabaseSample {
            next_seq,
            pending: journal.next_seq.0.saturating_sub(next_seq.unwrap_or(journal.oldest_seq.0)),
        };
        let next_seqs = glance.databases.iter().map(|database| database.next_seq.map(|seq| seq.0));
        let databases: Box<[DatabaseSample]> = next_seqs.map(sample).collect();
        let pending = databases.iter().map(|database| database.pending).max().unwrap_or(0);
        let held = journal.next_seq.0.saturating_sub(journal.oldest_seq.0).max(1);
        let share = pending.min(held) as f64 / held as f64;
        Sample {
            at,
            next_seq: journal.next_seq.0,
            bytes: journal.bytes,
            undelivered_bytes: (journal.bytes as f64 * share) as u64,
            databases,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::DatabaseState;
    use crate::journal::JournalStatus;
    use crate::journal_id::JournalId;
    use crate::message::Seq;

    fn glance(next_seq: u64, bytes: u64, delivered: Option<u64>) -> Glance {
        Glance {
            is_connected: true,
            journal: JournalStatus {
                id: JournalId([0; 16]),
                oldest_seq: Seq(1),
                next_seq: Seq(next_seq),
                bytes,
                max_bytes: 30_000,
                paused: false,
                dropping: false,
            },
            databases: vec![DatabaseState { next_seq: delivered.map(Seq), ..DatabaseState::default() }],
        }
    }

    fn part(history: &History, now: Instant) -> HistoryPart {
        history.part(now, std::iter::once("local".to_owned()), 30_000)
    }

    #[test]
    fn rates_are_between_samples_which_begin_once_the_databases_answer_or_do_not_for_a_while() {
        let begin = Instant::now();
        let mut history = History::default();
        history.sample(begin - INTERVAL, &glance(900, 0, None));
        history.sample(begin, &glance(1, 0, None));
        history.sample(begin + INTERVAL, &glance(101, 0, Some(1)));
        history.sample(begin + INTERVAL * 3 / 2, &glance(9_999, 0, Some(1)));
        history.sample(begin + INTERVAL * 2, &glance(116, 0, Some(116)));
        history.sample(begin + INTERVAL * 3, &glance(116, 0, Some(50)));
        let part = part(&history, begin + INTERVAL * 3);
        assert_eq!(part.seconds_ago, [30, 20, 10, 0], "one every ten seconds");
        assert_eq!(part.messages_per_second, [None, Some(10.0), Some(1.5), Some(0.0)]);
        let local = &part.databases["local"];
        assert_eq!(local.messages_per_second, [None, None, Some(11.5), None]);
        assert_eq!(local.pending, [0, 100, 0, 66]);
    }

    #[test]
    fn an_hour_is_kept() {
        let begin = Instant::now();
        let mut history = History::default();
        (0..1_000).for_each(|n| history.sample(begin + INTERVAL * n, &glance(u64::from(n), 0, None)));
        let part = part(&history, begin + INTERVAL * 999);
        assert_eq!((part.seconds_ago.len(), part.seconds_ago[0]), (361, 3_600));
    }

    #[test]
    fn the_time_until_the_journal_is_full_counts_what_is_undelivered_and_grows() {
        let begin = Instant::now();
        let mut history = History::default();
        for n in 0..4 {
            history.sample(begin + INTERVAL * n, &glance(1 + 100, 1_000, Some(101)));
        }
        assert_eq!(part(&history, begin).journal_full_in_seconds, None, "all is delivered");
        for n in 4..14 {
            let taken = u64::from(n - 3) * 100;
            history.sample(begin + INTERVAL * n, &glance(101 + taken, 1_000 + taken * 10, Some(101)));
        }
        let growing = part(&history, begin);
        // 1,000 messages of 10 bytes in 100 s, and 1,000 bytes of delivered ones, which give way.
        assert_eq!((growing.undelivered_bytes, growing.journal_full_in_seconds), (10_000, Some(200)));
        history.sample(begin + INTERVAL * 14, &glance(1_101, 11_000, Some(1_000)));
        assert_eq!(part(&history, begin).journal_full_in_seconds, None, "it shrinks");
    }
}
