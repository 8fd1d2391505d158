//! What a message costs an SD card: bytes that the bridge writes for each, into SQLite, at rates that sensors have.
//!
//! By default, and with the recipe for flash: the same configuration, but that messages wait longer for others with which
//! they are synced and committed.

use std::time::{Duration, Instant};

use super::bench::{Bench, Result, wait_until};
use super::bridge::{Bridge, Setup};
use super::fake_broker::{FakeBroker, Feed};
use super::report::{Figures, Report};
use super::store::{Engine, Store};
use super::usage::{bytes_handed_over, bytes_to_disk, device_bytes};

const NAME: &str = "flash";
const BY_DEFAULT: &str = "rowbridge into SQLite";
const BY_RECIPE: &str = "with the recipe for flash";
/// Keys of the journal and of the database.
const RECIPE: (&str, &str) = ("sync_interval: 250ms", "batch: { max_wait: 5s }");
/// Messages a second, and for how many seconds: long enough for several checkpoints of SQLite's log from 10 a second on.
const RATES: [(u64, u64); 4] = [(1, 120), (10, 90), (100, 40), (1_000, 20)];
const SECONDS_QUICK: u64 = 4;
/// What every broker gives: Mosquitto's default.
const WINDOW: u64 = 20;
const LOOK_AGAIN: Duration = Duration::from_millis(5);

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    for round in 1..=bench.rounds {
        for (rate, seconds) in RATES {
            let messages = rate * bench.sized(seconds, SECONDS_QUICK);
            let feed = Feed { window: WINDOW, rate: Some(rate), ..Feed::of(messages) };
            for subject in [BY_DEFAULT, BY_RECIPE] {
                let adjust = |setup: &mut Setup| {
                    if subject == BY_RECIPE {
                        (setup.journal_keys, setup.database_keys) = (RECIPE.0.to_owned(), RECIPE.1.to_owned());
                    }
                };
                let mut figures = written(bench, Engine::Sqlite, feed, adjust)?;
                let per_message = figures.get("process_bytes_per_message").unwrap_or_default();
                figures.put("process_gb_per_day", per_message * rate as f64 * 86_400.0 / 1e9);
                report.add(NAME, subject, &format!("{rate}/s"), round, figures);
            }
        }
    }
    Ok(())
}

/// Bytes written for each message of `feed`, from the first one until the last one's row is committed.
pub(crate) fn written(bench: &Bench, engine: Engine, feed: Feed, adjust: impl FnOnce(&mut Setup)) -> Result<Figures> {
    let folder = bench.folder()?;
    let broker = FakeBroker::start(feed)?;
    let store = Store::create(engine, bench, folder.path());
    let mut setup = Setup::into_store(&store);
    adjust(&mut setup);
    let mut reader = store.reader()?;
    let mut bridge = Bridge::start(bench, folder.path(), broker.port(), &setup)?;
    bridge.wait_ready()?;
    bench.settle();
    let (handed_over, process) = (bytes_handed_over(bridge.pid())?, bytes_to_disk(bridge.pid())?);
    let device = device_bytes(folder.path());
    let begun = Instant::now();
    broker.begin();
    wait_until(feed.messages, LOOK_AGAIN, || {
        bridge.check()?;
        Ok(reader.delivered())
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    let per_message = |bytes: u64| bytes as f64 / feed.messages as f64;
    let mut figures = Figures::default();
    figures.put("messages_per_second", feed.messages as f64 / seconds);
    figures.put("handed_over_bytes_per_message", per_message(bytes_handed_over(bridge.pid())? - handed_over));
    figures.put("process_bytes_per_message", per_message(bytes_to_disk(bridge.pid())? - process));
    // What the kernel would write later is part of the price.
    rustix::fs::sync();
    if let (Some(before), Some(after)) = (device, device_bytes(folder.path())) {
        figures.put("device_bytes_per_message", per_message(after - before));
    }
    Ok(figures)
}
