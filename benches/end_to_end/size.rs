//! What the bridge needs besides CPU: memory, time to start, space, and writes to the disk.

use std::time::Duration;

use super::backlog::{Backlog, drain, unreachable_database};
use super::bench::{Bench, Result, wait_until};
use super::bridge::{Bridge, Setup};
use super::fake_broker::{FakeBroker, Feed};
use super::flash::written;
use super::load::{self, PAYLOAD_LEN, TOPICS_MAX};
use super::report::{Figures, Report};
use super::store::{Engine, Store};
use super::usage::{peak_rss_mib, rss_mib};

const NAME: &str = "size";
const WEAR: &str = "size: written to the disk";
const SUBJECT: &str = "rowbridge into SQLite";
/// How long an idle bridge is left alone before it is looked at.
const IDLE: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// A record of the usual message in the journal, a little less than that; 1 GiB of them is the backlog.
const RECORD_BYTES: u64 = 275;

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let mut binary = Figures::default();
    binary.put("mib", std::fs::metadata(&bench.rowbridge)?.len() as f64 / 1_048_576.0);
    report.add(NAME, "binary", "stripped", 1, binary);

    let messages = bench.sized(1 << 30, 64 << 20) / RECORD_BYTES;
    let backlog = Backlog::prepare(bench, Feed::of(messages))?;
    for round in 1..=bench.rounds {
        let usual = Feed::of(bench.sized(1_000_000, 100_000));
        report.add(NAME, SUBJECT, "idle, one rule", round, idle(bench, 1)?);
        report.add(NAME, SUBJECT, "idle, 10,000 rules", round, idle(bench, 10_000)?);
        report.add(NAME, SUBJECT, "as fast as it can", round, loaded(bench, usual)?);
        let topics = Feed { topics: TOPICS_MAX, ..usual };
        report.add(NAME, SUBJECT, "100,000 topics", round, loaded(bench, topics)?);
        let size = format!("{:.0} MiB of backlog", backlog.journal_mib()?);
        report.add(NAME, "rowbridge, no database", &size, round, waiting(bench, &backlog)?);
        let drained = drain(bench, &backlog, Engine::Sqlite, |_| {})?;
        let mut figures = Figures::default();
        figures.put("peak_rss_mib", drained.figures.get("peak_rss_mib").unwrap_or_default());
        report.add(NAME, SUBJECT, &format!("{size} being delivered"), round, figures);
    }
    wear(bench, report)
}

/// Nothing to do. The start, too, is that of a first run.
fn idle(bench: &Bench, rules: u64) -> Result<Figures> {
    let folder = bench.folder()?;
    let broker = FakeBroker::start(Feed::silence())?;
    let store = Store::create(Engine::Sqlite, bench, folder.path());
    let setup = Setup { patterns: load::patterns(rules), ..Setup::into_store(&store) };
    bench.settle();
    let mut bridge = Bridge::start(bench, folder.path(), broker.port(), &setup)?;
    at_rest(&mut bridge)
}

/// A journal is there, its database is not.
fn waiting(bench: &Bench, backlog: &Backlog) -> Result<Figures> {
    let folder = bench.folder()?;
    backlog.copy_into(folder.path())?;
    let broker = FakeBroker::start(Feed::silence())?;
    bench.settle();
    let mut bridge = Bridge::start(bench, folder.path(), broker.port(), &unreachable_database())?;
    at_rest(&mut bridge)
}

fn at_rest(bridge: &mut Bridge) -> Result<Figures> {
    let mut figures = Figures::default();
    figures.put("start_ms", bridge.wait_ready()?.as_secs_f64() * 1e3);
    std::thread::sleep(IDLE);
    figures.put("rss_mib", rss_mib(bridge.pid())?);
    figures.put("peak_rss_mib", peak_rss_mib(bridge.pid())?);
    Ok(figures)
}

fn loaded(bench: &Bench, feed: Feed) -> Result<Figures> {
    let folder = bench.folder()?;
    let broker = FakeBroker::start(feed)?;
    let store = Store::create(Engine::Sqlite, bench, folder.path());
    let mut reader = store.reader()?;
    bench.settle();
    let mut bridge = Bridge::start(bench, folder.path(), broker.port(), &Setup::into_store(&store))?;
    bridge.wait_ready()?;
    broker.begin();
    wait_until(feed.messages, LOOK_AGAIN, || {
        bridge.check()?;
        Ok(reader.delivered())
    })?;
    let mut figures = Figures::default();
    figures.put("rss_mib", rss_mib(bridge.pid())?);
    figures.put("peak_rss_mib", peak_rss_mib(bridge.pid())?);
    Ok(figures)
}

/// Bytes written for each message at a steady rate. With Postgres, the bridge's own are the journal's alone.
fn wear(bench: &Bench, report: &mut Report) -> Result<()> {
    for round in 1..=bench.rounds {
        for (rate, seconds) in [(1, 60), (100, 30), (10_000, 20)] {
            let messages = rate * bench.sized(seconds, 5);
            for engine in Engine::BOTH {
                let feed = Feed { window: 20, rate: Some(rate), ..Feed::of(messages) };
                let subject = format!("rowbridge into {}", engine.name());
                let load = format!("{rate}/s of {PAYLOAD_LEN} bytes");
                report.add(WEAR, &subject, &load, round, written(bench, engine, feed, |_| {})?);
            }
        }
    }
    Ok(())
}
