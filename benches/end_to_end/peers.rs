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
/// Steady rates, and for how many seconds: CPU is counted in ticks of 10 ms, so few messages take longer.
const STEADY: [(u64, u64); 3] = [(10_000, 10), (1_000, 15), (100, 30)];
const STEADY_SECONDS_QUICK: u64 = 3;
const LOOK_AGAIN: Duration = Duration::from_millis(3);

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let kinds = kinds(bench);
    let loads = loads(bench);
    for round in 1..=bench.rounds {
        for (load, pace, messages) in &loads {
            for &kind in &kinds {
                let figures = measure(bench, kind, *pace, *messages)?;
                report.add(NAME, kind.name(), load, round, figures);
            }
        }
    }
    Ok(())
}

/// Name, pace and number of messages of each load.
fn loads(bench: &Bench) -> Vec<(String, Pace, u64)> {
    let mut loads = vec![(SATURATED.to_owned(), Pace::Saturated, bench.sized(300_000, 50_000))];
    if !bench.checking {
        let steady = |(rate, seconds)| {
            (steady_load(rate), Pace::Steady(rate), rate * bench.sized(seconds, STEADY_SECONDS_QUICK))
        };
        loads.extend(STEADY.map(steady));
    }
    loads
}

fn steady_load(rate: u64) -> String {
    format!("{rate}/s")
}

/// What the bridge into Postgres takes of what each other program into Postgres takes: medians of the rounds' ratios.
pub(crate) fn print_ratios(report: &Report) {
    for ours in [Kind::Rowbridge(Engine::Postgres), Kind::Delivered].map(Kind::name) {
        let mut rows = Vec::new();
        for load in std::iter::once(SATURATED.to_owned()).chain(STEADY.map(|(rate, _)| steady_load(rate))) {
            for peer in [Kind::PythonScript, Kind::Telegraf, Kind::MqBridge] {
                let cell = |figure| report.ratio(NAME, (ours, &load), (peer.name(), &load), figure);
                let ratios = ["messages_per_second", "cpu_us_per_message", "total_cpu_us_per_message"].map(cell);
                if let [Some(rate), Some(own), Some(total)] = ratios {
                    rows.push(format!("| {} | {load} | {rate:.2} | {own:.2} | {total:.2} |", peer.name()));
                }
            }
        }
        if !rows.is_empty() {
            println!("\n| {ours} against | load | messages/s | own CPU | own + database's |\n|---|---|--:|--:|--:|");
            rows.iter().for_each(|row| println!("{row}"));
        }
    }
}

/// Those that this machine has.
fn kinds(bench: &Bench) -> Vec<Kind> {
    let mut kinds = vec![Kind::Rowbridge(Engine::Sqlite), Kind::MosquittoSub];
    if bench.checking {
        return kinds;
    }
    kinds.extend([Kind::Rowbridge(Engine::Postgres), Kind::Delivered]);
    match &bench.python {
        Some(_) => kinds.push(Kind::PythonScript),
        None => eprintln!("left out: the Python script (--python PROGRAM, one with paho-mqtt and psycopg)"),
    }
    match &bench.telegraf {
        Some(_) => kinds.push(Kind::Telegraf),
        None => eprintln!("left out: Telegraf (--telegraf PROGRAM)"),
    }
    match &bench.mq_bridge {
        Some(_) => kinds.push(Kind::MqBridge),
        None => eprintln!("left out: mq-bridge (--mq-bridge PROGRAM, a Python with mq-bridge)"),
    }
    kinds
}

/// From the first publish until the last message is a committed row, or a line.
fn measure(bench: &Bench, kind: Kind, pace: Pace, messages: u64) -> Result<Figures> {
    let broker = Mosquitto::start(bench)?;
    let mut subscriber = Subscriber::start(kind, bench, broker.port)?;
    let mut publisher = subscriber.connect(&broker)?;

    let meter = Meter::start(subscriber.pid())?;
    let server = subscriber.server_meter()?;
    let broker_before = cpu_seconds(broker.pid())?;
    let begun = Instant::now();
    publisher.publish(begun, messages, pace)?;
    let arrived = wait_until(messages, LOOK_AGAIN, || Ok(subscriber.taken()));
    let seconds = begun.elapsed().as_secs_f64();
    arrived.map_err(|error| format!("{error}; the log of {}:\n{}", kind.name(), subscriber.log()))?;

    let mut figures = Figures::default();
    figures.put("messages_per_second", messages as f64 / seconds);
    meter.read(messages, &mut figures)?;
    if let Some(server) = server {
        server.read(messages, &mut figures)?;
    }
    let broker_used = cpu_seconds(broker.pid())? - broker_before;
    figures.put("broker_cpu_us_per_message", broker_used * 1e6 / messages as f64);
    let count = subscriber.count()?;
    if count != messages {
        return Err(format!("{}: {messages} messages became {count}", kind.name()).into());
    }
    Ok(figures)
}
