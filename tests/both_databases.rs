//! One stream into SQLite and Postgres at once: every message once in both, every value to the last bit.

use std::time::Duration;

use crate::support::bridge::{Bridge, journaled};
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Tally, sqlite};
use crate::support::postgres::Postgres;
use crate::support::publisher::{Load, Publisher};
use crate::support::{PATIENCE, sized, wait_within};

const RULES: &str = "
databases:
  local: { url: 'sqlite:rows.db' }
  cloud: { url: 'POSTGRES' }
rules:
  - name: to-sqlite
    topic: values/{site}
    qos: QOS
    database: local
    table: readings
    columns: &columns
      id: payload.id
      whole: payload.whole
      small: payload.small
      amount: payload.amount
      ratio: payload.ratio
      fine: payload.fine
      note: payload.note
      flag: payload.flag
      at: { from: payload.at, time: us }
      day: payload.day
      extra: payload.extra
      uid: payload.uid
      site: topic.site
  - name: to-postgres
    topic: values/{site}
    qos: QOS
    database: cloud
    table: readings
    columns: *columns
";

/// DECIMAL_TEXT is Rowbridge's word for decimals of more digits than SQLite's NUMERIC keeps.
const SQLITE_TABLE: &str = "CREATE TABLE readings (id INTEGER, whole BIGINT, small INT, amount DECIMAL_TEXT(30,12), \
     ratio DOUBLE, fine REAL, note TEXT, flag BOOLEAN, at TIMESTAMP, day DATE, extra JSON, uid UUID, site TEXT)";

const POSTGRES_TABLE: &str = "CREATE TABLE readings (id bigint, whole bigint, small smallint, amount numeric(30,12), \
     ratio double precision, fine real, note text, flag boolean, at timestamptz, day date, extra jsonb, uid uuid, \
     site varchar(40))";

/// Whole numbers at the ends of what 64 bits hold, and where a float would round.
const WHOLES: [i64; 6] = [i64::MAX, i64::MIN, 9_007_199_254_740_993, -9_007_199_254_740_993, 0, -1];
const SMALLS: [i16; 3] = [i16::MAX, i16::MIN, 7];
const AMOUNTS: [&str; 4] = ["123456789012345678.123456789012", "-0.000000000001", "0.100000000000", "1.000000000000"];
const RATIOS: [f64; 5] = [0.1, f64::MIN_POSITIVE, -1.797_693_134_862_315_7e308, 1.0 / 3.0, 5e-324];
const NOTES: [&str; 5] =
    ["plain", "it's \"quoted\" \\ and\ttabbed", "two\r\nlines", "наука 测试 🛰\u{202e}", "\\N\\.\u{1}\u{7f}"];

/// The message of that number, as JSON text written by hand so that no library rounds a number on the way.
fn values(id: u64) -> (String, Vec<u8>) {
    let index = id as usize;
    let note = serde_json::to_string(NOTES[index % NOTES.len()]).unwrap();
    let payload = format!(
        r#"{{"id":{id},"whole":{},"small":{},"amount":{},"ratio":{:e},"fine":{},"note":{note},"flag":{},"at":{},"day":"2024-02-29","extra":{{"k":[1,{note}]}},"uid":"{}"}}"#,
        WHOLES[index % WHOLES.len()],
        SMALLS[index % SMALLS.len()],
        AMOUNTS[index % AMOUNTS.len()],
        RATIOS[index % RATIOS.len()],
        1.5,
        id.is_multiple_of(2),
        micros(id),
        uid(id),
    );
    (format!("values/site{}", id % 7), payload.into_bytes())
}

/// Microseconds since 1970, none of them whole milliseconds.
fn micros(id: u64) -> u64 {
    1_700_000_000_123_457 + id * 1_000_003
}

fn uid(id: u64) -> String {
    format!("0190c0de-0000-7000-8000-{id:012x}")
}

fn started(broker: &Mosquitto, postgres: &Postgres, database: &str, qos: u8) -> Bridge {
    postgres.psql(database, POSTGRES_TABLE);
    let rules = RULES.replace("POSTGRES", &postgres.url(database)).replace("QOS", &qos.to_string());
    let mut bridge = Bridge::new(broker.port(), &rules);
    rusqlite::Connection::open(bridge.rows()).unwrap().execute_batch(SQLITE_TABLE).unwrap();
    bridge.start();
    bridge
}

fn postgres_ids(postgres: &Postgres, database: &str) -> Vec<i64> {
    let ids = postgres.psql(database, "SELECT id FROM readings");
    ids.lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn a_burst_at_qos_1_is_in_both_databases_once_and_exact() {
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    // Mosquitto's defaults: 20 in flight, and a queue of 1,000 that must not overflow.
    let broker = Mosquitto::start();
    let mut bridge = started(&broker, &postgres, &database, 1);
    let count = sized(10_000, 100_000);
    let http = bridge.http_port();
    let begin = std::time::Instant::now();
    Load::new(broker.port(), 1, count).made_by(values).paced_by(800, move || journaled(http)).run();
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= count).then_some(()));
    let took = begin.elapsed();
    bridge.wait_drained("local");
    bridge.wait_drained("cloud");
    println!("{count} messages: journaled after {took:?}, in both databases after {:?}", begin.elapsed());
    Tally::of_sqlite(&bridge.rows(), "readings", 0..count).assert_each_once("SQLite");
    Tally::of(postgres_ids(&postgres, &database), 0..count).assert_each_once("Postgres");
    assert_exact_in_sqlite(&bridge, count);
    assert_exact_in_postgres(&postgres, &database, count);
}

#[track_caller]
fn assert_exact_in_sqlite(bridge: &Bridge, count: u64) {
    let connection = sqlite(&bridge.rows());
    let query = "SELECT id, whole, small, CAST(amount AS TEXT), ratio, fine, note, flag, at, day, extra, uid, site \
                 FROM readings";
    let mut statement = connection.prepare(query).unwrap();
    let mut rows = statement.query([]).unwrap();
    let mut checked = 0;
    while let Some(row) = rows.next().unwrap() {
        let id = row.get::<_, i64>(0).unwrap().cast_unsigned();
        let index = id as usize;
        assert_eq!(row.get::<_, i64>(1).unwrap(), WHOLES[index % WHOLES.len()], "whole of {id}");
        assert_eq!(row.get::<_, i16>(2).unwrap(), SMALLS[index % SMALLS.len()], "small of {id}");
        assert_eq!(row.get::<_, String>(3).unwrap(), AMOUNTS[index % AMOUNTS.len()], "amount of {id}");
        let ratio = row.get::<_, f64>(4).unwrap();
        assert_eq!(ratio.to_bits(), RATIOS[index % RATIOS.len()].to_bits(), "ratio of {id}");
        assert!((row.get::<_, f64>(5).unwrap() - 1.5).abs() < f64::EPSILON, "fine of {id}");
        assert_eq!(row.get::<_, String>(6).unwrap(), NOTES[index % NOTES.len()], "note of {id}");
        assert_eq!(row.get::<_, bool>(7).unwrap(), id.is_multiple_of(2), "flag of {id}");
        // SQLite's timestamps are text with milliseconds or finer, in UTC.
        let at: jiff::Timestamp = row.get::<_, String>(8).unwrap().parse().unwrap();
        assert_eq!(at.as_millisecond(), (micros(id) / 1_000).cast_signed(), "time of {id}");
        assert_eq!(row.get::<_, String>(9).unwrap(), "2024-02-29");
        let extra: serde_json::Value = serde_json::from_str(&row.get::<_, String>(10).unwrap()).unwrap();
        assert_eq!(extra["k"][1], NOTES[index % NOTES.len()], "extra of {id}");
        assert_eq!(row.get::<_, String>(11).unwrap(), uid(id));
        assert_eq!(row.get::<_, String>(12).unwrap(), format!("site{}", id % 7));
        checked += 1;
    }
    assert_eq!(checked, count);
}

/// Postgres compares in its own types; what it cannot be told in JSON it is told as text.
#[track_caller]
fn assert_exact_in_postgres(postgres: &Postgres, database: &str, count: u64) {
    let list = |items: Vec<String>| items.join(",");
    let wholes = list(WHOLES.iter().map(|whole| format!("'{whole}'")).collect());
    let smalls = list(SMALLS.iter().map(|small| format!("'{small}'")).collect());
    let amounts = list(AMOUNTS.iter().map(|amount| format!("'{amount}'")).collect());
    let ratios = list(RATIOS.iter().map(|ratio| format!("'{ratio:e}'")).collect());
    let notes = list(NOTES.iter().map(|note| format!("convert_from('\\x{}', 'UTF8')", hex(note.as_bytes()))).collect());
    let wrong = format!(
        "SELECT count(*) FROM readings WHERE (
           whole = (ARRAY[{wholes}]::bigint[])[id % 6 + 1]
           AND small = (ARRAY[{smalls}]::smallint[])[id % 3 + 1]
           AND amount = (ARRAY[{amounts}]::numeric[])[id % 4 + 1]
           AND float8send(ratio) = float8send((ARRAY[{ratios}]::float8[])[id % 5 + 1])
           AND fine = 1.5 AND flag = (id % 2 = 0) AND day = '2024-02-29'
           AND note = (ARRAY[{notes}])[id % 5 + 1]
           AND extra->'k'->>1 = note
           AND at = 'epoch'::timestamptz + (1700000000123457 + id * 1000003) * interval '1 microsecond'
           AND uid = ('0190c0de-0000-7000-8000-' || lpad(to_hex(id), 12, '0'))::uuid
           AND site = 'site' || id % 7
         ) IS NOT TRUE"
    );
    assert_eq!(postgres.psql(database, &wrong), "0", "of {count} rows in Postgres so many differ from what was sent");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Steady load, the broker's default queue of 1,000, and Postgres away for a while.
#[test]
fn a_stopped_postgres_delays_neither_the_broker_nor_sqlite_and_nothing_is_lost() {
    let postgres = Postgres::start();
    let database = postgres.create_database();
    let broker = Mosquitto::start();
    let mut bridge = started(&broker, &postgres, &database, 1);
    let rate = sized(1_000, 2_000);
    let away_seconds = sized(5, 60);
    let count = rate * (away_seconds + 4);
    let load = Load::new(broker.port(), 1, count).made_by(values).per_second(rate).start();
    load.wait_until(rate);
    postgres.stop_immediately();
    // Postgres comes back only after SQLite has what was sent meanwhile, so SQLite cannot have waited for it.
    wait_within(
        PATIENCE + Duration::from_secs(away_seconds),
        "SQLite stores what comes while Postgres is away",
        || {
            let status = bridge.status();
            assert_eq!(status["mqtt"]["connected"], true, "the connection to the broker is dropped: {status}");
            (status["databases"]["local"]["next_seq"].as_u64()? > rate * (1 + away_seconds)).then_some(())
        },
    );
    let status = bridge.status();
    assert_eq!(status["databases"]["cloud"]["connected"], false, "{status}");
    assert!(!status["databases"]["cloud"]["last_error"].is_null(), "{status}");
    assert!(status["databases"]["cloud"]["pending"].as_u64().unwrap() > 0, "{status}");
    let ready = bridge.get("/readyz").unwrap();
    assert_eq!(ready.status, 200, "an outage with room in the journal is ready: {}", ready.body);
    assert!(ready.body.contains("cloud"), "the body says why it is not all well: {}", ready.body);

    postgres.start_again();
    bridge.wait_alive("Postgres has caught up", |bridge| {
        (bridge.status()["databases"]["cloud"]["pending"].as_u64()? < rate).then_some(())
    });
    load.finish();
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= count).then_some(()));
    bridge.wait_drained("local");
    bridge.wait_drained("cloud");
    Tally::of_sqlite(&bridge.rows(), "readings", 0..count).assert_each_once("SQLite");
    Tally::of(postgres_ids(&postgres, &database), 0..count).assert_each_once("Postgres");
    let connections = broker.log().matches("New client connected").count();
    let bridges =
        broker.log().lines().filter(|line| line.contains("New client") && line.contains("as bridge-")).count();
    assert_eq!(bridges, 1, "the bridge connected once ({connections} connections in all)");
    assert!(bridge.metrics().value("rowbridge_retries_total", &[("database", "cloud")]).unwrap() > 0.0);
}

#[test]
fn one_bad_row_in_500_is_a_dead_letter_in_postgres_whether_mapping_or_the_database_refuses_it() {
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    let broker = Mosquitto::start();
    let mut bridge = started(&broker, &postgres, &database, 1);
    postgres.psql(&database, "ALTER TABLE readings ADD CHECK (id <> 123)");
    let bad = |id: u64| {
        if id == 321 { (values(id).0, br#"{"id":321,"whole":"many"}"#.to_vec()) } else { values(id) }
    };
    Load::new(broker.port(), 1, 501).made_by(bad).run();
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= 501).then_some(()));
    bridge.wait_drained("cloud");
    let found = postgres_ids(&postgres, &database);
    Tally::of(found.into_iter().chain([123, 321]), 0..501).assert_each_once("Postgres and the bad ones");
    let letters = postgres.psql(
        &database,
        "SELECT rule, seq, topic, qos, retain, reason, encode(payload, 'hex') FROM rowbridge_dead_letters ORDER BY seq",
    );
    let expected = [(123, "constraint"), (321, "value")].map(|(id, reason)| {
        let (topic, payload) = bad(id);
        format!("to-postgres|{}|{topic}|1|f|{reason}|{}", id + 1, hex(&payload))
    });
    assert_eq!(letters.lines().collect::<Vec<_>>(), expected);
    assert_eq!(postgres.psql(&database, "SELECT next_seq FROM rowbridge_offsets"), "502");
}

#[test]
fn a_nul_character_and_a_long_number_do_not_stop_postgres() {
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    let broker = Mosquitto::start();
    let mut bridge = started(&broker, &postgres, &database, 1);
    assert!(bridge.stop().success());
    postgres.psql(&database, "ALTER TABLE readings ALTER amount TYPE numeric");
    bridge.start();
    let number = "1234567890123456789012345678901234567890.0987654321";
    let mut publisher = Publisher::new(broker.port());
    publisher.send("values/a", r#"{"id":1,"note":"a\u0000b"}"#);
    publisher.send("values/a", r#"{"id":2,"extra":{"k":"a\u0000b"}}"#);
    publisher.send("values/a", format!(r#"{{"id":3,"amount":{number}}}"#));
    publisher.send("values/a", format!(r#"{{"id":4,"site":"{}"}}"#, "long"));
    publisher.send(&format!("values/{}", "long".repeat(20)), r#"{"id":5}"#);
    publisher.send("values/a", r#"{"id":6}"#);
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= 6).then_some(()));
    bridge.wait_drained("cloud");
    assert_eq!(postgres.psql(&database, "SELECT id, amount FROM readings ORDER BY id"), format!("3|{number}\n4|\n6|"));
    let letters = postgres.psql(&database, "SELECT seq FROM rowbridge_dead_letters ORDER BY seq");
    assert_eq!(letters, "1\n2\n5");
}
