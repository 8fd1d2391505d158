//! A journal full of messages that no database has, and how long it takes to deliver them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::bench::{Bench, Result, STALLED, copy_folder, wait_until};
use super::bridge::{Bridge, Setup};
use super::fake_broker::{FakeBroker, Feed};
use super::report::Figures;
use super::store::{Engine, Store};
use super::support::free_port;
use super::usage::{Meter, cpu_seconds};

/// Room for every backlog that is measured.
pub(crate) const JOURNAL_KEYS: &str = "max_size: 16GiB";
/// How exactly the end of a drain is seen.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// The data directory of a bridge whose database was never there.
pub(crate) struct Backlog {
    folder: TempDir,
    pub(crate) messages: u64,
}

impl Backlog {
    /// Fills a journal through the bridge itself, in an outage of its database.
    pub(crate) fn prepare(bench: &Bench, feed: Feed) -> Result<Backlog> {
        eprintln!("filling a journal with {} messages of {} bytes", feed.messages, feed.payload_len);
        let folder = bench.folder()?;
        let broker = FakeBroker::start(feed)?;
        let mut bridge = Bridge::start(bench, folder.path(), broker.port(), &unreachable_database())?;
        bridge.wait_ready()?;
        broker.begin();
        wait_until(feed.messages, LOOK_AGAIN, || {
            bridge.check()?;
            Ok(broker.acknowledged())
        })?;
        bridge.stop()?;
        Ok(Backlog { folder, messages: feed.messages })
    }

    /// Gives a bridge that will be started in `folder` this journal.
    pub(crate) fn copy_into(&self, folder: &Path) -> Result<()> {
        copy_folder(&self.data(), &folder.join("data"))
    }

    pub(crate) fn journal_mib(&self) -> Result<f64> {
        let mut bytes = 0;
        for file in std::fs::read_dir(self.data().join("journal"))? {
            bytes += file?.metadata()?.len();
        }
        Ok(bytes as f64 / 1_048_576.0)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

/// A database where nobody listens.
pub(crate) fn unreachable_database() -> Setup {
    Setup {
        journal_keys: JOURNAL_KEYS.to_owned(),
        ..Setup::into_url(format!("postgres://postgres@127.0.0.1:{}/nowhere", free_port()))
    }
}

/// A store that a backlog was delivered to.
pub(crate) struct Drained {
    pub(crate) store: Store,
    pub(crate) figures: Figures,
    _folder: TempDir,
}

/// Leaves the database as an earlier run of a bridge does: an outage comes to one that has its tables.
fn make_tables(bench: &Bench, broker: &FakeBroker, setup: &Setup, store: &Store) -> Result<()> {
    let folder = bench.folder()?;
    let mut earlier = Bridge::start(bench, folder.path(), broker.port(), setup)?;
    while store.rows().is_err() {
        earlier.check()?;
        if earlier.started().elapsed() > STALLED {
            return Err(format!("the bridge does not make its tables; its log:\n{}", earlier.log()).into());
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    earlier.stop()
}

/// Delivers a copy of the backlog, from the start of the process until every row is committed. `adjust` changes the
/// configuration.
pub(crate) fn drain(
    bench: &Bench,
    backlog: &Backlog,
    engine: Engine,
    adjust: impl FnOnce(&mut Setup),
) -> Result<Drained> {
    let folder = bench.folder()?;
    backlog.copy_into(folder.path())?;
    let store = Store::create(engine, bench, folder.path());
    let mut setup = Setup { journal_keys: JOURNAL_KEYS.to_owned(), ..Setup::into_store(&store) };
    adjust(&mut setup);
    let broker = FakeBroker::start(Feed::silence())?;
    let tables = setup.writing.tables();
    if let [_] = &tables[..] {
        make_tables(bench, &broker, &setup, &store)?;
    } else {
        make_tables(bench, &broker, &Setup::into_store(&store), &store)?;
        store.make_more(&tables)?;
    }
    let mut reader = store.reader()?;
    bench.settle();

    let mut bridge = Bridge::start(bench, folder.path(), broker.port(), &setup)?;
    let meter = Meter::start(bridge.pid())?;
    let mut after_start = None;
    wait_until(backlog.messages, LOOK_AGAIN, || {
        bridge.check()?;
        let delivered = reader.delivered();
        if delivered > 0 && after_start.is_none() {
            after_start = Some((delivered, cpu_seconds(bridge.pid())?));
        }
        Ok(delivered)
    })?;
    let seconds = bridge.started().elapsed().as_secs_f64();

    let mut figures = Figures::default();
    figures.put("seconds", seconds);
    figures.put("messages_per_second", backlog.messages as f64 / seconds);
    meter.read(backlog.messages, &mut figures)?;
    if let Some((delivered, used)) = after_start.filter(|(delivered, _)| *delivered < backlog.messages) {
        let used = cpu_seconds(bridge.pid())? - used;
        figures.put("running_cpu_us_per_message", used * 1e6 / (backlog.messages - delivered) as f64);
    }
    bridge.stop()?;
    let rows = store.rows_in(&tables)?;
    if rows != backlog.messages {
        return Err(format!("{} messages became {rows} rows; the log:\n{}", backlog.messages, bridge.log()).into());
    }
    Ok(Drained { store, figures, _folder: folder })
}
