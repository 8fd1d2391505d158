//! `create` with a primary key and indexes, in both databases.

use crate::support::bridge::Bridge;
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{column, count, value};
use crate::support::postgres::Postgres;
use crate::support::publisher::Publisher;

/// Two rules make one table in each database, beside a table that messages name, and one of the first payload.
const RULES: &str = "
databases:
  local: { url: 'sqlite:rows.db' }
  far: { url: 'POSTGRES', schema: plant }
rules:
  - &latest
    name: latest-local
    topic: sensors/{site}/{device}
    database: local
    table: latest
    create: { primary_key: [device, n], indexes: [[site, device], seen] }
    mode: upsert
    columns: &columns
      site: topic.site
      device: topic.device
      n: { from: payload.n, type: int }
      seen: received_at
      temp: { from: payload.temp, type: real }
  - &beside
    name: beside-local
    topic: others/{site}/{device}
    database: local
    table: latest
    create: { indexes: [[seen], [temp]] }
    columns: *columns
  - &named
    name: named-local
    topic: named/{kind}
    database: local
    table: '{topic.kind}_of'
    tables: '*_of'
    create: { primary_key: n, indexes: [[kind, n]] }
    columns: { kind: topic.kind, n: { from: payload.n, type: int } }
  - &auto
    name: auto-local
    topic: auto
    database: local
    table: auto
    columns: auto
    create: { primary_key: id, indexes: [[at, id]] }
  - { <<: *latest, name: latest-far, database: far }
  - { <<: *beside, name: beside-far, database: far }
  - { <<: *named, name: named-far, database: far }
  - { <<: *auto, name: auto-far, database: far }
";

const DATABASES: [&str; 2] = ["local", "far"];

fn settle(bridge: &mut Bridge, messages: u64) {
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= messages).then_some(()));
    DATABASES.iter().for_each(|database| bridge.wait_drained(database));
}

/// Columns of a SQLite table's indexes, the primary key's among them.
fn sqlite_indexes(bridge: &Bridge, table: &str) -> Vec<String> {
    let query = "SELECT (SELECT group_concat(name, ' ') FROM (SELECT name FROM pragma_index_info(i.name) ORDER BY seqno)) AS \
                 columns FROM pragma_index_list('TABLE') i ORDER BY columns";
    column(&bridge.rows(), &query.replace("TABLE", table))
}

/// The same of Postgres.
fn postgres_indexes(postgres: &Postgres, database: &str, table: &str) -> Vec<String> {
    let query = "SELECT (SELECT string_agg(a.attname, ' ' ORDER BY k.place) FROM unnest(x.indkey::int2[]) WITH ORDINALITY k (n, place) \
                 JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.n) AS columns FROM pg_index x \
                 WHERE x.indrelid = 'plant.TABLE'::regclass ORDER BY 1";
    postgres.psql(database, &query.replace("TABLE", table)).lines().map(str::to_owned).collect()
}

#[track_caller]
fn said(bridge: &Bridge, arguments: &[&str]) -> String {
    let output = bridge.command(arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_created_table_has_the_primary_key_and_the_indexes_of_its_rules() {
    let broker = Mosquitto::start();
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    postgres.psql(&database, "CREATE SCHEMA plant");
    let mut bridge = Bridge::new(broker.port(), &RULES.replace("POSTGRES", &postgres.url(&database)));
    let explained = said(&bridge, &["explain", "sensors/a/d1", r#"{"n":1,"temp":2}"#]);
    let besides = "the primary key (device, n) and indexes on (site, device), (seen), (temp)";
    assert!(explained.contains(&format!("the first start makes it, with these types, {besides}")), "{explained}");
    assert!(explained.contains("ON CONFLICT"), "{explained}");
    let lacking = bridge.command(&["explain", "sensors/a/d1", r#"{"temp":2}"#, "--offline"]).stdout;
    assert!(String::from_utf8_lossy(&lacking).contains("required"), "{}", String::from_utf8_lossy(&lacking));
    let explained = said(&bridge, &["explain", "auto", r#"{"id":1,"at":"now"}"#]);
    assert!(explained.contains("types, the primary key (id) and an index on (at, id)"), "{explained}");
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    // What is to have an index has a value, before there is a table.
    publisher.send("auto", r#"{"id":1}"#);
    settle(&mut bridge, 1);
    for (topic, payload) in [
        ("sensors/a/d1", r#"{"n":1,"temp":1.5}"#),
        ("sensors/b/d1", r#"{"n":1,"temp":2.5}"#),
        ("sensors/b/d1", r#"{"n":2}"#),
        // Without a part of the key, which is not to become a number of the database's own.
        ("sensors/c/d1", r#"{"temp":3.5}"#),
        ("named/x", r#"{"n":null}"#),
        ("named/x", r#"{"n":7}"#),
        ("named/y", r#"{"n":8}"#),
        ("auto", r#"{"at":"now","id":2,"other":true}"#),
        ("auto", r#"{"id":3}"#),
    ] {
        publisher.send(topic, payload);
    }
    settle(&mut bridge, 10);
    // Its key is taken.
    publisher.send("others/a/d1", r#"{"n":2}"#);
    settle(&mut bridge, 11);
    let latest = ["device n", "seen", "site device", "temp"];
    assert_eq!(sqlite_indexes(&bridge, "latest"), latest);
    assert_eq!(postgres_indexes(&postgres, &database, "latest"), latest);
    assert_eq!(sqlite_indexes(&bridge, "auto"), ["at id", "id"]);
    assert_eq!(postgres_indexes(&postgres, &database, "auto"), ["at id", "id"]);
    for table in ["x_of", "y_of"] {
        assert_eq!(sqlite_indexes(&bridge, table), ["kind n", "n"]);
        assert_eq!(postgres_indexes(&postgres, &database, table), ["kind n", "n"]);
    }
    let rows = "SELECT string_agg(site || n || coalesce(temp::text, ''), ',' ORDER BY n) FROM plant.latest";
    assert_eq!(postgres.psql(&database, rows), "b12.5,b2");
    let rows = "SELECT group_concat(site || n || ifnull(temp, ''), ',') FROM (SELECT * FROM latest ORDER BY n)";
    assert_eq!(value::<String>(&bridge.rows(), rows), "b12.5,b2");
    let letters = "SELECT string_agg(rule || ' ' || reason, ',' ORDER BY seq) FROM plant.rowbridge_dead_letters";
    let expected = "auto-L no_column,latest-L required,named-L required,beside-L constraint";
    assert_eq!(postgres.psql(&database, letters), expected.replace('L', "far"));
    let letters =
        "SELECT group_concat(rule || ' ' || reason, ',') FROM (SELECT * FROM rowbridge_dead_letters ORDER BY seq)";
    assert_eq!(value::<String>(&bridge.rows(), letters), expected.replace('L', "local"));
    assert_eq!(
        (count(&bridge.rows(), "auto"), postgres.psql(&database, "SELECT count(*) FROM plant.auto")),
        (2, "2".into())
    );
    // The tables are as `create` says.
    let checked = said(&bridge, &["check"]);
    assert!(!checked.contains("as `create` names"), "{checked}");
    // The next start finds them.
    bridge.kill();
    bridge.start();
    publisher.send("sensors/z/d1", r#"{"n":2}"#);
    settle(&mut bridge, 12);
    assert_eq!(sqlite_indexes(&bridge, "latest"), latest);
    assert_eq!(value::<String>(&bridge.rows(), "SELECT site FROM latest WHERE n = 2"), "z");
}

/// Nothing of it is altered; `check` tells what it lacks, and the SQL that it shows is right.
#[test]
fn a_table_that_is_there_is_left_as_it_is_and_check_shows_what_it_lacks() {
    let broker = Mosquitto::start();
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    let table =
        "CREATE TABLE latest (site text, device text, n int, seen TIMESTAMP, temp real, PRIMARY KEY (device, n));";
    let made =
        format!("CREATE SCHEMA plant; SET search_path = plant; {table} CREATE INDEX part ON latest (seen) WHERE n > 0");
    postgres.psql(&database, &made);
    let mut bridge = Bridge::new(broker.port(), &RULES.replace("POSTGRES", &postgres.url(&database)));
    let file = rusqlite::Connection::open(bridge.rows()).unwrap();
    // The index has its name, and is of another table: both find a name of their own.
    let other = "CREATE TABLE auto (id INTEGER, at TEXT); CREATE INDEX x_of_kind_n_idx ON auto (at, id)";
    file.execute_batch(&format!("{table} CREATE INDEX long ON latest (seen, n); {other}")).unwrap();
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    publisher.send("sensors/a/d1", r#"{"n":1,"temp":1.5}"#);
    publisher.send("named/x", r#"{"n":1}"#);
    settle(&mut bridge, 2);
    assert_eq!(sqlite_indexes(&bridge, "latest"), ["device n", "seen n"]);
    assert_eq!(postgres_indexes(&postgres, &database, "latest"), ["device n", "seen"]);
    assert_eq!(sqlite_indexes(&bridge, "x_of"), ["kind n", "n"]);
    let checked = said(&bridge, &["check"]);
    for lacking in [
        "table latest has no index on (site, device)",
        "CREATE INDEX \"latest_site_device_idx\" ON \"latest\" (\"site\", \"device\");",
        "CREATE INDEX \"latest_temp_idx\" ON \"latest\" (\"temp\");",
        "CREATE INDEX CONCURRENTLY ON \"plant\".\"latest\" (\"site\", \"device\");",
        "CREATE INDEX CONCURRENTLY ON \"plant\".\"latest\" (\"seen\");",
        "table auto has no primary key, and `create` names (id)",
    ] {
        assert!(checked.contains(lacking), "{lacking} in:\n{checked}");
    }
    assert_eq!(checked.matches("no index on (seen)").count(), 1, "{checked}");
    let statements = checked.lines().filter_map(|line| Some(&line[line.find("CREATE INDEX")?..]));
    let (far, local): (Vec<&str>, Vec<&str>) = statements.partition(|statement| statement.contains("CONCURRENTLY"));
    assert_eq!((local.len(), far.len()), (2, 3), "{checked}");
    local.iter().for_each(|statement| file.execute_batch(statement).unwrap());
    far.iter().for_each(|statement| drop(postgres.psql(&database, statement)));
    let checked = said(&bridge, &["check"]);
    assert!(!checked.contains("has no index"), "{checked}");
}

/// The SQL for an administrator makes what the bridge would make.
#[test]
fn the_printed_sql_makes_the_same_tables() {
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    // Two tables whose indexes would have one name.
    let clash = "  - { topic: a, database: local, table: a_b, create: { indexes: c }, columns: { c: qos } }
  - { topic: a, database: local, table: a, create: { indexes: [[b, c]] }, columns: { b: qos, c: qos } }\n";
    let bridge = Bridge::bare(&(RULES.replace("POSTGRES", &postgres.url(&database)) + clash));
    let [local, far] = DATABASES.map(|name| said(&bridge, &["schema", "sql", "--database", name]));
    assert!(local.contains("-- It needs the primary key (id) and an index on (at, id)."), "{local}");
    assert!(
        local.contains("messages name its tables")
            && local.contains("\n-- CREATE INDEX \"{topic.kind}_of_kind_n_idx\""),
        "{local}"
    );
    rusqlite::Connection::open(bridge.rows()).unwrap().execute_batch(&local).unwrap();
    postgres.psql(&database, &far);
    let latest = ["device n", "seen", "site device", "temp"];
    assert_eq!(sqlite_indexes(&bridge, "latest"), latest);
    assert_eq!(postgres_indexes(&postgres, &database, "latest"), latest);
    assert_eq!(sqlite_indexes(&bridge, "a"), ["b c"]);
    assert_eq!(sqlite_indexes(&bridge, "a_b"), ["c"]);
}
