//! One exchange over a faulty link: a bridge that lives through all the faults of its lane, and what it must hold then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cut::{Lengths, trap};
use super::vitals::Vitals;
use crate::support::bridge::Bridge;
use crate::support::fault::{Armed, Fault, Trap, Way};
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::mqtt::Outgoing;
use crate::support::oracle::{Tally, column, sqlite};
use crate::support::postgres::Postgres;
use crate::support::proxy::Proxy;
use crate::support::publisher::Publisher;
use crate::support::{PATIENCE, wait_for};
use crate::transports::{Authority, tls_broker};

/// What one round brings.
const MESSAGES: u64 = 3;
/// The topics that they are spread over.
const TOPICS: u64 = 2;
/// When a trap lies beyond what a round's exchange came to, further messages lengthen it.
const LENGTHEN_EVERY: Duration = Duration::from_millis(400);
/// Into CONNACK: the broker has a session, and the bridge does not know which, so it subscribes to everything again.
const WITHIN_CONNACK: u64 = 2;
/// CONNECT is at most so long here.
const CONNECT_BYTES: u64 = 90;

/// The link that is faulty, and what goes over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exchange {
    Mqtt { version: &'static str, qos: u8, tls: bool },
    Postgres { tls: bool },
}

/// A lane on its way.
pub(crate) struct Lane {
    exchange: Exchange,
    bridge: Bridge,
    broker: Mosquitto,
    proxy: Proxy,
    database: Option<(Arc<Postgres>, String)>,
    publisher: Publisher,
    /// How many messages were published.
    published: u64,
    lengths: Lengths,
    turns: u64,
    vitals: Vitals,
}

const COLUMNS: &str = "
      id: { from: payload.id, type: bigint }
      topic: topic
      seq: { from: journal.seq, type: bigint }
";

impl Lane {
    /// Starts everything, and measures the exchange.
    pub(crate) fn open(exchange: Exchange, postgres: &Arc<Postgres>) -> Lane {
        let authority = Authority::new();
        let (broker, tls_port) = match exchange {
            Exchange::Mqtt { tls: true, .. } => {
                let (broker, port) = tls_broker(&authority, false);
                (broker, Some(port))
            }
            _ => (Mosquitto::with(DEEP_QUEUE), None),
        };
        let database =
            matches!(exchange, Exchange::Postgres { .. }).then(|| (Arc::clone(postgres), postgres.create_database()));
        let proxy = match &database {
            Some((server, _)) => Proxy::to(server.port()),
            None => Proxy::to(tls_port.unwrap_or(broker.port())),
        };
        let mut bridge =
            Bridge::with_mqtt(broker.port(), &mqtt_keys(exchange, &proxy), &body(exchange, &proxy, database.as_ref()));
        std::fs::write(bridge.path("ca.pem"), authority.certificate()).unwrap();
        bridge.start();
        let publisher = Publisher::new(broker.port());
        let lengths = Lengths { up: 1, down: 1, greeting: 0 };
        let mut lane = Lane {
            exchange,
            bridge,
            broker,
            proxy,
            database,
            publisher,
            published: 0,
            lengths,
            turns: 0,
            vitals: Vitals::default(),
        };
        lane.measure();
        lane
    }

    /// One round: the next connection meets this turn's fault, and everything arrives all the same.
    pub(crate) fn turn(&mut self, turn: u64) {
        let black_holes = if self.database.is_some() { 89 } else { 23 };
        let trap = trap(turn, self.lengths, black_holes);
        let note = OnPanic(format!("{:?}, turn {turn}: {trap:?}; {} published", self.exchange, self.published));
        let mut armed = self.reconnect_into(trap);
        self.publish(MESSAGES);
        let begin = Instant::now();
        let mut lengthened = Instant::now();
        while !armed.has_fired() {
            assert!(begin.elapsed() < PATIENCE, "the fault did not happen; {armed:?}");
            // The bridge was just reconnecting when the trap was set, or gave this connection up by itself.
            if armed.was_missed() {
                armed = self.reconnect_into(trap);
            }
            if lengthened.elapsed() > LENGTHEN_EVERY {
                self.publish(1);
                lengthened = Instant::now();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.wait_arrived();
        self.vitals.sample(&self.bridge);
        self.turns += 1;
        drop(note);
    }

    /// How many bytes the exchange has both ways, and whether all of them were hit.
    pub(crate) fn swept(&self) -> (u64, bool) {
        (self.lengths.up + self.lengths.down, self.lengths.are_swept_by(self.turns))
    }

    fn measure(&mut self) {
        let armed = self.reconnect_into(Trap { way: Way::Up, after: 0, fault: Fault::Nothing });
        self.publish(MESSAGES);
        self.wait_arrived();
        // The last acknowledgements are on their way yet.
        std::thread::sleep(Duration::from_millis(300));
        let greeting = if self.database.is_none() { CONNECT_BYTES } else { 0 };
        self.lengths = Lengths { up: armed.passed(Way::Up), down: armed.passed(Way::Down), greeting };
    }

    /// Ends the connection; the next one meets the trap.
    fn reconnect_into(&mut self, trap: Trap) -> Armed {
        if matches!(self.exchange, Exchange::Mqtt { tls: false, .. }) {
            self.proxy.arm(Trap { way: Way::Down, after: WITHIN_CONNACK, fault: Fault::Reset });
        }
        let armed = self.proxy.arm(trap);
        self.proxy.cut();
        armed
    }

    fn publish(&mut self, count: u64) {
        let qos = match self.exchange {
            Exchange::Mqtt { qos, .. } => qos,
            Exchange::Postgres { .. } => 2,
        };
        for _ in 0..count {
            let id = self.published;
            let message = Outgoing::new(&format!("cuts/{}", id % TOPICS), format!(r#"{{"id":{id}}}"#));
            self.publisher.publish(&Outgoing { qos, ..message });
            self.published += 1;
        }
    }

    /// Everything published so far is in the database.
    fn wait_arrived(&mut self) {
        let begin = Instant::now();
        let rows = self.bridge.rows();
        let connection = self.database.is_none().then(|| sqlite(&rows));
        loop {
            let has_arrived = match &connection {
                Some(connection) => connection
                    .query_row("SELECT count(DISTINCT id) FROM rows", [], |row| row.get::<_, i64>(0))
                    .is_ok_and(|count| count.cast_unsigned() == self.published),
                None => {
                    let status = self.bridge.status();
                    status["journal"]["next_seq"] == self.published + 1
                        && status["databases"]["it"]["next_seq"] == self.published + 1
                }
            };
            if has_arrived {
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "of {} messages some do not arrive", self.published);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What must be true after all turns. Returns how many messages there were, and how many came twice.
    #[track_caller]
    pub(crate) fn close(mut self) -> (u64, u64) {
        let note = OnPanic(format!("{:?} after {} turns", self.exchange, self.turns));
        self.bridge.wait_drained("it");
        let rows = self.rows();
        let place = format!("{:?}", self.exchange);
        let tally = Tally::of(rows.iter().map(|row| row.0), 0..self.published);
        tally.assert_none_lost(&place);
        let excused = match self.exchange {
            Exchange::Mqtt { qos: 1, .. } => u64::MAX,
            Exchange::Mqtt { .. } => self.broker.published_after_release("bridge-"),
            Exchange::Postgres { .. } => 0,
        };
        if tally.repeated() as u64 > excused {
            println!("--- the broker's log ---\n{}", self.broker.log());
            panic!("{place}: more than the broker repeated ({excused}): {tally}");
        }
        let seqs: Vec<u64> = rows.iter().map(|row| row.2).collect();
        let expected: Vec<u64> = (1..=rows.len() as u64).collect();
        assert_eq!(seqs, expected, "{place}: each record of the journal is one row, in its order");
        assert_order(&rows);
        self.assert_accounts(rows.len() as u64);
        let Lengths { up, down, .. } = self.lengths;
        println!("{}; {} turns over {up} bytes up and {down} down", self.vitals.assert_flat(&place), self.turns);
        assert!(self.bridge.stop().success());
        drop(note);
        (self.published, rows.len() as u64 - self.published)
    }

    /// Id, topic and sequence number in the order in which they were written.
    fn rows(&self) -> Vec<(i64, String, u64)> {
        let lines: Vec<String> = match &self.database {
            Some((postgres, database)) => {
                let text = postgres.psql(database, "SELECT id || '|' || topic || '|' || seq FROM rows ORDER BY ctid");
                text.lines().map(str::to_owned).collect()
            }
            None => column(&self.bridge.rows(), "SELECT id || '|' || topic || '|' || seq FROM rows ORDER BY rowid"),
        };
        let parsed = lines.iter().map(|line| {
            let mut parts = line.split('|');
            let id = parts.next().unwrap().parse().unwrap();
            (id, parts.next().unwrap().to_owned(), parts.next().unwrap().parse().unwrap())
        });
        parsed.collect()
    }

    #[track_caller]
    fn assert_accounts(&mut self, rows: u64) {
        let status = wait_for("status answers", || Some(self.bridge.status()).filter(|status| !status.is_null()));
        assert_eq!(status["mqtt"]["sessions_lost"], 0, "{status}");
        assert_eq!(status["journal"]["next_seq"], rows + 1, "{status}");
        assert_eq!(status["databases"]["it"]["next_seq"], rows + 1, "{status}");
        let rule = &status["rules"][0];
        let sum: u64 =
            ["written", "filtered", "dead_lettered", "dropped"].iter().map(|field| rule[field].as_u64().unwrap()).sum();
        assert_eq!(
            (rule["matched"].as_u64(), rule["written"].as_u64(), sum),
            (Some(rows), Some(rows), rows),
            "{status}"
        );
    }
}

/// Per topic, what came first lies first; what QoS 1 repeats comes later.
#[track_caller]
fn assert_order(rows: &[(i64, String, u64)]) {
    let mut seen = std::collections::HashSet::new();
    let mut last = std::collections::HashMap::new();
    for (id, topic, seq) in rows {
        if seen.insert(*id) {
            let before = last.insert(topic.clone(), *id).unwrap_or(-1);
            assert!(before < *id, "{id} came to {topic} after {before}, at {seq}");
        }
    }
}

fn mqtt_keys(exchange: Exchange, proxy: &Proxy) -> String {
    let common = "keep_alive: 2s, connect_timeout: 2s, retry: { min: 20ms, max: 50ms }";
    match exchange {
        Exchange::Postgres { .. } => "retry: { min: 20ms, max: 50ms }".to_owned(),
        Exchange::Mqtt { version, tls, .. } => {
            let scheme = if tls { "mqtts" } else { "mqtt" };
            let url = format!("url: '{scheme}://127.0.0.1:{}'", proxy.port());
            let tls = if tls { ", tls: { ca_file: ca.pem }" } else { "" };
            format!("{url}, version: {version}, {common}{tls}")
        }
    }
}

fn body(exchange: Exchange, proxy: &Proxy, database: Option<&(Arc<Postgres>, String)>) -> String {
    let (url, qos) = match (exchange, database) {
        (Exchange::Postgres { tls }, Some((_, name))) => {
            let mode = if tls { "require" } else { "disable" };
            (format!("postgres://postgres@127.0.0.1:{}/{name}?sslmode={mode}", proxy.port()), 2)
        }
        (Exchange::Mqtt { qos, .. }, _) => ("sqlite:rows.db".to_owned(), qos),
        (Exchange::Postgres { .. }, None) => unreachable!("a Postgres lane has a database"),
    };
    // A row of so many cells goes by COPY, fewer go at once with the transaction's begin and end: each in one of the lanes.
    let filler = |column| format!("      filler_{column}: {{ from: journal.seq, type: bigint }}\n");
    let fillers: String = match exchange {
        Exchange::Postgres { tls: false } => (0..65).map(filler).collect(),
        _ => String::new(),
    };
    format!(
        "databases:\n  it:\n    url: '{url}'\n    retry: {{ min: 20ms, max: 100ms }}\n    statement_timeout: 2s\n\
         rules:\n  - topic: cuts/+\n    qos: {qos}\n    table: rows\n    create: true\n    columns:{COLUMNS}{fillers}"
    )
}

/// Says what was under way when a test fails.
struct OnPanic(String);

impl Drop for OnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("failed in {}", self.0);
        }
    }
}
