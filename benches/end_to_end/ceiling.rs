//! How fast it is when no broker is in the way: the fake broker sends as fast as acknowledgements allow.

use std::time::{Duration, Instant};

use super::bench::{Bench, Result, wait_until};
use super::bridge::{Bridge, Setup};
use super::fake_broker::{FakeBroker, Feed, take_all};
use super::report::{Figures, Report};
use super::store::{Engine, Store};
use super::usage::Meter;

const NAME: &str = "ceiling";
const LOOK_AGAIN: Duration = Duration::from_millis(2);

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let usual = Feed::of(bench.sized(1_000_000, 100_000));
    let narrow = Feed { window: 20, messages: bench.sized(300_000, 30_000), ..usual };
    let cases = [
        ("QoS 0", Feed { qos: 0, ..usual }),
        ("QoS 1, window 1,000", usual),
        ("QoS 1, window 20", narrow),
        ("QoS 2, window 1,000", Feed { qos: 2, ..usual }),
        ("QoS 2, window 20", Feed { qos: 2, ..narrow }),
    ];
    for round in 1..=bench.rounds {
        for (load, feed) in cases {
            if feed.qos < 2 {
                report.add(NAME, "the fake broker alone", load, round, alone(feed)?);
            }
            for engine in Engine::BOTH {
                let figures = measure(bench, engine, feed)?;
                report.add(NAME, engine.name(), load, round, figures);
            }
        }
    }
    Ok(())
}

/// From the first message sent until the row of the last is committed.
pub(crate) fn measure(bench: &Bench, engine: Engine, feed: Feed) -> Result<Figures> {
    let folder = bench.folder()?;
    let broker = FakeBroker::start(feed)?;
    let store = Store::create(engine, bench, folder.path());
    let setup = Setup { qos: feed.qos, ..Setup::into_store(&store) };
    let mut reader = store.reader()?;
    bench.settle();
    let mut bridge = Bridge::start(bench, folder.path(), broker.port(), &setup)?;
    bridge.wait_ready()?;

    let meter = Meter::start(bridge.pid())?;
    let begun = Instant::now();
    broker.begin();
    wait_until(feed.messages, LOOK_AGAIN, || {
        bridge.check()?;
        Ok(reader.delivered())
    })
    .map_err(|error| format!("{error}; the bridge's log:\n{}", bridge.log()))?;
    let seconds = begun.elapsed().as_secs_f64();

    let mut figures = Figures::default();
    figures.put("messages_per_second", feed.messages as f64 / seconds);
    figures.put("mib_per_second", (feed.messages * feed.payload_len as u64) as f64 / seconds / 1_048_576.0);
    meter.read(feed.messages, &mut figures)?;
    bridge.stop()?;
    let rows = store.rows()?;
    if rows != feed.messages {
        return Err(format!("{} messages became {rows} rows", feed.messages).into());
    }
    Ok(figures)
}

fn alone(feed: Feed) -> Result<Figures> {
    let broker = FakeBroker::start(feed)?;
    let port = broker.port();
    broker.begin();
    let begun = Instant::now();
    take_all(port, feed)?;
    let mut figures = Figures::default();
    figures.put("messages_per_second", feed.messages as f64 / begun.elapsed().as_secs_f64());
    Ok(figures)
}
