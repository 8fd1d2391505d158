//! What every scenario needs: the binary, the size of the run, a Postgres, a place on the disk.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::support::postgres::Postgres;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Without any progress for so long, a measurement is over.
pub(crate) const STALLED: Duration = Duration::from_secs(60);

pub(crate) struct Bench {
    pub(crate) rowbridge: PathBuf,
    /// A Python with paho-mqtt and psycopg.
    pub(crate) python: Option<PathBuf>,
    pub(crate) telegraf: Option<PathBuf>,
    /// A Python with mq-bridge.
    pub(crate) mq_bridge: Option<PathBuf>,
    pub(crate) rounds: u32,
    /// Small sizes, to see that everything works.
    pub(crate) quick: bool,
    /// Only what the regression check compares.
    pub(crate) checking: bool,
    pub(crate) scratch: PathBuf,
    postgres: OnceLock<Arc<Postgres>>,
}

impl Bench {
    pub(crate) fn new(rowbridge: PathBuf, scratch: PathBuf, rounds: u32) -> Bench {
        Bench {
            rowbridge,
            python: None,
            telegraf: None,
            mq_bridge: None,
            rounds,
            quick: false,
            checking: false,
            scratch,
            postgres: OnceLock::new(),
        }
    }

    /// `full`, or less in a quick run.
    pub(crate) fn sized(&self, full: u64, quick: u64) -> u64 {
        if self.quick { quick } else { full }
    }

    /// One server for the whole run, with its defaults, fsync included.
    pub(crate) fn postgres(&self) -> Arc<Postgres> {
        Arc::clone(self.postgres.get_or_init(|| Arc::new(Postgres::start())))
    }

    pub(crate) fn folder(&self) -> Result<TempDir> {
        Ok(TempDir::new_in(&self.scratch)?)
    }

    /// Lets the disk and Postgres finish what earlier measurements left, so that none pays for another.
    pub(crate) fn settle(&self) {
        if let Some(postgres) = self.postgres.get() {
            postgres.psql("postgres", "CHECKPOINT");
        }
        rustix::fs::sync();
    }
}

/// Asks every `interval` until `progress` reaches `goal`. An error if it passes the goal, or stands still for
/// [`STALLED`].
pub(crate) fn wait_until(goal: u64, interval: Duration, mut progress: impl FnMut() -> Result<u64>) -> Result<()> {
    let (mut last, mut last_change) = (0, Instant::now());
    loop {
        let now = progress()?;
        if now == goal {
            return Ok(());
        }
        if now != last {
            (last, last_change) = (now, Instant::now());
        }
        if now > goal || last_change.elapsed() > STALLED {
            return Err(format!("{now} of {goal} messages arrived").into());
        }
        std::thread::sleep(interval);
    }
}

/// Copies a folder and what is in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
