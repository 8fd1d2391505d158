//! The journal as a whole, on a simulated disk.

mod damage;
mod full;
mod hostile;
mod inspecting;
mod losses;
mod reopening;
mod running;
mod simulation;
mod unreadable;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::writer::{Step, Writer};
use super::*;
use crate::clock::Timestamp;
use crate::config::{self, Corruption, Durability, WhenFull};
use crate::message::{Message, Properties, Qos, Seq};
use crate::telemetry::Metrics;

/// One life of a process on a disk: the journal with its writer's turns taken by hand.
struct Life {
    fs: SimFs,
    metrics: Arc<Metrics>,
    handle: JournalHandle<SimFs>,
    intake: Intake<SimFs>,
    writer: Writer<SimFs>,
}

fn config() -> config::Journal {
    config::Journal {
        durability: Durability::Commit,
        segment_size: 4096,
        max_size: 1024 * 1024,
        when_full: WhenFull::Pause,
        keep: Duration::ZERO,
        on_corruption: Corruption::Quarantine,
    }
}

fn data_dir() -> &'static Path {
    Path::new("data")
}

fn message(payload: &[u8]) -> Message<'_> {
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
    fn try_begin(fs: &SimFs, config: &config::Journal) -> Result<Life, OpenError> {
        let metrics = Arc::new(Metrics::new());
        let journal = Journal::open(fs.clone(), data_dir(), config, 1, Arc::clone(&metrics))?;
        let (handle, intake, writer) = journal.into_parts();
        Ok(Life { fs: fs.clone(), metrics, handle, intake, writer })
    }

    fn begin(fs: &SimFs, config: &config::Journal) -> Life {
        Life::try_begin(fs, config).unwrap()
    }

    /// Turns until nothing is left to do, or nothing can be done.
    fn settle(&mut self) -> Step {
        loop {
            match self.writer.step() {
                Step::Worked => {}
                step => return step,
            }
        }
    }

    fn push(&mut self, payload: &[u8]) -> u64 {
        let ordinal = self.intake.push_message(&message(payload), None);
        self.intake.submit();
        ordinal
    }

    /// A message in a commit group of its own.
    fn commit(&mut self, payload: &[u8]) -> u64 {
        let ordinal = self.push(payload);
        self.settle();
        assert_eq!(self.intake.durable(), ordinal);
        ordinal
    }

    fn commit_all(&mut self, numbers: std::ops::RangeInclusive<u64>) {
        for number in numbers {
            self.commit(&payload(number));
        }
    }

    /// Whatever waited for time to pass is due.
    fn let_time_pass(&mut self) {
        self.writer.look_for_room_at = self.writer.look_for_room_at.map(|_| Instant::now());
        self.writer.trim_at = Instant::now();
        if let Some(broken) = &mut self.writer.broken {
            broken.retry_at = Instant::now();
        }
    }

    fn segments(&self) -> Vec<PathBuf> {
        let files = self.fs.files().into_iter().map(|(path, _)| path);
        files.filter(|path| segment::base_of(path).is_some()).collect()
    }
}

/// An entry that owns what it tells.
#[derive(Clone, PartialEq, Eq)]
enum Got {
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

fn got(entry: Entry<'_>) -> Got {
    match entry {
        Entry::Message(message) => Got::Message(message.seq.0, message.payload.to_vec()),
        Entry::Lost(lost) => Got::Lost(lost.from.0, lost.to.0),
    }
}

fn read_on(reader: &mut Reader<SimFs>) -> Vec<Got> {
    std::iter::from_fn(|| reader.next().unwrap().map(got)).collect()
}

fn read_all(life: &Life) -> Vec<Got> {
    read_on(&mut life.handle.reader())
}

fn messages(range: std::ops::Range<u64>) -> Vec<Got> {
    range.map(|seq| Got::Message(seq, payload(seq))).collect()
}

/// A payload that tells which message it is.
fn payload(number: u64) -> Vec<u8> {
    format!("message {number} {}", "x".repeat((number % 40) as usize)).into_bytes()
}
