//! How long a message takes from its publisher to a committed row that another program can read.
//!
//! A reader in this process asks again and again how far the bridge has delivered, which the bridge commits in the same
//! transaction as the rows; a message has arrived when the answer that covers it is here. So a figure holds the time until
//! the next question and the question itself, which `resolution` shows: the 99th percentile of the time between two
//! answers. A message's time begins when it was due, not when the publisher came to it: a stalled publisher would hide
//! what made it stall.

use std::time::{Duration, Instant};

use super::bench::{Bench, Result, STALLED};
use super::mosquitto::Mosquitto;
use super::publisher::{Pace, Publisher};
use super::report::{Figures, Report};
use super::store::{Engine, Store};
use super::subscriber::{Kind, Subscriber};

const NAME: &str = "latency";
/// Between two questions to SQLite, which costs this process microseconds.
const ASK_SQLITE: Duration = Duration::from_micros(200);
/// Between two questions to Postgres, which cost a core a tenth of its time.
const ASK_POSTGRES: Duration = Duration::from_micros(500);

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    for round in 1..=bench.rounds {
        for (rate, seconds) in [(10, 60), (1_000, 30), (10_000, 15)] {
            for engine in Engine::BOTH {
                let messages = rate * bench.sized(seconds, 4);
                let figures = measure(bench, engine, Pace::Steady(rate), messages)?;
                let subject = format!("rowbridge into {}", engine.name());
                report.add(NAME, &subject, &format!("{rate}/s"), round, figures);
            }
        }
    }
    Ok(())
}

fn measure(bench: &Bench, engine: Engine, pace: Pace, messages: u64) -> Result<Figures> {
    let broker = Mosquitto::start(bench)?;
    let mut subscriber = Subscriber::start(Kind::Rowbridge(engine), bench, broker.port)?;
    let publisher = subscriber.connect(&broker)?;
    follow(&subscriber, publisher, engine, pace, messages)
}

/// Publishes, and takes the time of each message until its row is committed.
pub(crate) fn follow(
    subscriber: &Subscriber,
    mut publisher: Publisher,
    engine: Engine,
    pace: Pace,
    messages: u64,
) -> Result<Figures> {
    let store: &Store = subscriber.store().ok_or("the bridge has a store")?;
    let mut reader = store.reader()?;
    let before = reader.delivered();
    let interval = if engine == Engine::Sqlite { ASK_SQLITE } else { ASK_POSTGRES };

    let begun = Instant::now();
    let publishing = std::thread::spawn(move || publisher.publish(begun, messages, pace));
    let (mut latencies, mut gaps) = (Vec::with_capacity(messages as usize), Vec::new());
    let mut last_answer = Instant::now();
    let mut last_arrival = last_answer;
    while (latencies.len() as u64) < messages {
        std::thread::sleep(interval);
        let arrived = reader.delivered() - before;
        let now = Instant::now();
        gaps.push(now - last_answer);
        last_answer = now;
        if arrived > latencies.len() as u64 {
            last_arrival = now;
        } else if last_arrival.elapsed() > STALLED {
            return Err(format!("{arrived} of {messages} messages arrived; the log:\n{}", subscriber.log()).into());
        }
        for number in latencies.len() as u64..arrived {
            latencies.push(now.saturating_duration_since(pace.due(begun, number)));
        }
    }
    publishing.join().map_err(|_| "the publisher has panicked")??;

    latencies.sort();
    gaps.sort();
    let mut figures = Figures::default();
    figures.put("p50_ms", percentile_ms(&latencies, 0.5));
    figures.put("p99_ms", percentile_ms(&latencies, 0.99));
    figures.put("p999_ms", percentile_ms(&latencies, 0.999));
    figures.put("max_ms", percentile_ms(&latencies, 1.0));
    figures.put("resolution_ms", percentile_ms(&gaps, 0.99));
    Ok(figures)
}

/// Of sorted times: the least one that so large a part of them does not exceed.
fn percentile_ms(sorted: &[Duration], part: f64) -> f64 {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1].as_secs_f64() * 1e3
}
