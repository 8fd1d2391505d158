//! Shared parts of tests, fuzzing and simulations of the journal: a process on a simulated disk, with the
//! writer's turns taken by hand.

#![allow(clippy::unwrap_used, reason = "a test's means: a failure here is the failure that is looked for")]
#![cfg_attr(not(test), allow(dead_code, reason = "some of it only tests need"))]

mod choices;
pub(super) mod damaged;
pub mod fuzzing;
pub(super) mod reference;
mod simulation;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub(super) use choices::Choices;
pub(super) use simulation::{Mode, World};

use super::writer::{Step, Writer};
use super::*;
use crate::clock::Timestamp;
use crate::config::{self, Corruption, Durability, WhenFull};
use crate::message::{Message, Properties, Qos, Seq};
use crate::telemetry::Metrics;

/// One life of a process on a disk: the journal with its writer's turns taken by hand.
pub(super) struct Life {
    pub(super) fs: SimFs,
    pub(super) metrics: Arc<Metrics>,
    pub(super) handle: JournalHandle<SimFs>,
    pub(super) intake: Intake<SimFs>,
    pub(super) writer: Writer<SimFs>,
}

pub(super) fn config() -> config::Journal {
    config::Journal {
        durability: Durability::Commit,
        sync_interval: Duration::ZERO,
        segment_size: 4096,
        max_size: 1024 * 1024,
        when_full: WhenFull::Pause,
        keep: Duration::ZERO,
        on_corruption: Corruption::Quarantine,
    }
}

pub(super) fn data_dir() -> &'static Path {
    Path::new("data")
}

pub(super) fn message(payload: &[u8]) -> Message<'_> {
    Message {
        topic: "t",
        payload,
        qos: Qos::AtLeastOnce,
        retain: false,
        dup: false,
        properties: Properties::NONE,
        received_at: Timestamp(0),
        fault: None,
        seq: Seq(0),
    }
}

impl Life {
    pub(super) fn try_begin(fs: &SimFs, config: &config::Journal) -> Result<Life, OpenError> {
        let metrics = Arc::new(Metrics::new());
        let journal = Journal::open(fs.clone(), data_dir(), config, 1, Arc::clone(&metrics))?;
        let (handle, intake, writer) = journal.into_parts();
        Ok(Life { fs: fs.clone(), metrics, handle, intake, writer })
    }

    pub(super) fn begin(fs: &SimFs, config: &config::Journal) -> Life {
        Life::try_begin(fs, config).unwrap()
    }

    /// Turns until nothing is left to do, or nothing can be done.
    pub(super) fn settle(&mut self) -> Step {
        loop {
            match self.writer.step() {
                Step::Worked => {}
                step => return step,
            }
        }
    }

    pub(super) fn push(&mut self, payload: &[u8]) -> u64 {
        let ordinal = self.intake.push_message(&message(payload), None);
        self.intake.submit();
        ordinal
    }

    /// A message in a commit group of its own.
    pub(super) fn commit(&mut self, payload: &[u8]) -> u64 {
        let ordinal = self.push(payload);
        self.settle();
        assert_eq!(self.intake.durable(), ordinal);
        ordinal
    }

    pub(super) fn commit_all(&mut self, numbers: std::ops::RangeInclusive<u64>) {
        for number in numbers {
            self.commit(&payload(number));
        }
    }

    /// Whatever waited for time to pass is due.
    pub(super) fn let_time_pass(&mut self) {
        self.writer.look_for_room_at = self.writer.look_for_room_at.map(|_| Instant::now());
        self.writer.trim_at = Instant::now();
        if let Some(broken) = &mut self.writer.broken {
            broken.retry_at = Instant::now();
        }
    }

    pub(super) fn segments(&self) -> Vec<PathBuf> {
        let files = self.fs.files().into_iter().map(|(path, _)| path);
        files.filter(|path| segment::base_of(path).is_some()).collect()
    }
}

/// An entry that owns what it tells.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Got {
    Message(u64, Vec<u8>),
    Lost(u64, u64),
}

/// Short, as a failed comparison prints hundreds.
impl std::fmt::Debug for Got {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Got::Message(seq, payload) => {
                write!(f, "{seq}:{}", String::from_utf8_lossy(&payload[..payload.len().min(12)]))
            }
            Got::Lost(from, to) => write!(f, "lost {from}..{to}"),
        }
    }
}

pub(super) fn got(entry: Entry<'_>) -> Got {
    match entry {
        Entry::Message(message) => Got::Message(message.seq.0, message.payload.to_vec()),
        Entry::Lost(lost) => Got::Lost(lost.from.0, lost.to.0),
    }
}

pub(super) fn read_on(reader: &mut Reader<SimFs>) -> Vec<Got> {
    std::iter::from_fn(|| reader.next().unwrap().map(got)).collect()
}

pub(super) fn read_all(life: &Life) -> Vec<Got> {
    read_on(&mut life.handle.reader())
}

pub(super) fn messages(range: std::ops::Range<u64>) -> Vec<Got> {
    range.map(|seq| Got::Message(seq, payload(seq))).collect()
}

/// A payload that tells which message it is.
pub(super) fn payload(number: u64) -> Vec<u8> {
    format!("message {number} {}", "x".repeat((number % 40) as usize)).into_bytes()
}
