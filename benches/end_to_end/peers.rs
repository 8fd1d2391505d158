//! Through a real broker: the bridge against `mosquitto_sub > file` and what else people use, at QoS 1 with 20 in flight.

use std::time::{Duration, Instant};

use super::bench::{Bench, Result, wait_until};
use super::mosquitto::Mosquitto;
use super::publisher::Pace;
use super::report::{Figures, Report};
use super::store::Engine;
use super::subscriber::{Kind, Subscriber};
use super::usage::{Meter, cpu_seconds};

pub(crate) const NAME: &str = "peers";
pub(crate) const SATURATED: &str = "saturated";
const STEADY_PER_SECOND: u64 = 10_000;
const LOOK_AGAIN: Duration = Duration::from_millis(3);

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let kinds = kinds(bench);
    let steady = Pace::Steady(STEADY_PER_SECOND);
    let paces = if bench.checking { vec![Pace::Saturated] } else { vec![Pace::Saturated, steady] };
    for round in 1..=bench.rounds {
        for &pace in &paces {
            for &kind in &kinds {
                let (load, messages) = match pace {
                    Pace::Saturated => (SATURATED.to_owned(), bench.sized(300_000, 50_000)),
                    Pace::Steady(rate) => (format!("{rate}/s"), rate * bench.sized(10, 3)),
                };
                let figures = measure(bench, kind, pace, messages)?;
                report.add(NAME, kind.name(), &load, round, figures);
            }
        }
    }
    Ok(())
}

/// Those that this machine has.
fn kinds(bench: &Bench) -> Vec<Kind> {
    let mut kinds = vec![Kind::Rowbridge(Engine::Sqlite), Kind::MosquittoSub];
    if bench.checking {
        return kinds;
    }
    kinds.push(Kind::Rowbridge(Engine::Postgres));
    match &bench.python {
        Some(_) => kinds.push(Kind::PythonScript),
        None => eprintln!("left out: the Python script (--python PROGRAM, one with paho-mqtt and psycopg)"),
    }
    match &bench.telegraf {
        Some(_) => kinds.push(Kind::Telegraf),
        None => eprintln!("left out: Telegraf (--telegraf PROGRAM)"),
    }
    kinds
}

/// From the first publish until the last message is a committed row, or a line.
fn measure(bench: &Bench, kind: Kind, pace: Pace, messages: u64) -> Result<Figures> {
    let broker = Mosquitto::start(bench)?;
    let mut subscriber = Subscriber::start(kind, bench, broker.port)?;
    let mut publisher = subscriber.connect(&broker)?;

    let meter = Meter::start(subscriber.pid())?;
    let broker_before = cpu_seconds(broker.pid())?;
    let begun = Instant::now();
    publisher.publish(begun, messages, pace)?;
    let arrived = wait_until(messages, LOOK_AGAIN, || Ok(subscriber.taken()));
    let seconds = begun.elapsed().as_secs_f64();
    arrived.map_err(|error| format!("{error}; the log of {}:\n{}", kind.name(), subscriber.log()))?;

    let mut figures = Figures::default();
    figures.put("messages_per_second", messages as f64 / seconds);
    meter.read(messages, &mut figures)?;
    let broker_used = cpu_seconds(broker.pid())? - broker_before;
    figures.put("broker_cpu_us_per_message", broker_used * 1e6 / messages as f64);
    let count = subscriber.count()?;
    if count != messages {
        return Err(format!("{}: {messages} messages became {count}", kind.name()).into());
    }
    Ok(figures)
}
