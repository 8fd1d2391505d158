//! What goes back to the broker: rows that are published, against a pipe of two programs, and what queries over MQTT cost the
//! stream of messages.

use super::bench::{Bench, Result};
use super::hostile::{self, Beside};
use super::publishing::{self, Load, Way};
use super::report::Report;
use super::store::Engine;

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    for round in 1..=bench.rounds {
        for engine in Engine::BOTH {
            for (way, load) in publishing::MEASURED {
                publishing::measure(bench, engine, way, load, round, report)?;
            }
        }
        for engine in Engine::BOTH {
            for beside in Beside::ALL {
                let figures = hostile::measure(bench, engine, beside)?;
                report.add(hostile::NAME, &hostile::subject(engine), beside.name(), round, figures);
            }
        }
    }
    Ok(())
}

/// What the bridge takes of what the pipe takes, and the 99th percentile beside queries of that without: medians of the
/// rounds' ratios.
pub(crate) fn print_ratios(report: &Report) {
    let mut rows = Vec::new();
    for engine in Engine::BOTH {
        let [ours, pipe] = [Way::Bridge, Way::Pipe].map(|way| way.subject(engine));
        let load = Load::Rows.name();
        let cell = |figure| report.ratio(publishing::NAME, (&ours, load), (&pipe, load), figure);
        if let [Some(rate), Some(own)] = ["messages_per_second", "cpu_us_per_message"].map(cell) {
            let all = cell("total_cpu_us_per_message").map_or(String::new(), |all| format!("{all:.2}"));
            rows.push(format!("| {ours} against {pipe} | {rate:.2} | {own:.2} | {all} |"));
        }
    }
    if !rows.is_empty() {
        println!("\n| | rows/s | own CPU | own + database's |\n|---|--:|--:|--:|");
        rows.iter().for_each(|row| println!("{row}"));
    }
    let mut rows = Vec::new();
    for engine in Engine::BOTH {
        let subject = hostile::subject(engine);
        for beside in Beside::ALL {
            let alone = (subject.as_str(), Beside::Nothing.name());
            let ratio = report.ratio(hostile::NAME, (&subject, beside.name()), alone, "p99_ms");
            if let (Some(ratio), false) = (ratio, beside == Beside::Nothing) {
                rows.push(format!("| {subject} | {} | {ratio:.2} |", beside.name()));
            }
        }
    }
    if !rows.is_empty() {
        println!("\n| | beside | p99 against p99 without |\n|---|---|--:|");
        rows.iter().for_each(|row| println!("{row}"));
    }
}
