//! Types that are changed in both directions under load, for every ordered pair of each group whose values the types share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio_postgres::{Client, NoTls};

use crate::support::bridge::Bridge;
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::postgres::Postgres;
use crate::support::publisher::Publisher;
use crate::support::{PATIENCE, wait_for};

/// A type, how its values are written in the form that its group shares, and how they are made of that.
struct Kind {
    name: &'static str,
    shown: &'static str,
    made: &'static str,
}

const fn kind(name: &'static str, shown: &'static str, made: &'static str) -> Kind {
    Kind { name, shown, made }
}

/// Types between which values go without loss.
struct Group {
    table: &'static str,
    kinds: &'static [Kind],
    /// The value of a message in JSON.
    json: fn(u64) -> String,
    /// The same in the form shared.
    shared: fn(u64) -> String,
}

/// Between two rounds of a message for each group: with all there is, the tables would grow so large that ALTER takes long.
const ROUND: Duration = Duration::from_millis(4);

const NUMBER: &str = "trim_scale(v::text::numeric)::text";
const JSON_TEXT: &str = "v #>> '{}'";
const UTC: &str = "to_char(v AT TIME ZONE 'UTC', 'YYYY-MM-DD')";

const GROUPS: &[Group] = &[
    Group {
        table: "numbers",
        kinds: &[
            kind("int2", NUMBER, "$::int2"),
            kind("int4", NUMBER, "$::int4"),
            kind("int8", NUMBER, "$::int8"),
            kind("float4", NUMBER, "$::float4"),
            kind("float8", NUMBER, "$::float8"),
            kind("numeric", NUMBER, "$::numeric"),
            kind("numeric(9,3)", NUMBER, "$::numeric"),
            kind("small", NUMBER, "$::int"),
            kind("text", NUMBER, "$"),
            kind("varchar(8)", NUMBER, "$"),
            kind("jsonb", NUMBER, "$::jsonb"),
            kind("json", NUMBER, "$::json"),
        ],
        json: |n| (n % 1000).to_string(),
        shared: |n| (n % 1000).to_string(),
    },
    Group {
        table: "words",
        kinds: &[
            kind("text", "v", "$"),
            kind("varchar(5)", "v", "$"),
            kind("mood", "v::text", "$::mood"),
            kind("bytea", "convert_from(v, 'UTF8')", "convert_to($, 'UTF8')"),
            kind("jsonb", JSON_TEXT, "to_jsonb($)"),
            kind("json", JSON_TEXT, "to_json($)"),
        ],
        json: |n| format!("\"{}\"", word(n)),
        shared: |n| word(n).to_owned(),
    },
    Group {
        table: "truths",
        kinds: &[
            kind("bool", "v::text", "$::bool"),
            kind("text", "v", "$"),
            kind("jsonb", "v::text", "$::jsonb"),
            kind("int4", "(v = 1)::text", "$::bool::int"),
        ],
        json: |n| (n % 2 == 0).to_string(),
        shared: |n| (n % 2 == 0).to_string(),
    },
    Group {
        table: "days",
        kinds: &[
            kind("timestamptz", UTC, "($ || 'T00:00:00Z')::timestamptz"),
            kind("timestamp", "to_char(v, 'YYYY-MM-DD')", "$::timestamp"),
            kind("date", "to_char(v, 'YYYY-MM-DD')", "$::date"),
            kind("text", "left(v, 10)", "$ || 'T00:00:00Z'"),
        ],
        json: |n| format!("\"{}T00:00:00Z\"", day(n)),
        shared: day,
    },
    Group {
        table: "others",
        kinds: &[kind("uuid", "v::text", "$::uuid"), kind("text", "v", "$"), kind("jsonb", JSON_TEXT, "to_jsonb($)")],
        json: |n| format!("\"{}\"", uuid(n)),
        shared: uuid,
    },
    Group {
        table: "addresses",
        kinds: &[kind("inet", "host(v)", "$::inet"), kind("text", "v", "$"), kind("cidr", "host(v)", "$::cidr")],
        json: |n| format!("\"10.0.0.{}\"", n % 250),
        shared: |n| format!("10.0.0.{}", n % 250),
    },
    Group {
        table: "spans",
        kinds: &[
            kind("interval", "extract(epoch FROM v)::int::text", "($ || ' s')::interval"),
            kind("text", "translate(v, 'PTS', '')", "'PT' || $ || 'S'"),
        ],
        json: |n| format!("\"PT{}S\"", n % 50),
        shared: |n| (n % 50).to_string(),
    },
    Group {
        table: "hours",
        kinds: &[kind("time", "to_char(v, 'HH24:MI:SS')", "$::time"), kind("text", "v", "$")],
        json: |n| format!("\"{:02}:30:00\"", n % 24),
        shared: |n| format!("{:02}:30:00", n % 24),
    },
    Group {
        table: "lists",
        kinds: &[
            kind("int4[]", "array_to_string(v, ',')", "string_to_array($, ',')::int4[]"),
            kind("int8[]", "array_to_string(v, ',')", "string_to_array($, ',')::int8[]"),
            kind("text[]", "array_to_string(v, ',')", "string_to_array($, ',')"),
            kind("jsonb", "translate(v::text, '[] ', '')", "('[' || $ || ']')::jsonb"),
        ],
        json: |n| format!("[{},{}]", n % 9, n % 7),
        shared: |n| format!("{},{}", n % 9, n % 7),
    },
];

fn word(n: u64) -> &'static str {
    ["ok", "bad", "odd"][n as usize % 3]
}

fn day(n: u64) -> String {
    format!("2026-{:02}-{:02}", 1 + n % 12, 1 + n % 28)
}

fn uuid(n: u64) -> String {
    format!("123e4567-e89b-12d3-a456-{n:012}")
}

/// From each type to every later one and back, then on to the next: every ordered pair.
fn route(count: usize) -> impl Iterator<Item = usize> {
    (0..count).flat_map(move |one| {
        (one + 1..count).flat_map(move |other| [other, one]).chain((one + 1 < count).then_some(one + 1))
    })
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Goes the whole route, and waits at each type until rows of it have come. Returns the changes made.
async fn alter(group: &Group, url: &str) -> usize {
    let client = connect(url).await;
    let table = group.table;
    let (mut at, mut changes) = (0, 0);
    let newest = format!("SELECT coalesce(max(id), 0) FROM {table}");
    let newest = async || client.query_one(&newest, &[]).await.unwrap().get::<_, i64>(0);
    for next in route(group.kinds.len()) {
        let seen = newest().await;
        let (old, new) = (&group.kinds[at], &group.kinds[next]);
        let value = new.made.replace('$', &format!("({})", old.shown));
        let alter = format!("ALTER TABLE {table} ALTER v TYPE {} USING {value}", new.name);
        client.batch_execute(&alter).await.unwrap_or_else(|error| panic!("{alter}: {error:?}"));
        let begun = std::time::Instant::now();
        while newest().await <= seen {
            assert!(begun.elapsed() < PATIENCE, "{table}: no row after {alter}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        (at, changes) = (next, changes + 1);
    }
    changes
}

/// What is wrong in a table when all is delivered; and how many rows there are.
async fn check(group: &Group, url: &str, published: u64) -> usize {
    let client = connect(url).await;
    // The route ends at the last type.
    let shown = group.kinds.last().unwrap().shown;
    let rows = client.query(&format!("SELECT id, {shown} FROM {} ORDER BY id", group.table), &[]).await.unwrap();
    let rows: Vec<(i64, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let expected: Vec<(i64, String)> = (1..=published).map(|n| (n as i64, (group.shared)(n))).collect();
    for (found, expected) in rows.iter().zip(&expected) {
        assert_eq!(found, expected, "{}", group.table);
    }
    assert_eq!(rows.len(), expected.len(), "{}", group.table);
    rows.len()
}

#[test]
fn types_that_change_under_load_in_every_direction_leave_every_row_right() {
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    postgres.psql(
        &database,
        &format!(
            "ALTER DATABASE {database} SET timezone = 'Asia/Kolkata'; CREATE DOMAIN small AS int CHECK (VALUE < 1000);
             CREATE TYPE mood AS ENUM ('ok', 'bad', 'odd')"
        ),
    );
    let mut rules = String::new();
    for Group { table, kinds, .. } in GROUPS {
        postgres.psql(&database, &format!("CREATE TABLE {table} (id int8, v {})", kinds[0].name));
        rules += &format!("  - {{ name: {table}, topic: 'g/{table}', table: {table}, columns: auto }}\n");
    }
    let broker = Mosquitto::with(DEEP_QUEUE);
    let url = postgres.url(&database);
    let mut bridge =
        Bridge::new(broker.port(), &format!("databases: {{ cloud: {{ url: '{url}' }} }}\nrules:\n{rules}"));
    bridge.start();

    let stop = Arc::new(AtomicBool::new(false));
    let load = {
        let (stop, port) = (Arc::clone(&stop), broker.port());
        thread::spawn(move || {
            let mut publisher = Publisher::new(port);
            (1..).take_while(|_| !stop.load(Ordering::Relaxed)).fold(0, |_, n| {
                for Group { table, json, .. } in GROUPS {
                    publisher.send(&format!("g/{table}"), format!(r#"{{"id":{n},"v":{}}}"#, json(n)));
                }
                thread::sleep(ROUND);
                n
            })
        })
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let changes = runtime.block_on(futures_util::future::join_all(GROUPS.iter().map(|group| alter(group, &url))));
    stop.store(true, Ordering::Relaxed);
    let published: u64 = load.join().unwrap();
    wait_for("all is journaled", || (bridge.journaled() == published * GROUPS.len() as u64).then_some(()));
    bridge.wait_drained("cloud");
    let letters = "SELECT coalesce(string_agg(DISTINCT rule || ': ' || error, '; '), '') FROM rowbridge_dead_letters";
    assert_eq!(postgres.psql(&database, letters), "");
    let checks = futures_util::future::join_all(GROUPS.iter().map(|group| check(group, &url, published)));
    let rows: usize = runtime.block_on(checks).into_iter().sum();
    println!("{rows} rows right after {} changes", changes.iter().sum::<usize>());
}
