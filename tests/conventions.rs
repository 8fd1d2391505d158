//! Payloads and topics as other systems' users send them, read back from both databases.

use crate::support::bridge::Bridge;
use crate::support::mosquitto::Mosquitto;
use crate::support::mqtt::Outgoing;
use crate::support::oracle::column;
use crate::support::postgres::Postgres;
use crate::support::publisher::Publisher;

/// A bridge into both databases, with the tables of `sqlite` and `postgres`; `rule` has DATABASE in it.
fn started(broker: &Mosquitto, postgres: &Postgres, rule: &str, sqlite: &str, tables: &str) -> (Bridge, String) {
    let database = postgres.create_database();
    postgres.psql(&database, tables);
    let url = postgres.url(&database);
    let rules = [("local", rule), ("far", rule)].map(|(name, rule)| rule.replace("DATABASE", name)).concat();
    let body = format!("databases:\n  local: {{ url: 'sqlite:rows.db' }}\n  far: {{ url: '{url}' }}\nrules:\n{rules}");
    let mut bridge = Bridge::new(broker.port(), &body);
    rusqlite::Connection::open(bridge.rows()).unwrap().execute_batch(sqlite).unwrap();
    bridge.start();
    (bridge, database)
}

fn settle(bridge: &mut Bridge, messages: u64) {
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= messages).then_some(()));
    bridge.wait_drained("local");
    bridge.wait_drained("far");
}

#[test]
fn joinbase_tables_are_named_by_topic_property_or_alias() {
    let broker = Mosquitto::start();
    let postgres = Postgres::shared();
    let rule = "  - name: joinbase-DATABASE\n    topic: ['/+/+', 'edge/#', 'other']\n    database: DATABASE\n    convention: joinbase\n    \
                table_aliases: { edge/1/deep: abc.sensors }\n";
    let sqlite = "CREATE TABLE sensors (ts TIMESTAMP, id BIGINT, name TEXT)";
    let tables = "CREATE SCHEMA abc; CREATE TABLE abc.sensors (ts timestamptz, id bigint, name text)";
    let (mut bridge, database) = started(&broker, &postgres, rule, sqlite, tables);
    let mut publisher = Publisher::new(broker.port());
    publisher.send("/abc/sensors", r#"{"id":9007199254740993,"ts":1636666666,"name":"object"}"#);
    publisher.send("/abc/sensors", r#"[{"id":2,"name":"array","ts":"2021-11-11T22:37:48+01:00"},{"name":"array","id":3,"ts":"2021-11-11 21:37:49"}]"#);
    publisher.send("/abc/sensors", "1636666666,4,csv\n1636666667,5,\"c,v\"\n");
    publisher.publish(
        &Outgoing::new("other", r#"{"id":6,"name":"property"}"#)
            .property("joinbase.Database", "abc")
            .property("JoinBase.table", "sensors"),
    );
    publisher.send("edge/1/deep", r#"{"id":7,"name":"alias"}"#);
    publisher.send("/abc/nowhere", r#"{"id":8}"#);
    publisher.send("edge/2", r#"{"id":8}"#);
    // What a property names wins over the alias, and does not take its place for others.
    let named = Outgoing::new("edge/1/deep", r#"{"id":8}"#).property("JoinBase.database", "abc");
    publisher.publish(&named.property("JoinBase.table", "nowhere"));
    publisher.publish(&Outgoing::new("edge/9", r#"{"id":8}"#).property("JoinBase.table", "nowhere"));
    settle(&mut bridge, 9);
    let expected = ["9007199254740993 object", "2 array", "3 array", "4 csv", "5 c,v", "6 property", "7 alias"];
    let rows = "SELECT id || ' ' || name FROM";
    assert_eq!(column::<String>(&bridge.rows(), &format!("{rows} sensors ORDER BY rowid")), expected);
    assert_eq!(postgres.psql(&database, &format!("{rows} abc.sensors ORDER BY ctid")), expected.join("\n"));
    let times = "SELECT ts FROM sensors WHERE ts IS NOT NULL ORDER BY rowid";
    let of = |seconds: &str| format!("2021-11-11T21:37:{seconds}.000Z");
    assert_eq!(column::<String>(&bridge.rows(), times), ["46", "48", "49", "46", "47"].map(of));
    let times = "SELECT extract(epoch FROM ts)::bigint FROM abc.sensors WHERE ts IS NOT NULL ORDER BY ctid";
    assert_eq!(postgres.psql(&database, times), "1636666666\n1636666668\n1636666669\n1636666666\n1636666667");
    let letters = "SELECT topic || ' ' || reason FROM rowbridge_dead_letters ORDER BY seq";
    let expected = ["/abc/nowhere no_table", "edge/2 no_table", "edge/1/deep no_table", "edge/9 no_table"];
    assert_eq!(column::<String>(&bridge.rows(), letters), expected);
    assert_eq!(postgres.psql(&database, letters), expected.join("\n"));
}

#[test]
fn machbase_payloads_come_in_every_shape_of_its_topics_and_properties() {
    let broker = Mosquitto::start();
    let postgres = Postgres::shared();
    let rule = "  - name: machbase-DATABASE\n    topic: db/#\n    database: DATABASE\n    convention: machbase\n    tables: [example, EXAMPLE]\n";
    let columns = "(name text, time TIME, value double precision)";
    let table = |time: &str| format!("CREATE TABLE example {}", columns.replace("TIME", time));
    let (mut bridge, database) = started(&broker, &postgres, rule, &table("BIGINT"), &table("bigint"));
    let mut publisher = Publisher::new(broker.port());
    publisher.send("db/append/EXAMPLE", r#"["array",1670380342000000001,1.5]"#);
    publisher.send("db/append/EXAMPLE:json", r#"[["arrays",1670380342000000001,2],["arrays",1670380342000000002,3]]"#);
    publisher.send(
        "db/write/example",
        r#"{"data":{"columns":["VALUE","NAME","TIME"],"rows":[[4,"columns",1670380342000000003]]}}"#,
    );
    publisher.send("db/write/example", r#"{"NAME":"object","TIME":5,"VALUE":5}"#);
    publisher.send("db/append/EXAMPLE:csv", "csv,6,6.5\ncsv,7,NULL\n");
    publisher.send(
        "db/write/EXAMPLE:ndjson",
        "{\"name\":\"lines\",\"time\":8,\"value\":8}\n{\"value\":9,\"name\":\"lines\",\"x\":0}\n",
    );
    publisher.publish(
        &Outgoing::new("db/write/EXAMPLE", "value;name;time\n10;header;10\n")
            .property("format", "csv")
            .property("header", "columns")
            .property("delimiter", ";"),
    );
    publisher.send("db/metrics/EXAMPLE", "ilp speed=1.2345,state=\"on\",rpm=11i,ok=t 1732742196000000000\n");
    publisher.send("db/metrics/EXAMPLE", "ilp state=\"off\" 1732742196000000001\n");
    publisher.send("db/append/EXAMPLE:xml", "<x/>");
    publisher.send("db/append/OTHER", "[]");
    settle(&mut bridge, 11);
    let expected = [
        "array 1670380342000000001 1.5",
        "arrays 1670380342000000001 2",
        "arrays 1670380342000000002 3",
        "columns 1670380342000000003 4",
        "object 5 5",
        "csv 6 6.5",
        "csv 7 -",
        "lines 8 8",
        "lines - 9",
        "header 10 10",
        "ilp.speed 1732742196000000000 1.2345",
        "ilp.rpm 1732742196000000000 11",
    ];
    let rows = "SELECT name || ' ' || coalesce(CAST(time AS text), '-') || ' ' || coalesce(CAST(value AS text), '-') FROM example ORDER BY";
    let found: Vec<String> = column(&bridge.rows(), &format!("{rows} rowid"));
    let found: Vec<&str> = found.iter().map(|row| row.strip_suffix(".0").unwrap_or(row)).collect();
    assert_eq!(found, expected);
    assert_eq!(postgres.psql(&database, &format!("{rows} ctid")), expected.join("\n"));
    let letters = "SELECT topic || ' ' || reason FROM rowbridge_dead_letters ORDER BY seq";
    let refused = ["db/append/EXAMPLE:xml no_table", "db/append/OTHER no_table"];
    assert_eq!(column::<String>(&bridge.rows(), letters), refused);
    assert_eq!(postgres.psql(&database, letters), refused.join("\n"));
}

/// Into time columns; and Machbase's writing descriptor, which says the same in the configuration.
#[test]
fn times_are_nanoseconds_unless_the_message_or_the_descriptor_says_otherwise() {
    let broker = Mosquitto::start();
    let postgres = Postgres::shared();
    let rule = "  - name: machbase-DATABASE\n    topic: db/#\n    database: DATABASE\n    convention: machbase\n  - name: into-DATABASE\n    \
                topic: iot/sensor\n    database: DATABASE\n    into: \"db/append/EXAMPLE:csv?timeformat=2006-01-02 \
                15:04:05&tz=Asia/Seoul&heading=true\"\n";
    let table = |time: &str| format!("CREATE TABLE example (name text, time {time}, value double precision)");
    let (mut bridge, database) = started(&broker, &postgres, rule, &table("TIMESTAMP"), &table("timestamptz"));
    let mut publisher = Publisher::new(broker.port());
    publisher.send("db/append/EXAMPLE", r#"["ns",1670380342000001000,1]"#);
    publisher.publish(&Outgoing::new("db/append/EXAMPLE", r#"["s",1670380342,1]"#).property("timeformat", "s"));
    publisher.publish(
        &Outgoing::new("db/append/EXAMPLE", r#"["text","2022-12-07 11:32:22",1]"#)
            .property("timeformat", "Default")
            .property("tz", "Asia/Seoul"),
    );
    publisher.send("iot/sensor", "name,time,value\ninto,2022-12-07 11:32:22,1\n");
    settle(&mut bridge, 4);
    let sqlite: Vec<String> = column(&bridge.rows(), "SELECT name || ' ' || time FROM example ORDER BY rowid");
    assert_eq!(sqlite, ["ns", "s", "text", "into"].map(|name| format!("{name} 2022-12-07T02:32:22.000Z")));
    let rows = "SELECT name || ' ' || (extract(epoch FROM time) * 1000000)::bigint FROM example ORDER BY ctid";
    let expected =
        ["ns 1670380342000001", "s 1670380342000000", "text 1670380342000000", "into 1670380342000000"].join("\n");
    assert_eq!(postgres.psql(&database, rows), expected);
}

/// A rule for all topics meets the answers to its own messages, and the requests of queries.
#[test]
fn answers_and_requests_of_queries_are_no_rows() {
    let broker = Mosquitto::start();
    let postgres = Postgres::shared();
    let rule = "  - { name: machbase-DATABASE, topic: db/#, database: DATABASE, convention: machbase, reply: true }\n";
    let table = "CREATE TABLE example (name text, time bigint, value double precision)";
    let (mut bridge, _) = started(&broker, &postgres, rule, table, table);
    let mut publisher = Publisher::new(broker.port());
    publisher.publish(&Outgoing::new("db/write/example", r#"["a",1,1.5]"#).property("reply", "db/reply/me"));
    publisher.send("db/query", r#"{"q":"select 1"}"#);
    // Both, and the answer.
    settle(&mut bridge, 3);
    let filtered = |bridge: &Bridge| bridge.status()["rules"][0]["filtered"].as_u64();
    bridge.wait_alive("the answer was taken", |bridge| (filtered(bridge)? == 2).then_some(()));
    let status = bridge.status();
    assert_eq!(status["rules"][0]["dead_lettered"], 0, "{status}");
    assert_eq!(status["rules"][0]["written"], 1, "{status}");
}

/// As Go's `time.Parse` reads them; and what is no usable form.
#[test]
fn times_by_layouts_of_go_are_the_instants_that_go_reads() {
    let broker = Mosquitto::start();
    let postgres = Postgres::shared();
    let rule = "  - { name: machbase-DATABASE, topic: db/#, database: DATABASE, convention: machbase }\n";
    let table = |time: &str| format!("CREATE TABLE example (name text, time {time}, value double precision)");
    let (mut bridge, database) = started(&broker, &postgres, rule, &table("TIMESTAMP"), &table("timestamptz"));
    let mut publisher = Publisher::new(broker.port());
    let cases = [
        ("2006-01-02 15:04 -07", "2022-12-07 11:32 -07", "18:32:00.000"),
        ("2006-01-02 15:04 -07", "2022-12-07 11:32 +09", "02:32:00.000"),
        ("2006-01-02T15:04:05Z07:00", "2022-12-07T11:32:22Z", "11:32:22.000"),
        ("2006-01-02T15:04:05Z07:00", "2022-12-07T11:32:22+09:00", "02:32:22.000"),
        ("2006-01-02T15:04:05Z0700", "2022-12-07T11:32:22+0900", "02:32:22.000"),
        ("2006-01-02T15:04Z07", "2022-12-07T11:32Z", "11:32:00.000"),
        ("02.01.2006 15:04", "07.12.2022 11:32", "11:32:00.000"),
        ("2006.01.02 15:04:05", "2022.12.07 11:32:22.123", "11:32:22.123"),
        ("2006-01-02 15:04:05,000", "2022-12-07 11:32:22,123", "11:32:22.123"),
    ];
    for (layout, text, _) in cases {
        let payload = format!(r#"["go","{text}",1]"#);
        publisher.publish(&Outgoing::new("db/write/example", payload).property("timeformat", layout));
    }
    for (layout, text) in [("2006-01-02 05", "2022-12-07 22"), ("Stamp", "Dec  7 11:32:22")] {
        let payload = format!(r#"["go","{text}",1]"#);
        publisher.publish(&Outgoing::new("db/write/example", payload).property("timeformat", layout));
    }
    publisher.publish(&Outgoing::new("db/write/example", r#"["x",1,1]"#).property("method", "delete"));
    publisher.send("db/write/example", r#"{"data":{"columns":["NAME","name"],"rows":[["a","b"]]}}"#);
    settle(&mut bridge, 13);
    let expected = cases.map(|(.., time)| format!("2022-12-07T{time}Z"));
    assert_eq!(column::<String>(&bridge.rows(), "SELECT time FROM example ORDER BY rowid"), expected);
    let shown =
        "SELECT to_char(time AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') FROM example ORDER BY ctid";
    assert_eq!(postgres.psql(&database, shown), expected.join("\n"));
    let letters = "SELECT group_concat(reason, ' ') FROM rowbridge_dead_letters";
    assert_eq!(column::<String>(&bridge.rows(), letters), ["no_table no_table no_table value"]);
}
