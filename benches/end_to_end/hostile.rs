//! How long a message takes to its committed row while others send queries that mean harm.
//!
//! The stream is that of the scenario `latency`, at 1,000/s. Everything goes through one broker, which has but one thread: what
//! a flood costs there is shown by the same flood between two clients, with which the bridge has nothing to do.

use std::io;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::bench::{Bench, Result, wait_until};
use super::bridge::Setup;
use super::latency;
use super::mosquitto::Mosquitto;
use super::publisher::Pace;
use super::report::Figures;
use super::store::Engine;
use super::subscriber::Subscriber;
use super::support::mqtt::{Connection, Outgoing, Version};
use super::support::process::{Process, program};

pub(crate) const NAME: &str = "both ways: messages beside queries";
const RATE: u64 = 1_000;
const SECONDS: u64 = 15;
const SECONDS_QUICK: u64 = 6;
const QUERIES: &str = "queries:\n  - { convention: machbase, allow_sql: read_only, database: local }\n";
const REQUESTS: &str = "db/query";
const ANSWERS: &str = "db/reply";
/// Messages on it are none of the bridge's.
const ELSEWHERE: &str = "elsewhere";
/// Without an acknowledgement for so long, the broker has gone.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks whether every request is dealt with.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What goes on beside the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beside {
    Nothing,
    /// As many messages as of [`Beside::Flood`], between two other clients.
    Others,
    /// 10,000 requests at once, every five seconds.
    Flood,
    /// Statements that run until their time limit, always as many as may run and wait.
    Endless,
    /// Answers that are larger than they may be, in the same way.
    TooLarge,
}

/// Requests that come again and again.
struct Attack {
    topic: &'static str,
    payload: String,
    at_once: u16,
    every: Duration,
}

impl Beside {
    pub(crate) const ALL: [Beside; 5] =
        [Beside::Nothing, Beside::Others, Beside::Flood, Beside::Endless, Beside::TooLarge];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Beside::Nothing => "nothing",
            Beside::Others => "10,000 messages at once between others",
            Beside::Flood => "10,000 requests at once",
            Beside::Endless => "statements without end",
            Beside::TooLarge => "answers too large",
        }
    }

    fn attack(self, engine: Engine) -> Option<Attack> {
        let count = "select count(*) from telemetry";
        let (topic, sql, at_once, every) = match (self, engine) {
            (Beside::Nothing, _) => return None,
            (Beside::Others, _) => (ELSEWHERE, count, 10_000, Duration::from_secs(5)),
            (Beside::Flood, _) => (REQUESTS, count, 10_000, Duration::from_secs(5)),
            (Beside::Endless, Engine::Postgres) => (REQUESTS, "select pg_sleep(60)", 50, Duration::from_millis(500)),
            (Beside::Endless, Engine::Sqlite) => (
                REQUESTS,
                "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n",
                50,
                Duration::from_millis(500),
            ),
            (Beside::TooLarge, Engine::Postgres) => {
                (REQUESTS, "select repeat('x', 30000) from generate_series(1, 500)", 50, Duration::from_millis(100))
            }
            (Beside::TooLarge, Engine::Sqlite) => (
                REQUESTS,
                "with recursive n(i) as (select 1 union all select i + 1 from n) select hex(zeroblob(15000)) from n limit 500",
                50,
                Duration::from_millis(100),
            ),
        };
        Some(Attack { topic, payload: format!(r#"{{"q":"{sql}"}}"#), at_once, every })
    }
}

pub(crate) fn subject(engine: Engine) -> String {
    format!("rowbridge into {}", engine.name())
}

pub(crate) fn measure(bench: &Bench, engine: Engine, beside: Beside) -> Result<Figures> {
    let broker = Mosquitto::start(bench)?;
    let _reader = read_answers(broker.port)?;
    let queries = |setup: &mut Setup| setup.sections = QUERIES.to_owned();
    let mut subscriber = Subscriber::start_bridge(engine, bench, broker.port, queries)?;
    let publisher = subscriber.connect(&broker)?;
    let messages = RATE * bench.sized(SECONDS, SECONDS_QUICK);

    let is_over = AtomicBool::new(false);
    let (figures, sent) = std::thread::scope(|scope| -> Result<(Figures, u64)> {
        let attack = beside.attack(engine);
        let attack = attack.map(|attack| scope.spawn(|| attack.run(broker.port, &is_over)));
        let figures = latency::follow(&subscriber, publisher, engine, Pace::Steady(RATE), messages);
        is_over.store(true, Ordering::Relaxed);
        let sent = match attack {
            Some(attack) => attack.join().map_err(|_| "the attack has panicked")??,
            None => 0,
        };
        Ok((figures?, sent))
    })?;
    let rows = subscriber.count()?;
    if rows != messages {
        return Err(format!("{messages} messages became {rows} rows").into());
    }
    let requests = if beside == Beside::Others { 0 } else { sent };
    wait_until(requests, LOOK_AGAIN, || {
        let bridge = subscriber.bridge().ok_or("the subscriber is the bridge")?;
        let query = &bridge.status()?["queries"][0];
        let counts = ["answered", "refused"].map(|key| query[key].as_u64());
        let [Some(answered), Some(refused)] = counts else { return Err("the status shows no query".into()) };
        Ok(answered + refused)
    })
    .map_err(|error| format!("{error}; the log:\n{}", subscriber.log()))?;
    Ok(figures)
}

/// Somebody who gets the answers, and what goes on elsewhere.
fn read_answers(broker: u16) -> Result<Process> {
    let child = Command::new(program("mosquitto_sub"))
        .args(["-h", "127.0.0.1", "-p", &broker.to_string(), "-q", "1", "-t", ANSWERS, "-t", ELSEWHERE])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    Ok(Process::new(child))
}

impl Attack {
    /// Sends requests until it is told to stop; how many.
    fn run(self, broker: u16, is_over: &AtomicBool) -> io::Result<u64> {
        // MQTT 3.1.1: the broker sets no bound to what is unacknowledged.
        let mut connection = Connection::open(broker, Version::V3, "attacker", true)?;
        let request = Outgoing::new(self.topic, self.payload);
        let packets: Vec<u8> =
            (1..=self.at_once).flat_map(|id| connection.publish_packet(&request, id, false)).collect();
        let mut sent = 0;
        while !is_over.load(Ordering::Relaxed) {
            let begun = Instant::now();
            connection.send(&packets)?;
            for _ in 0..self.at_once {
                connection.receive(PATIENCE)?.ok_or_else(|| io::Error::other("the broker does not acknowledge"))?;
            }
            sent += u64::from(self.at_once);
            while begun.elapsed() < self.every && !is_over.load(Ordering::Relaxed) {
                std::thread::sleep(LOOK_AGAIN.min(self.every));
            }
        }
        Ok(sent)
    }
}
