//! What an earlier version left behind is taken up: its journal with pending messages, its tables, its dead letters.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::bridge::Bridge;
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{self, Tally};
use crate::support::postgres::Postgres;
use crate::support::publisher::Publisher;

/// Made with tests/fixtures/make: ids 0 to 4 and a dead letter delivered, 5 to 14 pending.
const FIXTURE: &str = "tests/fixtures/0.1.0-2026-11-26";
const IDS: u64 = 15;

const CONFIGURATION: &str = "
bridge: gateway
mqtt: { url: 'mqtt://127.0.0.1:BROKER', client_id: gateway }
data_dir: data
http: { listen: '127.0.0.1:HTTP' }
journal: { segment_size: 64KiB, max_size: 1MiB }
databases: { local: { url: 'sqlite:rows.db' }, cloud: { url: 'POSTGRES' } }
rules:
  - &rule
    { name: local, topic: 'sensors/{device}', qos: 2, database: local, table: readings, create: true,
      columns: { device: topic.device, id: { from: payload.id, type: bigint }, temp: { from: payload.temp, type: double } } }
  - { <<: *rule, name: cloud, database: cloud }
";

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(FIXTURE)
}

/// A bridge of today in a copy of the fixture, with a broker that knows nothing of its session.
fn upgraded(broker: &Mosquitto, url: &str) -> Bridge {
    // For its port; the file is replaced.
    let bridge = Bridge::new(broker.port(), "");
    let text = CONFIGURATION
        .replace("BROKER", &broker.port().to_string())
        .replace("HTTP", &bridge.http_port().to_string())
        .replace("POSTGRES", url);
    fs::write(bridge.config(), text).unwrap();
    fs::create_dir_all(bridge.path("data/journal")).unwrap();
    for folder in ["data", "data/journal"] {
        for entry in fs::read_dir(fixture().join(folder)).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), bridge.path(folder).join(entry.file_name())).unwrap();
            }
        }
    }
    fs::copy(fixture().join("rows.sqlite"), bridge.rows()).unwrap();
    bridge
}

#[test]
fn journal_and_tables_of_an_earlier_version_are_taken_up_and_everything_is_delivered_once() {
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    postgres.psql(&database, &fs::read_to_string(fixture().join("cloud.sql")).unwrap());
    let broker = Mosquitto::start();
    let mut bridge = upgraded(&broker, &postgres.url(&database));
    let cloud = |what: &str| postgres.psql(&database, what).trim().to_owned();
    assert_eq!(oracle::count(&bridge.rows(), "readings"), 5, "the fixture has messages pending");
    assert_eq!(cloud("SELECT count(*) FROM public.readings"), "5");

    bridge.start();
    bridge.wait_drained("local");
    bridge.wait_drained("cloud");
    Publisher::new(broker.port()).send("sensors/d0", r#"{"id":15,"temp":15.5}"#);
    bridge.wait_alive("new messages go behind the old ones", |bridge| (bridge.journaled() >= 17).then_some(()));
    bridge.wait_drained("local");
    bridge.wait_drained("cloud");

    Tally::of_sqlite(&bridge.rows(), "readings", 0..IDS + 1).assert_each_once("rows.db");
    let sqlite =
        oracle::column::<String>(&bridge.rows(), "SELECT id || ' ' || device || ' ' || temp FROM readings ORDER BY id");
    let rows = cloud("SELECT id || ' ' || device || ' ' || temp FROM public.readings ORDER BY id");
    assert_eq!(rows.lines().collect::<Vec<_>>(), sqlite);
    assert_eq!(sqlite[14], "14 d2 14.5");
    // The dead letter of then is there, with all of its message, and today's commands read it.
    for (database, count) in [("local", oracle::count(&bridge.rows(), "rowbridge_dead_letters").to_string())]
        .into_iter()
        .chain([("cloud", cloud("SELECT count(*) FROM public.rowbridge_dead_letters"))])
    {
        assert_eq!(count, "1", "{database}");
    }
    let listed = bridge.command(&["dead-letters", "list", "--json"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("no number") || listed.contains("\"value\""), "{listed}");
    assert_eq!(bridge.metrics().value("rowbridge_messages_lost_total", &[]), Some(0.0));
    let log = bridge.log();
    let unexpected: Vec<&str> =
        log.lines().filter(|line| line.contains("ERROR") && !line.contains("lost this client's session")).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
    assert!(bridge.stop().success());
    let verified = bridge.command(&["journal", "verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[test]
fn a_journal_of_another_format_is_refused_by_name_and_left_alone() {
    let broker = Mosquitto::start();
    let mut bridge = upgraded(&broker, "postgres://bridge@127.0.0.1:1/none");
    let segment = bridge.path("data/journal/00000000000000000001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    // The header (src/journal/segment.rs): its version, and the checksum over what lies before that.
    bytes[8] = 2;
    let crc = crc32c::crc32c(&bytes[..56]);
    bytes[56..60].copy_from_slice(&crc.to_le_bytes());
    fs::write(&segment, &bytes).unwrap();
    bridge.spawn();
    let status = bridge.wait_ended();
    assert!(!status.success());
    let log = bridge.log();
    for words in
        ["00000000000000000001.seg", "its format is version 2", "another version of Rowbridge made it: run that one"]
    {
        assert!(log.contains(words), "{words} in:\n{log}");
    }
    assert!(fs::read(&segment).unwrap() == bytes, "the file is as it was");
    assert_eq!(oracle::count(&bridge.rows(), "readings"), 5, "and nothing was delivered from elsewhere");
    let quarantined = fs::read_dir(bridge.path("data/journal/quarantine")).map_or(0, Iterator::count);
    assert_eq!(quarantined, 0);
}
