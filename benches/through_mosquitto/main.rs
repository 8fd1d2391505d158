//! Rowbridge into SQLite against `mosquitto_sub > file`, through a private Mosquitto at QoS 1 with 20 in flight.
//!
//! ```text
//! cargo bench --bench through_mosquitto -- --rounds 5 --json result.json
//! ```
//!
//! The rounds are interleaved, so that whatever else the machine does meets both; the table shows medians. Time runs from
//! the first publish to the last committed row (or written line). Method and figures: docs/benchmarks.md.

mod publisher;
mod subject;
mod usage;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;
use serde::Serialize;

use self::publisher::{Pace, Publisher};
use self::subject::{Broker, Kind, Subject};

/// How long everything published may take to arrive.
const ARRIVAL_WAIT: Duration = Duration::from_secs(60);
/// How long a subscriber may take until it is subscribed.
const SUBSCRIBED_WAIT: Duration = Duration::from_secs(10);
/// Measures Rowbridge and mosquitto_sub behind the same broker.
#[derive(Parser)]
struct Arguments {
    /// Rounds, each with every subscriber at every pace.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Messages of a saturated measurement.
    #[arg(long, default_value_t = 300_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    messages: u64,
    /// Messages per second of a steady measurement, which lasts ten seconds.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(100..))]
    rate: u64,
    /// Write every measurement and the medians to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// The bridge's binary.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_rowbridge"))]
    rowbridge: PathBuf,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// One subscriber under one load.
#[derive(Debug, Clone, Serialize)]
struct Measurement {
    subject: &'static str,
    load: String,
    round: u32,
    messages: u64,
    messages_per_second: f64,
    cpu_us_per_message: f64,
    cpu_us_per_message_by_thread: BTreeMap<String, f64>,
    broker_cpu_us_per_message: f64,
    peak_rss_mib: f64,
}

/// The middle of each figure, by itself, over the rounds.
#[derive(Debug, Serialize)]
struct Median {
    subject: &'static str,
    load: String,
    messages_per_second: f64,
    cpu_us_per_message: f64,
    cpu_us_per_message_by_thread: BTreeMap<String, f64>,
    broker_cpu_us_per_message: f64,
    peak_rss_mib: f64,
}

#[derive(Serialize)]
struct Results {
    machine: Machine,
    medians: Vec<Median>,
    measurements: Vec<Measurement>,
}

#[derive(Serialize)]
struct Machine {
    cpu: String,
    cores: usize,
    kernel: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let mut measurements = Vec::new();
    for round in 1..=arguments.rounds {
        for pace in [Pace::Saturated, Pace::Steady(arguments.rate)] {
            for kind in Kind::ALL {
                let measurement = measure(&arguments, kind, pace, round)?;
                eprintln!(
                    "round {round}: {:<14} {:<12} {:>8.0}/s  {:>6.2} µs  {:>6.1} MiB",
                    measurement.subject,
                    measurement.load,
                    measurement.messages_per_second,
                    measurement.cpu_us_per_message,
                    measurement.peak_rss_mib
                );
                measurements.push(measurement);
            }
        }
    }
    let results = Results { machine: machine(), medians: medians(&measurements), measurements };
    print_table(&results);
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&results)?)?;
    }
    Ok(())
}

fn measure(arguments: &Arguments, kind: Kind, pace: Pace, round: u32) -> Result<Measurement, Box<dyn Error>> {
    let broker = Broker::start()?;
    let subject = Subject::start(kind, &arguments.rowbridge, broker.port)?;
    let mut publisher = Publisher::connect(broker.port, broker.pid())?;
    wait_until_subscribed(&subject, &mut publisher)?;
    publisher.calibrate()?;

    let (load, messages) = match pace {
        Pace::Saturated => ("saturated".to_owned(), arguments.messages),
        Pace::Steady(rate) => (format!("{rate}/s"), rate * 10),
    };
    let taken_before = subject.taken();
    let cpu_before = usage::cpu_seconds(subject.pid())?;
    let threads_before = usage::cpu_seconds_by_thread(subject.pid())?;
    let broker_before = usage::cpu_seconds(broker.pid())?;
    let begun = Instant::now();
    publisher.publish(messages, pace)?;
    wait_until_taken(&subject, taken_before + messages)?;
    let seconds = begun.elapsed().as_secs_f64();

    let per_message = |seconds: f64| seconds * 1e6 / messages as f64;
    let threads = usage::cpu_seconds_by_thread(subject.pid())?;
    let before = |name: &str| threads_before.get(name).copied().unwrap_or_default();
    let by_thread = |(name, seconds): (String, f64)| {
        let used = per_message(seconds - before(&name));
        (name, used)
    };
    Ok(Measurement {
        subject: kind.name(),
        load,
        round,
        messages,
        messages_per_second: messages as f64 / seconds,
        cpu_us_per_message: per_message(usage::cpu_seconds(subject.pid())? - cpu_before),
        cpu_us_per_message_by_thread: threads.into_iter().map(by_thread).collect(),
        broker_cpu_us_per_message: per_message(usage::cpu_seconds(broker.pid())? - broker_before),
        peak_rss_mib: usage::peak_rss_mib(subject.pid())?,
    })
}

/// Publishes until the first message comes out at the other end.
fn wait_until_subscribed(subject: &Subject, publisher: &mut Publisher) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    while subject.taken() == 0 {
        if begun.elapsed() > SUBSCRIBED_WAIT {
            return Err(format!("nothing arrives; the log:\n{}", subject.log()).into());
        }
        publisher.probe()?;
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Nothing may be missing at the end: a measurement that lost messages is none.
fn wait_until_taken(subject: &Subject, expected: u64) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    loop {
        let taken = subject.taken();
        if taken == expected {
            return Ok(());
        }
        if taken > expected || begun.elapsed() > ARRIVAL_WAIT {
            return Err(format!("{taken} of {expected} messages arrived; the log:\n{}", subject.log()).into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn medians(measurements: &[Measurement]) -> Vec<Median> {
    let mut groups: Vec<Vec<&Measurement>> = Vec::new();
    for measurement in measurements {
        let alike = |group: &&mut Vec<&Measurement>| {
            group[0].subject == measurement.subject && group[0].load == measurement.load
        };
        match groups.iter_mut().find(alike) {
            Some(group) => group.push(measurement),
            None => groups.push(vec![measurement]),
        }
    }
    let of_group = |group: &Vec<&Measurement>| {
        let middle = |figure: &dyn Fn(&Measurement) -> f64| median(group.iter().map(|one| figure(one)).collect());
        let of_thread = |name: &String| {
            let figure = |one: &Measurement| one.cpu_us_per_message_by_thread.get(name).copied().unwrap_or_default();
            (name.clone(), middle(&figure))
        };
        Median {
            subject: group[0].subject,
            load: group[0].load.clone(),
            messages_per_second: middle(&|one| one.messages_per_second),
            cpu_us_per_message: middle(&|one| one.cpu_us_per_message),
            cpu_us_per_message_by_thread: group[0].cpu_us_per_message_by_thread.keys().map(of_thread).collect(),
            broker_cpu_us_per_message: middle(&|one| one.broker_cpu_us_per_message),
            peak_rss_mib: middle(&|one| one.peak_rss_mib),
        }
    };
    groups.iter().map(of_group).collect()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 { figures[middle] } else { (figures[middle - 1] + figures[middle]) / 2.0 }
}

fn print_table(results: &Results) {
    let Machine { cpu, cores, kernel } = &results.machine;
    println!("\n{cpu}, {cores} cores, Linux {kernel}\n");
    println!("| subscriber | load | messages/s | own CPU µs/message | broker's CPU µs/message | peak RSS MiB |");
    println!("|---|---|--:|--:|--:|--:|");
    for median in &results.medians {
        println!(
            "| {} | {} | {:.0} | {:.1} | {:.1} | {:.1} |",
            median.subject,
            median.load,
            median.messages_per_second,
            median.cpu_us_per_message,
            median.broker_cpu_us_per_message,
            median.peak_rss_mib
        );
    }
    for median in &results.medians {
        if median.cpu_us_per_message_by_thread.len() > 1 {
            let threads = median.cpu_us_per_message_by_thread.iter();
            let shown: Vec<String> = threads.map(|(name, used)| format!("{name} {used:.1}")).collect();
            println!("\n{}, {}, CPU µs/message by thread: {}", median.subject, median.load, shown.join(", "));
        }
    }
}

fn machine() -> Machine {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let cpu = cpu.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split(": ").nth(1));
    Machine {
        cpu: cpu.unwrap_or("unknown CPU").to_owned(),
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
    }
}
