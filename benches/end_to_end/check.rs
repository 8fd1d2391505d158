//! Whether it has become slower: ratios against a committed baseline.
//!
//! Absolute figures belong to a machine and an hour. A ratio of two measurements of the same round carries over, as far as
//! both lean on the same parts of the machine; the tolerances say how far that is trusted.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::bench::{Bench, Result};
use super::report::Report;
use super::store::Engine;
use super::subscriber::Kind;
use super::{catch_up, peers, scaling};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Better {
    Higher,
    Lower,
}

/// One ratio as it was when the baseline was written.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Expected {
    value: f64,
    better: Better,
    /// The part of `value` by which it may be worse.
    tolerance: f64,
}

type Baseline = BTreeMap<String, Expected>;

/// Measures the ratios: what they need of each scenario, and no more.
pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    peers::run(bench, report)?;
    catch_up::run(bench, report)?;
    scaling::run(bench, report)
}

/// Writes the ratios of a run as the baseline.
pub(crate) fn write(bench: &Bench, report: &Report, path: &Path) -> Result<()> {
    let mut text = serde_json::to_string_pretty(&ratios(bench, report)?)?;
    text.push('\n');
    Ok(std::fs::write(path, text)?)
}

/// Prints every ratio beside the baseline's; false if one got worse than its tolerance allows.
pub(crate) fn compare(bench: &Bench, report: &Report, path: &Path) -> Result<bool> {
    let baseline: Baseline = serde_json::from_slice(&std::fs::read(path)?)?;
    let measured = ratios(bench, report)?;
    let mut is_good = true;
    println!("\n| ratio | better | baseline | tolerance | measured | |\n|---|---|--:|--:|--:|---|");
    for (name, expected) in &baseline {
        let Expected { value, better, tolerance } = expected;
        let now = measured.get(name).ok_or_else(|| format!("the baseline's ratio {name:?} is not measured"))?.value;
        let is_worse = match better {
            Better::Higher => now < value * (1.0 - tolerance),
            Better::Lower => now > value * (1.0 + tolerance),
        };
        is_good &= !is_worse;
        let verdict = if is_worse { "WORSE" } else { "good" };
        let better = if *better == Better::Higher { "higher" } else { "lower" };
        println!("| {name} | {better} | {value:.2} | {:.0} % | {now:.2} | {verdict} |", tolerance * 100.0);
    }
    Ok(is_good)
}

/// With the tolerances that a baseline gets. They were weighed against the spread of repeated runs of one version.
fn ratios(bench: &Bench, report: &Report) -> Result<Baseline> {
    let sqlite = Kind::Rowbridge(Engine::Sqlite).name();
    let postgres = Kind::Rowbridge(Engine::Postgres).name();
    let ruler = Kind::MosquittoSub.name();
    let backlog = catch_up::load(catch_up::messages(bench));
    let (one, many) = (scaling::rules_load(1), scaling::rules_load(10_000));
    let (near, far) = (scaling::round_trip_load(0), scaling::round_trip_load(25));
    let (rate, cpu) = ("messages_per_second", "cpu_us_per_message");
    let (higher, lower) = (Better::Higher, Better::Lower);
    let through = (peers::NAME, peers::SATURATED, peers::SATURATED);
    let caught_up = (catch_up::NAME, backlog.as_str(), backlog.as_str());
    let by_rules = (scaling::RULES, many.as_str(), one.as_str());
    let by_way = (scaling::ROUND_TRIP, far.as_str(), near.as_str());
    let all = [
        ("messages/s against mosquitto_sub", through, sqlite, ruler, rate, higher, 0.25),
        ("CPU per message against mosquitto_sub", through, sqlite, ruler, cpu, lower, 0.25),
        ("catch-up against psql \\copy", caught_up, postgres, catch_up::PSQL, rate, higher, 0.2),
        ("catch-up against sqlite3 .import", caught_up, sqlite, catch_up::IMPORT, rate, higher, 0.2),
        ("CPU per message, 10,000 rules against 1", by_rules, sqlite, sqlite, "running_cpu_us_per_message", lower, 0.2),
        ("catch-up, 25 ms to the database against 0", by_way, postgres, postgres, rate, higher, 0.2),
    ];
    let mut ratios = Baseline::new();
    for (name, (scenario, over, under), subject, against, figure, better, tolerance) in all {
        let value = report
            .ratio(scenario, (subject, over), (against, under), figure)
            .ok_or_else(|| format!("{name} was not measured"))?;
        let value = (value * 1_000.0).round() / 1_000.0;
        ratios.insert(name.to_owned(), Expected { value, better, tolerance });
    }
    Ok(ratios)
}
