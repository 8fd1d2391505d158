//! Rowbridge from end to end: the release binary with real brokers and databases, and against other programs.
//!
//! ```text
//! scripts/benchmark [SCENARIO…] [--rounds N] [--quick] [--json FILE]
//! scripts/benchmark --check [BASELINE]
//! ```
//!
//! Rounds are interleaved, so that whatever else the machine does meets everything that is compared; tables show medians.
//! A measurement in which a message is missing, or there twice, is an error and gives no figure. Method and figures:
//! docs/benchmarks.md.

mod backlog;
mod bench;
mod both_ways;
mod bridge;
mod catch_up;
mod ceiling;
mod check;
mod delay;
mod fake_broker;
mod flash;
mod frames;
mod hostile;
mod latency;
mod load;
mod machine;
mod mosquitto;
mod peers;
mod publisher;
mod publishing;
mod report;
mod scaling;
mod size;
mod store;
mod subscriber;
mod usage;

/// Servers and child processes, as the integration tests start them.
#[path = "../../tests/support/mod.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "the tests need more of it, and a panic ends a measurement as well")]
mod support;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use self::bench::{Bench, Result};
use self::machine::Machine;
use self::report::Report;

/// Measures Rowbridge from end to end.
#[derive(Parser)]
struct Arguments {
    /// What to measure; everything if nothing is named.
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,
    /// How often each measurement is repeated.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Small sizes: shows that everything works, and no figure worth keeping.
    #[arg(long)]
    quick: bool,
    /// Write every measurement and the medians to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure the ratios and compare them with this baseline; fails if one got worse.
    #[arg(long, value_name = "BASELINE", num_args = 0..=1, default_missing_value = "benches/baseline.json")]
    check: Option<PathBuf>,
    /// Measure the ratios and write them as a baseline.
    #[arg(long, value_name = "BASELINE", conflicts_with = "check")]
    write_baseline: Option<PathBuf>,
    /// The bridge's binary.
    #[arg(long, value_name = "PROGRAM", default_value = env!("CARGO_BIN_EXE_rowbridge"))]
    rowbridge: PathBuf,
    /// A Python with paho-mqtt and psycopg.
    #[arg(long, value_name = "PROGRAM")]
    python: Option<PathBuf>,
    #[arg(long, value_name = "PROGRAM")]
    telegraf: Option<PathBuf>,
    /// A Python with mq-bridge.
    #[arg(long, value_name = "PROGRAM")]
    mq_bridge: Option<PathBuf>,
    /// Where journal and databases lie: on the disk that is to be measured.
    #[arg(long, value_name = "FOLDER", default_value = env!("CARGO_TARGET_TMPDIR"))]
    scratch: PathBuf,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Through Mosquitto, against mosquitto_sub, a Python script, Telegraf and mq-bridge.
    Peers,
    /// From a broker that only sends.
    Ceiling,
    /// A long journal, against psql \copy and sqlite3 .import.
    CatchUp,
    /// From publish to committed row.
    Latency,
    /// Memory, start, binary, bytes written.
    Size,
    /// Bytes written into SQLite for each message, by default and with the recipe that spares flash.
    Flash,
    /// Against rules, payload, batch and the way to the database.
    Scaling,
    /// Rows to MQTT, against psql and sqlite3 piped into mosquitto_pub; messages beside hostile queries.
    BothWays,
}

impl Scenario {
    fn run(self, bench: &Bench, report: &mut Report) -> Result<()> {
        match self {
            Scenario::Peers => peers::run(bench, report),
            Scenario::Ceiling => ceiling::run(bench, report),
            Scenario::CatchUp => catch_up::run(bench, report),
            Scenario::Latency => latency::run(bench, report),
            Scenario::Size => size::run(bench, report),
            Scenario::Flash => flash::run(bench, report),
            Scenario::Scaling => scaling::run(bench, report),
            Scenario::BothWays => both_ways::run(bench, report),
        }
    }
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    // The servers' folders as well.
    if tempfile::env::override_temp_dir(&arguments.scratch).is_err() {
        return Err("the place of temporary files was settled before".into());
    }
    let mut bench = Bench::new(arguments.rowbridge, arguments.scratch, arguments.rounds);
    bench.quick = arguments.quick;
    bench.checking = arguments.check.is_some() || arguments.write_baseline.is_some();
    bench.python = arguments.python;
    bench.telegraf = arguments.telegraf;
    bench.mq_bridge = arguments.mq_bridge;

    let mut report = Report::new(Machine::describe(&bench.scratch));
    let measured = if bench.checking {
        check::measure(&bench, &mut report)
    } else {
        let all = Scenario::value_variants();
        let chosen = if arguments.scenarios.is_empty() { all } else { &arguments.scenarios };
        chosen.iter().try_for_each(|scenario| scenario.run(&bench, &mut report))
    };
    // What was measured before a failure took its time, too.
    report.print();
    peers::print_ratios(&report);
    both_ways::print_ratios(&report);
    if let Some(path) = &arguments.json {
        std::fs::write(path, report.json()?)?;
    }
    measured?;
    if let Some(path) = &arguments.write_baseline {
        check::write(&bench, &report, path)?;
    }
    let is_good = match &arguments.check {
        Some(path) => check::compare(&bench, &report, path)?,
        None => true,
    };
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
