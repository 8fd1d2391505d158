//! The journal's interface to the other modules.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use tokio::sync::watch;

use super::active::Active;
use super::awaited::Awaited;
use super::recovery::{Recovered, Recovery};
use super::rotation::segment_bytes;
use super::shared::{Beginning, Shared, lock};
use super::writer::Writer;
use super::{Fs, Intake, Reader, events, id_file, lock_file};
use crate::config::{self, Durability};
use crate::journal_id::JournalId;
use crate::message::{Message, Seq};
use crate::remedy;
use crate::telemetry::Metrics;

/// The journal's folder in the data directory.
pub const DIRECTORY: &str = "journal";

/// An opened, recovered journal without a writer yet. Holds the directory's lock.
pub struct Journal<F: Fs> {
    writer: Writer<F>,
}

/// Why a journal cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error("the journal in {0} is in use by another process; stop it or give this one a data_dir of its own")]
    Locked(PathBuf),
    #[error("the journal in {path}: {action} failed: {source}; {}", remedy::of_file(.source))]
    Io { path: PathBuf, action: &'static str, source: std::io::Error },
    /// `durability: delivered`, and there is a journal on the disk whose messages may be in no database yet.
    #[error(
        "{0} holds a journal on disk, and with journal.durability: delivered it would not be delivered; set \
         journal.durability: commit and run until `rowbridge status` shows nothing pending, then stop and remove that folder; \
         or give another data_dir"
    )]
    OnDisk(PathBuf),
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
    /// Nothing is taken: it is full (or the disk is) and `when_full: pause`, or it cannot be written.
    pub paused: bool,
    /// It is full, or was a moment ago, and drops messages, as `when_full` says.
    pub dropping: bool,
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

/// The next entry of a reader.
#[derive(Debug, PartialEq)]
pub enum Entry<'a> {
    Message(Message<'a>),
    Lost(Lost),
}

impl<F: Fs> Journal<F> {
    /// Opens or creates the journal in `data_dir`/journal and recovers it (DESIGN J1–J12). `readers` is the number of
    /// databases, none of which has delivered anything as far as the journal knows.
    pub fn open(
        fs: F,
        data_dir: &Path,
        config: &config::Journal,
        readers: usize,
        metrics: Arc<Metrics>,
    ) -> Result<Journal<F>, OpenError> {
        let dir = data_dir.join(DIRECTORY);
        let failed = |action: &'static str| {
            let path = dir.clone();
            move |source| OpenError::Io { path, action, source }
        };
        fs.create_dir_all(&dir).map_err(failed("creating it"))?;
        let lock_file = lock_file::take(&fs, &dir).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => OpenError::Locked(dir.clone()),
            _ => failed("locking it")(error),
        })?;
        let evidence = lock_file::evidence(&fs, &dir);
        let recovery = Recovery {
            fs: &fs,
            dir: &dir,
            on_corruption: config.on_corruption,
            segment_bytes: segment_bytes(config),
            lock_file: &lock_file,
            durability: config.durability,
            evidence,
            trusted: None,
        };
        let recovered = recovery.run()?;
        let is_early = config.durability != Durability::Commit;
        if !evidence.is_untorn || evidence.is_early != is_early {
            crash_point!("journal.boot.unnoted");
            lock_file::note_boot(&fs, &lock_file, config.durability);
        }
        match config.durability {
            Durability::Commit => {}
            Durability::Interval(window) => events::interval_durability(window),
            Durability::Delivered => events::delivered_durability(),
        }
        let journal = Journal::start(fs, dir, lock_file, recovered, config, readers, metrics);
        let status = JournalHandle { shared: Arc::clone(&journal.writer.shared) }.status();
        let segments = lock(&journal.writer.shared.segments).len();
        events::opened(&journal.writer.shared.dir, status.id, status.oldest_seq, status.next_seq, segments);
        Ok(journal)
    }

    fn start(
        fs: F,
        dir: PathBuf,
        lock_file: F::File,
        recovered: Recovered<F::File>,
        config: &config::Journal,
        readers: usize,
        metrics: Arc<Metrics>,
    ) -> Journal<F> {
        let Recovered { ids, segments, file, end, room_end, trailer_at, next_seq, qos2, losses, torn } = recovered;
        let shared = Shared::new(Beginning {
            fs,
            dir,
            metrics,
            max_size: config.max_size,
            segment_bytes: segment_bytes(config),
            sync_interval: config.sync_interval,
            on_corruption: config.on_corruption,
            readers,
            ids,
            segments: segments.into_iter().map(Arc::new).collect(),
            next_seq,
            qos2,
            awaited: (config.durability == Durability::Delivered).then(Awaited::default),
        });
        torn.iter().for_each(|torn| events::torn_tail_cut(&shared.metrics, torn));
        losses.iter().for_each(|lost| shared.report_lost(lost.from, lost.to, &lost.why));
        let newest = lock(&shared.segments).back().map(Arc::clone).expect("recovery leaves a segment");
        let salt = newest.salt.expect("recovery read the newest header");
        let active = Active::new(newest, file, salt, end, room_end, trailer_at);
        Journal { writer: Writer::new(Arc::new(shared), lock_file, config.clone(), active) }
    }

    /// Starts the writer thread. It ends when [`JournalHandle::stop`] is called and everything submitted is durable.
    pub fn spawn(self) -> (JournalHandle<F>, Intake<F>, std::thread::JoinHandle<()>) {
        let (handle, intake, writer) = self.into_parts();
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run())
            .expect("a process that may not start one thread cannot run at all");
        (handle, intake, thread)
    }

    /// For [`Journal::spawn`], and for simulations that take the writer's turns themselves.
    pub(crate) fn into_parts(self) -> (JournalHandle<F>, Intake<F>, Writer<F>) {
        let shared = &self.writer.shared;
        (JournalHandle { shared: Arc::clone(shared) }, Intake::new(Arc::clone(shared)), self.writer)
    }
}

/// Shared access for databases, status and retention. Cheap to clone.
pub struct JournalHandle<F: Fs> {
    shared: Arc<Shared<F>>,
}

impl<F: Fs> Clone for JournalHandle<F> {
    fn clone(&self) -> Self {
        JournalHandle { shared: Arc::clone(&self.shared) }
    }
}

impl<F: Fs> JournalHandle<F> {
    /// The journal's file system.
    pub(crate) fn fs(&self) -> &F {
        &self.shared.fs
    }

    pub fn status(&self) -> JournalStatus {
        JournalStatus {
            id: self.shared.current_id(),
            oldest_seq: self.shared.oldest_seq(),
            next_seq: self.shared.next_seq(),
            bytes: self.shared.bytes(),
            max_bytes: self.shared.max_size,
            paused: self.shared.paused.load(std::sync::atomic::Ordering::Acquire),
            dropping: self.shared.is_dropping(),
        }
    }

    /// Follows the durable end; also changes once more when the journal stops.
    pub fn watermark(&self) -> watch::Receiver<Watermark> {
        self.shared.watermark.subscribe()
    }

    /// With `durability: delivered`: how many acknowledgements the session owes the broker just now, all of which wait for
    /// the databases. `None` with any other.
    pub fn unacknowledged(&self) -> Option<u64> {
        let is_awaited = self.shared.awaited.is_some();
        is_awaited.then(|| self.shared.unacknowledged.load(std::sync::atomic::Ordering::Acquire))
    }

    /// A reader for one database, at the oldest message.
    pub fn reader(&self) -> Reader<F> {
        Reader::new(Arc::clone(&self.shared))
    }

    /// The ids under which records in the journal are numbered, oldest first, each with the first sequence number it
    /// covers; the last one covers everything up to and beyond `next_seq`. One entry, unless the id was renewed.
    pub fn ids(&self) -> Vec<(JournalId, Seq)> {
        lock(&self.shared.ids).clone()
    }

    /// Database `reader` (0-based) holds everything below `next_seq`, as read back from it. May go back, when an older
    /// copy of the database took over. Nothing is trimmed before every database has called this.
    pub fn set_delivered(&self, reader: usize, next_seq: Seq) {
        let before = self.shared.delivered_by_all();
        lock(&self.shared.delivered)[reader] = Some(next_seq);
        self.shared.acknowledge_delivered();
        let segments_ahead = self.shared.segment_of(self.shared.delivered_by_all().unwrap_or_default());
        let segments_before = self.shared.segment_of(before.unwrap_or_default());
        // Only a whole segment can make room, so only its end is worth waking the writer for.
        if segments_ahead.map(|segment| segment.base) != segments_before.map(|segment| segment.base) {
            self.shared.stamp_delivered();
            self.shared.poke();
        }
    }

    /// J11: a database knows sequence numbers that this journal never gave out (a restored disk image). Makes a fresh
    /// id durable that covers everything from `next_seq` on, and returns it. Waits for the disk.
    pub fn renew_id(&self) -> Result<JournalId, JournalError> {
        let failed = |source| JournalError { path: self.shared.dir.join("id"), offset: 0, source };
        let mut id = id_file::generate(&self.shared.fs).map_err(failed)?;
        if self.unacknowledged().is_some() {
            id = id.volatile();
        }
        // Held while the file is written: of two databases that ask at once, one comes after the other.
        let mut ids = lock(&self.shared.ids);
        let from = self.shared.next_seq();
        let old = ids.last().expect("there is always an id").0;
        let oldest = self.shared.oldest_seq();
        let mut renewed = ids.clone();
        // An id all of whose messages are trimmed says nothing any more. With `<`, as a segment that begins where the
        // next id does may have been made before and name the older one, and a start looks for the name.
        while renewed.get(1).is_some_and(|&(_, first)| first < oldest) {
            renewed.remove(0);
        }
        renewed.push((id, from));
        id_file::store(&self.shared.fs, &self.shared.dir, &renewed).map_err(failed)?;
        *ids = renewed;
        events::id_renewed(old, id, from);
        Ok(id)
    }

    /// How often the journal was reopened; see [`Intake::generation`].
    #[cfg(test)]
    pub(crate) fn generation(&self) -> u64 {
        self.shared.generation.load(std::sync::atomic::Ordering::Acquire)
    }

    /// The first sequence number that this process gave out.
    pub fn first_seq_of_run(&self) -> Seq {
        self.shared.first_seq_of_run
    }

    /// Ends the writer after everything submitted is durable; at once if the journal cannot be written just now, as
    /// what is not durable was not acknowledged and stays with the broker.
    pub fn stop(&self) {
        lock(&self.shared.queue).stop = true;
        self.shared.wake.notify_one();
    }
}
