//! What the cost of a message depends on: rules, payload, batch, the way to the database.

use std::time::Duration;

use super::backlog::{Backlog, drain};
use super::bench::{Bench, Result};
use super::bridge::{Setup, Writing};
use super::delay::delayed;
use super::fake_broker::Feed;
use super::load::{self, PAYLOAD_LEN, PAYLOAD_LEN_MIN};
use super::report::Report;
use super::store::Engine;
use super::{catch_up, ceiling};

pub(crate) const RULES: &str = "scaling: rules";
pub(crate) const ROUND_TRIP: &str = "scaling: round trip to Postgres";
const PAYLOAD: &str = "scaling: payload";
const WRITING: &str = "scaling: how rows are written";
const BATCH: &str = "scaling: batch.max_rows";

/// As many topics as rules at most, whatever the number of rules is.
const RULES_TOPICS: u64 = 10_000;
/// Payload that one measurement moves at most.
const PAYLOAD_BYTES: u64 = 256 * 1024 * 1024;

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    if !bench.checking {
        payload(bench, report)?;
    }
    if !bench.checking {
        let backlog = Backlog::prepare(bench, Feed { topics: 1_000, ..Feed::of(bench.sized(1_000_000, 100_000)) })?;
        batch(bench, &backlog, report)?;
        writing(bench, &backlog, report)?;
    }
    round_trip(bench, report)?;
    rules(bench, report)
}

/// The same 10,000 topics, divided among more and more rules.
fn rules(bench: &Bench, report: &mut Report) -> Result<()> {
    let feed = Feed { topics: RULES_TOPICS, ..Feed::of(bench.sized(1_000_000, 100_000)) };
    let backlog = Backlog::prepare(bench, feed)?;
    let counts: &[u64] = if bench.checking { &[1, 10_000] } else { &[1, 10, 1_000, 10_000] };
    for round in 1..=bench.rounds {
        for &count in counts {
            let drained = drain(bench, &backlog, Engine::Sqlite, |setup| setup.patterns = load::patterns(count))?;
            report.add(RULES, "rowbridge into SQLite", &rules_load(count), round, drained.figures);
        }
    }
    Ok(())
}

pub(crate) fn rules_load(rules: u64) -> String {
    if rules == 1 { "1 rule".to_owned() } else { format!("{rules} rules") }
}

fn payload(bench: &Bench, report: &mut Report) -> Result<()> {
    for round in 1..=bench.rounds {
        for payload_len in [PAYLOAD_LEN_MIN, PAYLOAD_LEN, 1_024, 16 * 1_024, 256 * 1_024] {
            let bytes = if bench.quick { PAYLOAD_BYTES / 8 } else { PAYLOAD_BYTES };
            let messages = (bytes / payload_len as u64).min(bench.sized(500_000, 50_000));
            let feed = Feed { payload_len, ..Feed::of(messages) };
            let figures = ceiling::measure(bench, Engine::Sqlite, feed)?;
            report.add(PAYLOAD, "rowbridge into SQLite", &format!("{payload_len} bytes"), round, figures);
        }
    }
    Ok(())
}

fn batch(bench: &Bench, backlog: &Backlog, report: &mut Report) -> Result<()> {
    for round in 1..=bench.rounds {
        for engine in Engine::BOTH {
            for rows in [50, 500, 5_000, 50_000] {
                let adjust = |setup: &mut Setup| setup.database_keys = format!("batch: {{ max_rows: {rows} }}");
                let drained = drain(bench, backlog, engine, adjust)?;
                let subject = format!("rowbridge into {}", engine.name());
                report.add(BATCH, &subject, &format!("{rows} rows"), round, drained.figures);
            }
        }
    }
    Ok(())
}

fn writing(bench: &Bench, backlog: &Backlog, report: &mut Report) -> Result<()> {
    for round in 1..=bench.rounds {
        for engine in Engine::BOTH {
            for (load, writing) in [
                ("insert, one table", Writing::Insert),
                ("upsert, one table", Writing::Upsert),
                ("insert, 1,000 tables", Writing::Template),
            ] {
                let drained = drain(bench, backlog, engine, |setup| setup.writing = writing)?;
                report.add(WRITING, &format!("rowbridge into {}", engine.name()), load, round, drained.figures);
            }
        }
    }
    Ok(())
}

/// The backlog of the scenario `catch-up`. Every way leads through the proxy, the shortest too, so that only the delay
/// differs.
fn round_trip(bench: &Bench, report: &mut Report) -> Result<()> {
    let backlog = Backlog::prepare(bench, Feed::of(catch_up::messages(bench)))?;
    let delays: &[u64] = if bench.checking { &[0, 25] } else { &[0, 1, 25, 100] };
    let server = bench.postgres().port();
    for round in 1..=bench.rounds {
        for &delay_ms in delays {
            let proxy = delayed(server, Duration::from_millis(delay_ms))?;
            let through = |setup: &mut Setup| {
                setup.database_url = setup.database_url.replace(&format!(":{server}/"), &format!(":{proxy}/"));
            };
            let drained = drain(bench, &backlog, Engine::Postgres, through)?;
            report.add(ROUND_TRIP, "rowbridge into Postgres", &round_trip_load(delay_ms), round, drained.figures);
        }
    }
    Ok(())
}

pub(crate) fn round_trip_load(delay_ms: u64) -> String {
    format!("{delay_ms} ms")
}
