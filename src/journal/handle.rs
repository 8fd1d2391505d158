//! The journal's face to the rest of the program.

use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use super::{Fs, JournalId, Qos2Table};
use crate::config;
use crate::message::{Message, Seq};
use crate::telemetry::Metrics;

/// An opened, recovered journal that nobody writes yet. Holds the directory's lock.
pub struct Journal<F: Fs> {
    _fs: F,
}

/// Why a journal cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error("the journal in {0} is in use by another process; stop it or give this one a data_dir of its own")]
    Locked(PathBuf),
    #[error("the journal in {path}: {action} failed: {source}")]
    Io { path: PathBuf, action: &'static str, source: std::io::Error },
    /// `on_corruption: halt` and damage was found.
    #[error(
        "{path} is damaged at byte {offset}: {detail}; set journal.on_corruption to quarantine to go on without it"
    )]
    Damaged { path: PathBuf, offset: u64, detail: String },
}

/// A failed read. Transient errors of the disk; the caller waits and tries again.
#[derive(Debug, Error)]
#[error("reading {path} at byte {offset} failed: {source}")]
pub struct JournalError {
    pub path: PathBuf,
    pub offset: u64,
    pub source: std::io::Error,
}

/// How far the journal is durable. Readers never pass `next_seq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermark {
    pub next_seq: Seq,
}

/// A snapshot for `status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalStatus {
    pub id: JournalId,
    pub oldest_seq: Seq,
    pub next_seq: Seq,
    /// Bytes on disk.
    pub bytes: u64,
    pub max_bytes: u64,
    /// Full (or the disk is), and `when_full: pause`.
    pub paused: bool,
}

impl<F: Fs> Journal<F> {
    /// Opens or creates the journal in `data_dir`/journal and recovers it (DESIGN J1–J12). `readers` is the number of
    /// databases, none of which has delivered anything as far as the journal knows.
    pub fn open(
        _fs: F,
        _data_dir: &std::path::Path,
        _config: &config::Journal,
        _readers: usize,
        _metrics: Arc<Metrics>,
    ) -> Result<Journal<F>, OpenError> {
        todo!()
    }

    /// Starts the writer thread. It ends when [`JournalHandle::stop`] is called and everything submitted is durable.
    pub fn spawn(self) -> (JournalHandle<F>, Intake<F>, std::thread::JoinHandle<()>) {
        todo!()
    }
}

/// Shared access for databases, status and retention. Cheap to clone.
pub struct JournalHandle<F: Fs> {
    _shared: Arc<F>,
}

impl<F: Fs> Clone for JournalHandle<F> {
    fn clone(&self) -> Self {
        JournalHandle { _shared: Arc::clone(&self._shared) }
    }
}

impl<F: Fs> JournalHandle<F> {
    pub fn status(&self) -> JournalStatus {
        todo!()
    }

    /// Follows the durable end; also changes once more when the journal stops.
    pub fn watermark(&self) -> tokio::sync::watch::Receiver<Watermark> {
        todo!()
    }

    /// A reader for one database.
    pub fn reader(&self) -> Reader<F> {
        todo!()
    }

    /// The ids under which records in the journal are numbered, oldest first, each with the first sequence number it
    /// covers; the last one covers everything up to and beyond `next_seq`. One entry, unless the id was renewed.
    pub fn ids(&self) -> Vec<(JournalId, Seq)> {
        todo!()
    }

    /// Database `reader` (0-based) holds everything below `next_seq`, as read back from it. May go back, when an older
    /// copy of the database took over.
    pub fn set_delivered(&self, _reader: usize, _next_seq: Seq) {
        todo!()
    }

    /// J11: a database knows sequence numbers that this journal never gave out (a restored disk image). Makes a fresh
    /// id durable that covers everything from `next_seq` on, and returns it.
    pub fn renew_id(&self) -> Result<JournalId, JournalError> {
        todo!()
    }

    /// The first sequence number that this process gave out.
    pub fn first_seq_of_run(&self) -> Seq {
        todo!()
    }

    /// Ends the writer after everything submitted is durable.
    pub fn stop(&self) {
        todo!()
    }
}

/// Why nothing more is taken just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendRejected;

/// The session's side: stages records, hands them over in groups, learns what became durable.
///
/// Every push (message, release, clear) has an ordinal, counted from 1 over the life of the process; [`Intake::durable`]
/// is the highest ordinal whose record, and all before it, survived an fdatasync (or was dropped by `when_full`, or, in
/// `durability: <interval>`, was written).
pub struct Intake<F: Fs> {
    _shared: Arc<F>,
}

impl<F: Fs> Intake<F> {
    /// The QoS 2 table as the disk has it now: the session copies it at start and again whenever `generation` changed.
    pub fn qos2(&self) -> Qos2Table {
        todo!()
    }

    /// Changes when the writer had to reopen the journal after a failed write or fsync (J6): whatever was pushed but is
    /// not durable is gone. The session must drop its connection without acknowledging it, so that the broker sends it
    /// again, and take a fresh `qos2`. Ordinals go on counting; the lost ones never become durable.
    pub fn generation(&self) -> u64 {
        todo!()
    }

    /// Stages a message; `qos2` is its packet id and content hash. Returns its ordinal. Memory only.
    pub fn push_message(&mut self, _message: &Message<'_>, _qos2: Option<(u16, u64)>) -> u64 {
        todo!()
    }

    /// Stages a PUBREL's release.
    pub fn push_release(&mut self, _packet_id: u16) -> u64 {
        todo!()
    }

    /// Stages "the broker lost the session: forget all packet ids".
    pub fn push_clear(&mut self) -> u64 {
        todo!()
    }

    /// Hands what is staged to the writer. One lock and at most one wake-up, however much is staged; never blocks.
    pub fn submit(&mut self) {
        todo!()
    }

    /// Whether so much is waiting for the disk (or the journal is full and pausing) that the session should stop
    /// reading until [`Intake::changed`].
    pub fn is_backlogged(&self) -> bool {
        todo!()
    }

    /// The highest durable ordinal. An atomic load.
    pub fn durable(&self) -> u64 {
        todo!()
    }

    /// Waits until `durable`, `generation` or `is_backlogged` may have changed. Cancel-safe.
    pub async fn changed(&self) {
        todo!()
    }
}

/// A range of messages that the journal cannot give any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    pub from: Seq,
    /// Exclusive.
    pub to: Seq,
    /// `damaged at byte 4096 of 00000000000000000001.seg`, `dropped: the journal was full` …
    pub why: String,
}

/// What a reader finds next.
#[derive(Debug)]
pub enum Entry<'a> {
    Message(Message<'a>),
    Lost(Lost),
}

/// Reads durable records in order. Not shared between threads; owns its buffers.
pub struct Reader<F: Fs> {
    _shared: Arc<F>,
}

impl<F: Fs> Reader<F> {
    /// Goes to `seq`. If the journal's oldest record is newer, the next entry is the lost range up to it.
    pub fn seek(&mut self, _seq: Seq) -> Result<(), JournalError> {
        todo!()
    }

    /// The sequence number that the next entry begins with.
    pub fn position(&self) -> Seq {
        todo!()
    }

    /// The next durable entry, or `None` at the durable end. Reads ahead in large blocks.
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, JournalError> {
        todo!()
    }
}
