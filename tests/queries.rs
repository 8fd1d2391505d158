//! Queries over MQTT through the real binary: Machbase's walk, our own queries, and requests that mean harm.

use std::io::Write;
use std::process::{Command, Stdio};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::bridge::Bridge;
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::oracle::Tally;
use crate::support::pgbouncer::PgBouncer;
use crate::support::postgres::Postgres;
use crate::support::process::program;
use crate::support::publisher::{Load, reading};
use crate::support::subscriber::Subscriber;
use crate::support::wait_for;

/// With more time than a statement takes here beside the other tests.
const MACHBASE: &str =
    "  - { name: machbase, convention: machbase, allow_sql: read_only, database: local, timeout: 30s }\n";

/// Beside the queries: a stream of readings.
fn body(url: &str, queries: &str) -> String {
    format!(
        "databases:\n  local: {{ url: '{url}' }}\nrules:\n  - {{ topic: 'sensors/#', table: readings, create: true, columns: {{ \
         id: {{ from: payload.id, type: bigint }} }} }}\nqueries:\n{queries}"
    )
}

const SQLITE_EXAMPLE: &str =
    "CREATE TABLE example (name VARCHAR(20), time TIMESTAMP, value DOUBLE, n BIGINT, d DECIMAL_TEXT(30,2), \
     ok BOOLEAN, j JSON, b BLOB);
     INSERT INTO example VALUES
     ('a', '2026-11-28T22:10:00.500Z', 1.256, 9007199254740993, '12345678901234567890.10', 1, '{\"k\":[1]}', x'00ff'),
     ('b', '2026-11-28T22:10:01.000Z', 2.5, NULL, NULL, NULL, NULL, NULL);";
const POSTGRES_EXAMPLE: &str = "CREATE TABLE example (name varchar(20), time timestamptz, value double precision, n bigint, \
     d numeric(30,2), ok boolean, j json, b bytea);
     INSERT INTO example VALUES
     ('a', '2026-11-28T22:10:00.500Z', 1.256, 9007199254740993, '12345678901234567890.10', true, '{\"k\":[1]}', '\\x00ff'),
     ('b', '2026-11-28T22:10:01.000Z', 2.5, NULL, NULL, NULL, NULL, NULL);";

/// A bridge with queries, which takes requests.
fn start(broker: &Mosquitto, mqtt: &str, url: &str, queries: &str, filter: &str) -> Bridge {
    let mut bridge = Bridge::with_mqtt(broker.port(), mqtt, &body(url, queries));
    if url.starts_with("sqlite") {
        Connection::open(bridge.rows()).unwrap().execute_batch(SQLITE_EXAMPLE).unwrap();
    }
    bridge.start();
    wait_for("requests are taken", || broker.log().contains(&format!("{filter} (QoS 1)")).then_some(()));
    bridge
}

fn on_postgres(postgres: &Postgres) -> String {
    let database = postgres.create_database();
    postgres.psql(&database, POSTGRES_EXAMPLE);
    postgres.url(&database)
}

fn publish(broker: &Mosquitto, topic: &str, payload: &str, arguments: &[&str]) {
    let mut command = Command::new(program("mosquitto_pub"));
    command.args(["-h", "127.0.0.1", "-p", &broker.port().to_string(), "-q", "1", "-t", topic]).args(arguments);
    if !arguments.contains(&"-l") {
        // It takes nothing of its standard input for a mistake.
        command.arg(if payload.is_empty() { "-n" } else { "-s" });
    }
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    if !payload.is_empty() {
        child.stdin.take().unwrap().write_all(payload.as_bytes()).unwrap();
    }
    assert!(child.wait().unwrap().success());
}

/// A client that reads answers on a topic and asks one thing after the other.
struct Asker<'b> {
    broker: &'b Mosquitto,
    subscriber: Subscriber,
    heard: usize,
}

impl<'b> Asker<'b> {
    fn new(broker: &'b Mosquitto, reply: &str) -> Asker<'b> {
        Asker { broker, subscriber: Subscriber::with(broker.port(), reply, &["-V", "5", "-F", "%p"]), heard: 0 }
    }

    fn ask(&mut self, topic: &str, payload: &str) -> String {
        publish(self.broker, topic, payload, &[]);
        self.heard += 1;
        self.subscriber.wait_for(self.heard).pop().unwrap()
    }

    fn ask_json(&mut self, topic: &str, payload: &str) -> Value {
        let answer = self.ask(topic, payload);
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{payload}: {answer}: {error}"))
    }
}

fn unhex(digits: &str) -> String {
    let bytes = (0..digits.len() / 2).map(|index| u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).unwrap());
    String::from_utf8(bytes.collect()).unwrap()
}

fn machbases_walk(mqtt: &str, url: &str) {
    let broker = Mosquitto::start();
    let bridge = start(&broker, mqtt, url, MACHBASE, "db/query");
    let mut asker = Asker::new(&broker, "db/reply");
    let answer = asker.ask_json("db/query", r#"{"q":"select name, time, value from EXAMPLE order by time"}"#);
    assert_eq!((answer["success"].clone(), answer["reason"].clone()), (json!(true), json!("success")), "{answer}");
    assert!(answer["elapse"].as_str().unwrap().ends_with("ms"));
    assert_eq!(answer["data"]["columns"], json!(["name", "time", "value"]));
    assert_eq!(answer["data"]["types"], json!(["string", "datetime", "double"]));
    let rows = json!([["a", 1_795_903_800_500_000_000_i64, 1.256], ["b", 1_795_903_801_000_000_000_i64, 2.5]]);
    assert_eq!(answer["data"]["rows"], rows);

    let mut data = |options: &str| {
        let request = format!(r#"{{"q":"select name, time, value from example where name = ?","p":["a"],{options}}}"#);
        asker.ask_json("db/query", &request)["data"].clone()
    };
    assert_eq!(data(r#""timeformat":"ms""#)["rows"], json!([["a", 1_795_903_800_500_i64, 1.256]]));
    let zoned = data(r#""timeformat":"2006-01-02 15:04:05","tz":"Asia/Seoul""#);
    assert_eq!(zoned["rows"][0][1], json!("2026-11-29 07:10:00"));
    assert_eq!(data(r#""rownum":true,"precision":1"#)["rows"][0][0], json!(1));
    assert_eq!(data(r#""precision":1"#)["rows"][0][2], json!(1.3));
    assert_eq!(data(r#""transpose":true"#)["cols"][0], json!(["a"]));
    assert_eq!(data(r#""rowsFlatten":true"#)["rows"].as_array().unwrap().len(), 3);
    assert_eq!(data(r#""rowsArray":true"#)["rows"][0]["name"], json!("a"));

    let texts = Subscriber::with(broker.port(), "db/reply/csv", &["-V", "5", "-F", "%x"]);
    let csv = r#"{"q":"select name, value from example where name = 'a'","format":"csv","reply":"db/reply/csv""#;
    publish(&broker, "db/query", &format!(r#"{csv},"header":"skip"}}"#), &[]);
    assert_eq!(unhex(&texts.wait_for(1)[0]), "a,1.256\n");
    publish(&broker, "db/query", &format!("{csv}}}"), &[]);
    assert_eq!(unhex(&texts.wait_for(2)[1]), "name,value\na,1.256\n");

    let elsewhere = Subscriber::with(broker.port(), "db/reply/1", &["-V", "5", "-F", "%x"]);
    publish(&broker, "db/query", r#"{"q":"select 1","reply":"db/reply/1","compress":"gzip"}"#, &[]);
    assert!(elsewhere.wait_for(1)[0].starts_with("1f8b"), "it is gzip");

    // Counted behind the answer.
    let counted = json!([{ "name": "machbase", "answered": 11, "refused": 0 }]);
    wait_for("the answers are counted", || (bridge.status()["queries"] == counted).then_some(()));
    let metrics = bridge.get("/metrics").unwrap().body;
    assert!(metrics.contains(r#"rowbridge_queries_total{name="machbase",outcome="answered"} 11"#), "{metrics}");
}

#[test]
fn machbases_client_asks_on_db_query_and_reads_db_reply() {
    machbases_walk("", "sqlite:rows.db");
    machbases_walk("version: 3.1.1", "sqlite:rows.db");
    machbases_walk("", &on_postgres(&Postgres::shared()));
}

const OURS: &str = "
  - name: latest
    topic: query/{device}
    sql: select * from example where name = :device and (value < :limit or :limit is null) order by time desc limit :n
    parameters:
      device: topic.device
      n: { from: payload.n, type: int, default: 10 }
      limit: { from: [property.limit, payload.limit], type: double, default: null }
    reply: answers/{topic.device}
  - { name: lines, topic: lines, sql: 'select name, n from example order by name', format: ndjson, reply: a/lines, time: s }
  - { name: rows, topic: rows, sql: 'select name, time from example order by name', format: rows, reply: a/rows, time: ms }
  - { name: csv, topic: csv, sql: 'select name, n from example order by name', format: csv, reply: a/csv }
  - { name: strict, topic: strict, sql: 'select name from example where n = :n', parameters: { n: { from: payload.n, type: int } }, reply: a/strict }
  - { name: few, topic: few, sql: 'select name from example', max_rows: 1, reply: a/few }
";

fn our_queries(url: &str) {
    let broker = Mosquitto::start();
    let bridge = start(&broker, "", url, OURS, "few");
    let mut asker = Asker::new(&broker, "answers/a");
    let answer = asker.ask_json("query/a", "{}");
    let types = json!(["text", "timestamptz", "double", "bigint", "decimal", "bool", "json", "bytes"]);
    assert_eq!(answer["data"]["types"], types);
    let text = asker.ask("query/a", "");
    let row = r#""rows":[["a","2026-11-28T22:10:00.5Z",1.256,9007199254740993,12345678901234567890.10,true,{"k":[1]},"AP8="]]"#;
    assert!(text.replace("00.500Z", "00.5Z").contains(row), "every digit is there: {text}");
    let rows = |answer: &Value| answer["data"]["rows"].as_array().unwrap().len();
    assert_eq!(rows(&asker.ask_json("query/a", r#"{"n":"5","limit":1.5}"#)), 1);
    assert_eq!(rows(&asker.ask_json("query/a", r#"{"limit":1}"#)), 0);
    assert_eq!(rows(&asker.ask_json("query/a", r#"{"n":0}"#)), 0);
    let reason = |answer: Value| {
        assert_eq!(answer["success"], json!(false), "{answer}");
        answer["reason"].as_str().unwrap().to_owned()
    };
    let refused = reason(asker.ask_json("query/a", r#"{"n":"many"}"#));
    assert!(refused.contains("parameter `n`") && !refused.contains("many"), "{refused}");

    let mut strict = Asker::new(&broker, "a/strict");
    assert_eq!(reason(strict.ask_json("strict", "{}")), "parameter `n` is missing");
    assert!(reason(strict.ask_json("strict", "no json")).contains("JSON"));
    let few = reason(Asker::new(&broker, "a/few").ask_json("few", ""));
    assert!(few.contains("more than 1 rows"), "{few}");
    let lines = |topic: &str, reply: &str, count: usize| {
        let subscriber = Subscriber::start(broker.port(), reply, "%p");
        publish(&broker, topic, "", &[]);
        subscriber.wait_for(count)
    };
    let expected = [r#"{"name":"a","n":9007199254740993}"#, r#"{"name":"b","n":null}"#];
    assert_eq!(lines("lines", "a/lines", 2)[..2], expected);
    let expected = r#"[{"name":"a","time":1795903800500},{"name":"b","time":1795903801000}]"#;
    assert_eq!(lines("rows", "a/rows", 1), [expected]);
    assert_eq!(lines("csv", "a/csv", 3)[..3], ["name,n", "a,9007199254740993", "b,"]);

    let output = bridge.command(&["check"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("query latest") && text.contains("its statement compiles"), "{text}");
}

#[test]
fn our_queries_are_answered_alike_by_both_engines() {
    our_queries("sqlite:rows.db");
    our_queries(&on_postgres(&Postgres::shared()));
}

#[test]
fn each_client_gets_its_own_answers_with_its_own_correlation_data() {
    let broker = Mosquitto::start();
    let _bridge = start(&broker, "", "sqlite:rows.db", MACHBASE, "db/query");
    let ask = |client: &str, number: usize| {
        let (topic, data) = (format!("clients/{client}"), format!("{client}-{number}"));
        let properties =
            ["-V", "5", "-D", "publish", "response-topic", &topic, "-D", "publish", "correlation-data", &data];
        let request = format!(r#"{{"q":"select '{client}', {number}","reply":"db/reply/x"}}"#);
        publish(&broker, "db/query", &request, &properties);
    };
    let listen = |client: &str| Subscriber::start(broker.port(), &format!("clients/{client}"), "%D %p");
    let (one, two, shared) = (listen("one"), listen("two"), Subscriber::start(broker.port(), "db/reply/#", "%p"));
    for number in 0..5 {
        ask("one", number);
        ask("two", number);
    }
    for (client, subscriber) in [("one", &one), ("two", &two)] {
        let mut lines = subscriber.wait_for(5);
        lines.sort();
        assert_eq!(lines.len(), 5);
        for (number, line) in lines.iter().enumerate() {
            assert!(line.starts_with(&format!("{client}-{number} {{")), "{line}");
            assert!(line.contains(&format!(r#""rows":[["{client}",{number}]]"#)), "{line}");
        }
    }
    assert_eq!(shared.lines(), Vec::<String>::new(), "nobody else hears of it");
}

/// Statements that do more than read, or more than they may, each with a word of the reason.
const HOSTILE: [(&str, &str); 9] = [
    ("select 1; drop table example", "second statement"),
    ("drop table example", "only reads"),
    ("with x as (delete from example returning 1) select * from x", ""),
    ("with x as (select 1) insert into example (name) select 'x'", ""),
    ("copy example to program 'touch /tmp/x'", "only reads"),
    ("select * from nowhere", "nowhere"),
    ("select 'x", "does not end"),
    ("attach 'x' as x", "only reads"),
    ("pragma user_version = 7", "only reads"),
];

fn hostile(url: &str, own: &[(&str, &str)]) -> Bridge {
    let broker = Mosquitto::start();
    let queries = MACHBASE.replace("timeout: 30s", "timeout: 1s, reply_prefix: db/reply");
    let bridge = start(&broker, "", url, &queries, "db/query");
    let mut asker = Asker::new(&broker, "db/reply");
    for (sql, word) in HOSTILE.iter().chain(own) {
        let answer = asker.ask_json("db/query", &json!({ "q": sql }).to_string());
        assert_eq!(answer["success"], json!(false), "{sql}: {answer}");
        let reason = answer["reason"].as_str().unwrap();
        assert!(reason.contains(word) && answer.get("data").is_none(), "{sql}: {reason}");
    }
    // Where no answer may go: told on the configured topic.
    for topic in ["#", "$SYS/x", "elsewhere", "db/query", &"x".repeat(60_000)] {
        let answer = asker.ask_json("db/query", &json!({ "q": "select 1", "reply": topic }).to_string());
        assert_eq!(answer["success"], json!(false), "{}", &topic[..topic.len().min(20)]);
        assert!(answer["reason"].as_str().unwrap().contains("refused"), "{answer}");
    }
    let large = asker.ask_json("db/query", &json!({ "q": "x".repeat(70_000) }).to_string());
    assert!(large["reason"].as_str().unwrap().contains("65536 bytes"), "{large}");
    let answer = asker.ask_json("db/query", r#"{"q":"select count(*) from example"}"#);
    assert_eq!(answer["data"]["rows"], json!([[2]]), "nothing was changed: {answer}");
    bridge
}

#[test]
fn statements_that_do_more_than_read_are_refused_and_bounded() {
    let endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select";
    let postgres = [
        ("select pg_sleep(60)", "time limit"),
        (&format!("{endless} count(*) from n"), "time limit"),
        (&format!("{endless} i from n"), "more than 1000 rows"),
        ("select repeat('x', 10000000)", ""),
        ("select repeat('x', 100000) from generate_series(1, 500)", "bytes"),
        ("select set_config('transaction_read_only', 'off', true)", ""),
        ("select nextval('serial')", ""),
        ("select 1) as q(c0), (select 2", ""),
        ("select * from example for update", "only read"),
        ("select 'abc'::int", "22P02"),
    ];
    hostile(&on_postgres(&Postgres::shared()), &postgres);
    let sqlite = [
        (&*format!("{endless} count(*) from n"), "time limit"),
        (&*format!("{endless} i from n"), "more than 1000 rows"),
        ("select zeroblob(100000000)", "bytes"),
        (&*format!("{endless} zeroblob(100000) from n limit 500"), "bytes"),
        ("select load_extension('x')", ""),
        ("select * from pragma_table_info('example')", "only read"),
    ];
    hostile("sqlite:rows.db", &sqlite);
}

#[test]
fn ten_thousand_requests_at_once_leave_the_messages_alone() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let queries = MACHBASE.replace("timeout: 30s", "timeout: 1s");
    let mut bridge = start(&broker, "", "sqlite:rows.db", &queries, "db/query");
    let lines = "{\"q\":\"select count(*) from readings\"}\n".repeat(10_000);
    let messages = 500;
    let load = Load::new(broker.port(), 1, messages).made_by(|id| ("sensors/a".into(), reading(id).1)).start();
    publish(&broker, "db/query", &lines, &["-l"]);
    load.finish();
    bridge.wait_ids("readings", messages);
    let all = |bridge: &Bridge| {
        let status = bridge.status();
        let counts = ["answered", "refused"].map(|key| status["queries"][0][key].as_u64().unwrap());
        (counts[0] + counts[1] == 10_000).then_some(counts)
    };
    let [answered, refused] = bridge.wait_alive("every request is counted", all);
    assert!(answered > 0 && refused > 0, "{answered} {refused}");
    if bridge.status()["mqtt"]["outbound"]["answers"]["dropped"] != json!(0) {
        bridge.wait_alive("what is not sent is logged", |bridge| {
            bridge.log().contains("answers are not sent: more are due at once than the bridge keeps").then_some(())
        });
    }
    bridge.wait_drained("local");
    Tally::of_sqlite(&bridge.rows(), "readings", 0..messages).assert_each_once("beside the requests");
    assert!(bridge.stop().success());
}

#[test]
fn queries_run_through_a_pooler_and_leave_nothing_on_its_session() {
    let server = Postgres::shared();
    let database = server.create_database();
    server.psql(&database, POSTGRES_EXAMPLE);
    // One session of the server, which the delivery of messages shares.
    let bouncer = PgBouncer::start(&server, 1);
    let url = bouncer.url(&database);
    machbases_walk("", &url);
    our_queries(&url);
    let bounds = [
        ("select pg_sleep(60)", "time limit"),
        ("select repeat('x', 100000) from generate_series(1, 500)", "bytes"),
        ("select set_config('transaction_read_only', 'off', true)", ""),
        ("select set_config('search_path', 'nowhere', false), 1 / (count(*) - 2) from example", "22012"),
        ("select pg_advisory_lock(7), 1 / (count(*) - 2) from example", "22012"),
    ];
    let mut bridge = hostile(&url, &bounds);
    assert!(bridge.stop().success());
    let settings = "SELECT count(*) FROM pg_prepared_statements; SHOW search_path; SHOW statement_timeout; SHOW TimeZone; \
                    SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()";
    assert_eq!(server.psql_at(&url, settings), server.psql(&database, settings), "{}", bouncer.log());
}

#[test]
fn a_pooler_that_changes_sessions_between_queries_is_not_noticed_by_those_who_ask() {
    let server = Postgres::shared();
    let database = server.create_database();
    // The driver asks the server for types that are not built in, with statements that it keeps.
    server.psql(
        &database,
        "CREATE TYPE mood AS ENUM ('good'); CREATE TYPE tint AS ENUM ('red'); CREATE TYPE pair AS (a int, b mood)",
    );
    let bouncer = PgBouncer::start(&server, 3);
    let url = bouncer.url(&database);
    // Each bridge gives its statements the same names.
    for _ in 0..3 {
        let broker = Mosquitto::start();
        let _bridge = start(&broker, "", &url, MACHBASE, "db/query");
        let mut asker = Asker::new(&broker, "db/reply");
        std::thread::scope(|scope| {
            let types = ["'good'::mood", "'red'::tint", "row(1, 'good')::pair", "array['red'::tint]"];
            for sql in types.map(|value| json!({ "q": format!("select {value} as v") }).to_string()) {
                let answer = asker.ask_json("db/query", &sql);
                assert_eq!(answer["success"], json!(true), "{sql}: {answer}");
                // The session of this query is taken while the next one runs.
                scope.spawn(|| server.psql_at(&url, "BEGIN; SELECT pg_sleep(0.7); COMMIT"));
                std::thread::sleep(std::time::Duration::from_millis(300));
            }
        });
    }
}

#[test]
fn a_reload_changes_queries_while_the_bridge_runs() {
    let broker = Mosquitto::start();
    let query = |name: &str, topic: &str| {
        format!("  - {{ name: {name}, topic: {topic}, sql: \"select '{name}'\", reply: r/{topic}, format: csv }}\n")
    };
    let bridge = start(&broker, "", "sqlite:rows.db", &query("one", "ask1"), "ask1");
    bridge.edit(&query("one", "ask1"), &query("two", "ask2"));
    let output = bridge.command(&["reload"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    wait_for("the new topic is subscribed to", || broker.log().contains("ask2 (QoS 1)").then_some(()));
    let subscriber = Subscriber::start(broker.port(), "r/#", "%p");
    publish(&broker, "ask1", "", &[]);
    publish(&broker, "ask2", "", &[]);
    assert_eq!(subscriber.wait_for(2)[..2], ["'two'", "two"]);
    // Counted behind the answer.
    let counted = json!([{ "name": "two", "answered": 1, "refused": 0 }]);
    wait_for("the answer is counted", || (bridge.status()["queries"] == counted).then_some(()));
}

/// The text of a trigger that `publish` makes is longer than a value in an answer may be.
#[test]
fn a_table_with_many_published_columns_does_not_hinder_queries_after_a_change_of_the_schema() {
    let broker = Mosquitto::start();
    let columns: Vec<String> = (0..90).map(|at| format!("measurement_number_{at:03} REAL")).collect();
    let published = "publish:\n  - { table: wide, topic: wide, events: [insert, update], database: local }\n";
    let mut bridge = Bridge::new(
        broker.port(),
        &format!(
            "databases:\n  local: {{ url: 'sqlite:rows.db' }}\n{published}queries:\n  \
             - {{ name: q, convention: machbase, allow_sql: read_only, database: local, timeout: 5s }}\n"
        ),
    );
    let db = rusqlite::Connection::open(bridge.rows()).unwrap();
    let make = format!("PRAGMA journal_mode = WAL; CREATE TABLE wide ({}); CREATE TABLE u (a)", columns.join(", "));
    db.execute_batch(&make).unwrap();
    let answers = Subscriber::with(broker.port(), "db/reply", &["-F", "%p"]);
    bridge.start();
    let longest = "SELECT max(length(sql)) FROM sqlite_schema WHERE type = 'trigger'";
    bridge.wait_alive("the triggers are made", |_| {
        let found = db.query_row(longest, [], |row| row.get::<_, Option<i64>>(0));
        found.ok().flatten().filter(|bytes| *bytes > 32_768).map(drop)
    });
    for count in 1..=4 {
        publish(&broker, "db/query", r#"{"q":"select count(*) from u"}"#, &[]);
        let line = answers.wait_for(count).pop().unwrap();
        assert!(line.contains("\"success\":true"), "{count}: {line}");
        db.execute_batch(&format!("CREATE TABLE more_{count} (a)")).unwrap();
    }
}
