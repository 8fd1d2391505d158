//! The stage of the soak: a broker, two databases, a bridge, faulty links between them, a load of every kind, and what
//! must be true of it all afterwards.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::bridge::Bridge;
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::mqtt::Outgoing;
use crate::support::oracle::{Tally, column};
use crate::support::postgres::{Postgres, PostgresOptions};
use crate::support::proxy::Proxy;
use crate::support::publisher::{Load, Publisher, Running};
use crate::support::wait_for;

/// Tables, and the quality of service of what they take. `kept` takes retained messages.
const TABLES: [(&str, u8); 4] = [("q0", 0), ("q1", 1), ("q2", 2), ("kept", 1)];
/// Topics per table: order is kept within each.
const TOPICS: u64 = 5;
/// A payload of this length at most, once in a while.
const BLOB_BYTES_MAX: u64 = 256 << 10;
/// Small, so that an outage of Postgres and a few large payloads fill it.
pub(crate) const JOURNAL_BYTES_MAX: u64 = 16 << 20;
pub(crate) const SEGMENT_BYTES: u64 = 1 << 20;
/// How far a load runs ahead of what it is allowed.
const LEAD: u64 = 2;

pub(crate) struct Stage {
    pub(crate) bridge: Bridge,
    pub(crate) broker: Mosquitto,
    pub(crate) postgres: Postgres,
    pub(crate) database: String,
    pub(crate) to_broker: Proxy,
    pub(crate) to_postgres: Proxy,
    /// By quality of service.
    loads: [Flow; 3],
    kept: u64,
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let loads: Vec<_> = self.loads.iter().map(|flow| (flow.running.acknowledged(), flow.published())).collect();
            println!("acknowledged of published, by quality of service: {loads:?}");
            let log = self.broker.log();
            let lines: Vec<&str> =
                log.lines().filter(|line| !line.contains("PUB") && !line.contains("Saving")).collect();
            println!("--- the end of the broker's log ---\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
    }
}

/// A load that sends as much as it is allowed.
struct Flow {
    allowed: Arc<AtomicU64>,
    running: Running,
}

impl Flow {
    fn start(port: u16, qos: u8) -> Flow {
        let allowed = Arc::new(AtomicU64::new(0));
        let limit = Arc::clone(&allowed);
        let load = Load::new(port, qos, u64::MAX >> 1).made_by(move |id| message(qos, id));
        Flow { running: load.paced_by(LEAD, move || limit.load(Ordering::SeqCst)).start(), allowed }
    }

    fn published(&self) -> u64 {
        self.allowed.load(Ordering::SeqCst) + LEAD
    }
}

/// The message of that number: mostly small, at times large, at times no row.
fn message(qos: u8, id: u64) -> (String, Vec<u8>) {
    let topic = format!("soak/q{qos}/{}", id % TOPICS);
    let text = match id {
        _ if is_bad(id) => format!(r#"{{"id":{id},"value":"many"}}"#),
        _ => format!(r#"{{"id":{id},"value":{},"blob":"{}"}}"#, 3 * id, "x".repeat(blob_bytes(id) as usize)),
    };
    (topic, text.into_bytes())
}

fn is_bad(id: u64) -> bool {
    id % 97 == 13
}

fn blob_bytes(id: u64) -> u64 {
    if id % 151 == 7 { id * 7_919 % BLOB_BYTES_MAX } else { id % 20 }
}

impl Stage {
    pub(crate) fn open() -> Stage {
        // Saved at a SIGTERM only, which is how it is restarted: to save its whole queue at every change would be all that
        // it does.
        let broker = Mosquitto::with(&format!("{DEEP_QUEUE}persistence true\n"));
        let postgres = Postgres::start_with(PostgresOptions { fsync: false, ..PostgresOptions::default() });
        let database = postgres.create_database();
        let (to_broker, to_postgres) = (Proxy::to(broker.port()), Proxy::to(postgres.port()));
        let keys = "keep_alive: 3s, connect_timeout: 2s, retry: { min: 50ms, max: 500ms }";
        let mut bridge = Bridge::with_mqtt(to_broker.port(), keys, &rules(&to_postgres, &database));
        let tables: String = TABLES.iter().map(|(table, _)| create(table)).collect();
        rusqlite::Connection::open(bridge.rows()).unwrap().execute_batch(&tables).unwrap();
        postgres.psql(&database, &tables);
        bridge.start();
        let loads = [0, 1, 2].map(|qos| Flow::start(broker.port(), qos));
        Stage { bridge, broker, postgres, database, to_broker, to_postgres, loads, kept: 0 }
    }

    /// Allows so many more messages of each quality of service.
    pub(crate) fn load(&self, count: u64) {
        for flow in &self.loads {
            flow.allowed.fetch_add(count, Ordering::SeqCst);
        }
    }

    /// One retained message; the broker must be there.
    pub(crate) fn retain(&mut self) {
        let id = self.kept;
        let payload = format!(r#"{{"id":{id},"value":{},"blob":"{}"}}"#, 3 * id, "x".repeat(blob_bytes(id) as usize));
        let message = Outgoing::new(&format!("soak/kept/{}", id % TOPICS), payload).retained();
        Publisher::new(self.broker.port()).publish(&message);
        self.kept += 1;
    }

    pub(crate) fn published(&self) -> u64 {
        self.loads.iter().map(Flow::published).sum::<u64>() + self.kept
    }

    /// All faults are over: everything must arrive, once per record of the journal, in order, with its values.
    #[track_caller]
    pub(crate) fn assert_whole(&mut self) -> Figures {
        for flow in &self.loads {
            flow.running.wait_until(flow.published());
        }
        self.await_all();
        let status = wait_for("status answers", || Some(self.bridge.status()).filter(|status| !status.is_null()));
        let records = status["journal"]["next_seq"].as_u64().unwrap() - 1;
        assert_eq!(status["mqtt"]["sessions_lost"], 0, "{status}");
        assert_eq!(status["journal"]["lost"], 0, "{status}");
        for rule in status["rules"].as_array().unwrap() {
            let field = |name: &str| rule[name].as_u64().unwrap();
            let ends = field("written") + field("filtered") + field("dead_lettered") + field("dropped");
            assert_eq!((field("matched"), field("dropped")), (ends, 0), "{rule}");
        }
        let mut figures = Figures { records, ..Figures::default() };
        for (place, rows) in [("SQLite", self.sqlite_rows()), ("Postgres", self.postgres_rows())] {
            let mut seqs: Vec<u64> = rows.iter().map(|row| row.seq).collect();
            seqs.sort_unstable();
            assert_eq!(seqs, (1..=records).collect::<Vec<_>>(), "{place}: each record of the journal is there once");
            for (table, qos) in TABLES {
                let of_table: Vec<&Row> = rows.iter().filter(|row| row.table == table).collect();
                let count = if table == "kept" { self.kept } else { self.loads[usize::from(qos)].published() };
                let tally = Tally::of(of_table.iter().map(|row| row.id), 0..count);
                match qos {
                    0 => tally.assert_none_unknown(place),
                    1 => tally.assert_none_lost(place),
                    _ if tally.repeated() == 0 => tally.assert_each_once(place),
                    // Until it knows how a restarted Mosquitto numbers, see `Mosquitto::published_after_release`.
                    _ => {
                        tally.assert_none_lost(place);
                        let excused = self.broker.published_after_release("bridge-");
                        assert!(tally.repeated() as u64 <= excused, "{place}: more than the broker repeated: {tally}");
                        continue;
                    }
                }
                figures.repeated += tally.repeated() as u64;
                assert_order(place, &of_table);
            }
            figures.dead_letters += rows.iter().filter(|row| row.is_letter).count() as u64;
            let wrong = rows.iter().find(|row| !row.is_right);
            assert!(wrong.is_none(), "{place}: {wrong:?}");
        }
        figures
    }

    /// Waits until no message of QoS 1 or 2 is missing in either database, and nothing is on its way.
    fn await_all(&mut self) {
        let expected: u64 = self.loads[1].published() + self.loads[2].published() + self.kept;
        let distinct = |rows: Vec<Row>| {
            let ids: std::collections::HashSet<_> =
                rows.into_iter().filter(|row| row.table != "q0").map(|row| (row.table, row.id)).collect();
            ids.len() as u64
        };
        wait_for("all is in both databases", || {
            let there = [distinct(self.sqlite_rows()), distinct(self.postgres_rows())];
            (there == [expected; 2]).then_some(())
        });
        self.bridge.wait_drained("local");
        self.bridge.wait_drained("cloud");
    }

    fn sqlite_rows(&self) -> Vec<Row> {
        let letters = "SELECT rule || '|' || json_extract(CAST(payload AS TEXT), '$.id') || '|' || seq || '|' || topic \
                       || '|letter' FROM rowbridge_dead_letters";
        let queries = TABLES.iter().map(|(table, _)| select(table)).chain([letters.to_owned()]);
        let lines = queries.flat_map(|query| column::<String>(&self.bridge.rows(), &query));
        parse(&lines.collect::<Vec<_>>())
    }

    fn postgres_rows(&self) -> Vec<Row> {
        let letters = "SELECT rule || '|' || (convert_from(payload, 'UTF8')::json->>'id') || '|' || seq || '|' || topic \
                       || '|letter' FROM rowbridge_dead_letters";
        let queries = TABLES.iter().map(|(table, _)| select(table)).chain([letters.to_owned()]);
        let texts: Vec<String> = queries.map(|query| self.postgres.psql(&self.database, &query)).collect();
        let lines: Vec<String> = texts.iter().flat_map(|text| text.lines().map(str::to_owned)).collect();
        parse(&lines)
    }
}

/// What a soak came to.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) records: u64,
    /// At QoS 1, in both databases together.
    pub(crate) repeated: u64,
    pub(crate) dead_letters: u64,
}

/// A row or a dead letter.
#[derive(Debug)]
struct Row {
    table: String,
    id: i64,
    seq: u64,
    topic: String,
    is_letter: bool,
    /// Value and blob are those that were sent; for a dead letter: it had to be one.
    is_right: bool,
}

fn create(table: &str) -> String {
    format!("CREATE TABLE {table} (id BIGINT, value BIGINT, blob TEXT, seq BIGINT, topic TEXT);")
}

fn select(table: &str) -> String {
    format!(
        "SELECT '{table}|' || id || '|' || seq || '|' || topic || '|' || value || '|' || length(blob) FROM {table} ORDER BY seq"
    )
}

fn parse(lines: &[String]) -> Vec<Row> {
    let rows = lines.iter().filter(|line| !line.is_empty()).map(|line| {
        let parts: Vec<&str> = line.split('|').collect();
        let id: u64 = parts[1].parse().unwrap();
        let is_letter = parts[4] == "letter";
        let is_right = if is_letter {
            is_bad(id)
        } else {
            let sent = [(3 * id).to_string(), blob_bytes(id).to_string()];
            parts[4..] == sent
        };
        // Rules are named after their table and database.
        let table = parts[0].split('-').next().unwrap().to_owned();
        let (seq, topic) = (parts[2].parse().unwrap(), parts[3].to_owned());
        Row { table, id: id.cast_signed(), seq, topic, is_letter, is_right }
    });
    rows.collect()
}

/// Per topic, in the order of the journal, each message comes first where its number says; what is repeated comes later.
#[track_caller]
fn assert_order(place: &str, rows: &[&Row]) {
    let by_seq: BTreeMap<u64, &&Row> = rows.iter().map(|row| (row.seq, row)).collect();
    let mut last: HashMap<&str, i64> = HashMap::new();
    let mut seen = std::collections::HashSet::new();
    for row in by_seq.values().filter(|row| seen.insert(row.id)) {
        let before = last.insert(&row.topic, row.id).unwrap_or(-1);
        assert!(before < row.id, "{place}: {row:?} after {before}");
    }
}

fn rules(to_postgres: &Proxy, database: &str) -> String {
    let mut text = format!(
        "journal: {{ segment_size: {}KiB, max_size: {}MiB, keep: 1s }}\nshutdown_grace: 5s\n\
         databases:\n  local: {{ url: 'sqlite:rows.db', retry: {{ min: 50ms, max: 500ms }} }}\n  cloud:\n    \
         url: 'postgres://postgres@127.0.0.1:{}/{database}?sslmode=disable'\n    retry: {{ min: 50ms, max: 500ms }}\n    \
         statement_timeout: 3s\nrules:\n",
        SEGMENT_BYTES >> 10,
        JOURNAL_BYTES_MAX >> 20,
        to_postgres.port()
    );
    for (table, qos) in TABLES {
        for database in ["local", "cloud"] {
            text.push_str(&format!(
                "  - {{ name: {table}-{database}, topic: soak/{table}/+, qos: {qos}, database: {database}, table: {table}, \
                 columns: {{ id: payload.id, value: payload.value, blob: payload.blob, seq: journal.seq, topic: topic }} }}\n"
            ));
        }
    }
    text
}
