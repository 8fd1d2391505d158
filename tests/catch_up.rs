//! A backlog goes into Postgres many batches at a time; whatever fails on the way, every message counts once.

use std::time::Duration;

use crate::support::bridge::Bridge;
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::oracle::Tally;
use crate::support::postgres::Postgres;
use crate::support::proxy::{Mood, Proxy};
use crate::support::publisher::Load;
use crate::support::sized;

const RULES: &str = "
databases:
  cloud:
    url: 'postgres://postgres@127.0.0.1:PORT/DATABASE'
    retry: { min: 10ms, max: 100ms }
    batch: { max_rows: 50 }
rules:
  - name: parents
    topic: parent/+
    qos: 1
    table: parents
    columns: { id: payload.id }
  - name: readings
    topic: sensors/+/+/telemetry
    qos: 1
    table: readings
    columns: { id: payload.id, parent: { from: payload.parent }, seq: journal.seq }
";

const TABLES: &str = "
    CREATE TABLE parents (id bigint PRIMARY KEY);
    CREATE TABLE readings (
        number serial PRIMARY KEY, id bigint CHECK (id % 1000 <> 777), seq bigint,
        parent bigint REFERENCES parents
    )";

/// Every tenth message is the parent of the nine that follow it.
fn message(id: u64) -> (String, Vec<u8>) {
    if id.is_multiple_of(10) {
        return (format!("parent/{id}"), format!("{{\"id\":{id}}}").into_bytes());
    }
    let parent = id - id % 10;
    ("sensors/a/b/telemetry".to_owned(), format!("{{\"id\":{id},\"parent\":{parent}}}").into_bytes())
}

fn random_below(limit: u64) -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    u64::from_le_bytes(bytes) % limit
}

/// One row in a thousand is refused, so that series fail again and again in the midst of it.
#[test]
fn a_backlog_with_refused_rows_arrives_once_and_in_order_while_connections_are_cut_and_the_server_killed() {
    let count = sized(4_000, 60_000);
    let (broker, postgres) = (Mosquitto::with(DEEP_QUEUE), Postgres::start());
    let database = postgres.create_database();
    postgres.psql(&database, TABLES);
    let proxy = Proxy::to(postgres.port());
    proxy.set(Mood::Refuse);
    let rules = RULES.replace("PORT", &proxy.port().to_string()).replace("DATABASE", &database);
    let mut bridge = Bridge::new(broker.port(), &rules);
    bridge.start();
    Load::new(broker.port(), 1, count).made_by(message).run();
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= count).then_some(()));
    proxy.set(Mood::Pass);
    for round in 0..sized(10, 60) {
        proxy.cut_after(1 + random_below(6_000) as u32);
        std::thread::sleep(Duration::from_millis(random_below(60)));
        if round % 5 == 4 {
            postgres.kill();
            postgres.start_again();
        }
    }
    proxy.cut_after(u32::MAX);
    bridge.wait_drained("cloud");
    let metrics = bridge.metrics();
    let small = metrics.value("rowbridge_batch_rows_bucket", &[("le", "64.0")]).unwrap();
    let all = metrics.sum("rowbridge_batch_rows_count");
    assert!(small < all, "none of {all} transactions held more than one batch");
    let ids = postgres.psql(
        &database,
        "SELECT id FROM readings UNION ALL SELECT id FROM parents UNION ALL \
         SELECT (convert_from(payload, 'UTF8')::json->>'id')::bigint FROM rowbridge_dead_letters",
    );
    Tally::of(ids.lines().map(|id| id.parse().unwrap()), 0..count).assert_each_once("Postgres");
    let refused = postgres.psql(&database, "SELECT count(*), count(DISTINCT seq) FROM rowbridge_dead_letters");
    assert_eq!(refused, format!("{0}|{0}", count / 1_000));
    let disordered = "SELECT count(*) FROM (SELECT seq, lag(seq) OVER (ORDER BY number) AS before FROM readings) AS r \
                      WHERE seq <= before";
    assert_eq!(postgres.psql(&database, disordered), "0");
}
