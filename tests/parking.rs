//! A bad table holds its database for `park_after`; then only its rules wait. Their messages are parked among the dead
//! letters and go in by themselves, in order and once, when it is mended.

use std::path::PathBuf;
use std::sync::Arc;

use crate::support::bridge::Bridge;
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::oracle::{column, sqlite};
use crate::support::postgres::Postgres;
use crate::support::publisher::Publisher;

/// Either engine, asked in the SQL that both understand.
pub(crate) enum Target {
    Sqlite { file: PathBuf },
    Postgres { server: Arc<Postgres>, database: String },
}

impl Target {
    pub(crate) fn run(&self, sql: &str) {
        match self {
            Target::Sqlite { file } => sqlite(file).execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}")),
            Target::Postgres { server, database } => drop(server.psql(database, sql)),
        }
    }

    /// One number a row.
    pub(crate) fn numbers(&self, sql: &str) -> Vec<i64> {
        match self {
            Target::Sqlite { file } => column(file, sql),
            Target::Postgres { server, database } => {
                server.psql(database, sql).lines().map(|line| line.parse().unwrap()).collect()
            }
        }
    }

    pub(crate) fn number(&self, sql: &str) -> i64 {
        self.numbers(sql)[0]
    }
}

/// A bridge with the rules `good` and `bad`, each for the topic and table of its name; the table `good` is there.
struct Stage {
    _broker: Mosquitto,
    target: Target,
    bridge: Bridge,
    publisher: Publisher,
    sent: i64,
}

const ENGINES: [&str; 2] = ["sqlite", "postgres"];

impl Stage {
    fn new(engine: &str, rule_options: &str) -> Stage {
        let broker = Mosquitto::with(DEEP_QUEUE);
        let postgres = (engine == "postgres").then(|| {
            let server = Postgres::shared();
            let database = server.create_database();
            (server, database)
        });
        let url = match &postgres {
            Some((server, database)) => server.url(database),
            None => "sqlite:rows.db".to_owned(),
        };
        let columns = "{ seq: journal.seq, n: payload.n, qos: qos, retain: retain, at: received_at, \
                       tag: property.tag, kind: content_type }";
        let bridge = Bridge::new(
            broker.port(),
            &format!(
                "databases:
  target: {{ url: '{url}', park_after: 300ms, retry: {{ min: 20ms, max: 100ms }} }}
rules:
  - {{ name: good, topic: good, table: good, columns: {columns} }}
  - {{ name: bad, topic: 'bad/#', table: bad, columns: {columns}{rule_options} }}
"
            ),
        );
        let target = match postgres {
            Some((server, database)) => Target::Postgres { server, database },
            None => {
                rusqlite::Connection::open(bridge.rows()).unwrap();
                Target::Sqlite { file: bridge.rows() }
            }
        };
        let stage = Stage { publisher: Publisher::new(broker.port()), _broker: broker, target, bridge, sent: 0 };
        stage.make("good");
        stage
    }

    fn make(&self, table: &str) {
        self.make_with(table, "");
    }

    /// With a constraint on column `n`.
    fn make_with(&self, table: &str, check: &str) {
        let (real, stamp) = match self.target {
            Target::Sqlite { .. } => ("INTEGER", "timestamp"),
            Target::Postgres { .. } => ("bigint", "timestamptz"),
        };
        self.target.run(&format!(
            "CREATE TABLE {table} (seq {real}, n {real} {check}, qos {real}, retain boolean, at {stamp}, tag text, kind text)"
        ));
    }

    /// So many messages to each rule.
    fn publish(&mut self, count: i64) {
        for n in self.sent..self.sent + count {
            for topic in ["good", "bad/x"] {
                self.publisher.send(topic, format!("{{\"n\":{n}}}"));
            }
        }
        self.sent += count;
    }

    fn parked(bridge: &Bridge) -> serde_json::Value {
        bridge.status()["databases"]["target"]["parked"].clone()
    }

    /// Waits until the rule `bad` is parked with so many messages, and all else is in the database.
    #[track_caller]
    fn wait_parked(&mut self, messages: i64) {
        self.bridge.wait_alive("the messages of the bad table are parked", |bridge| {
            let parked = Stage::parked(bridge);
            (parked[0]["messages"] == messages && bridge.status()["databases"]["target"]["pending"] == 0).then_some(())
        });
    }

    /// Everything that was sent is in the database, and nothing is parked.
    #[track_caller]
    fn wait_unparked(&mut self) {
        let sent = 2 * self.sent.unsigned_abs();
        self.bridge.wait_alive("all is journaled", |bridge| (bridge.journaled() >= sent).then_some(()));
        self.bridge.wait_alive("nothing is parked any more", |bridge| {
            let status = bridge.status();
            let target = &status["databases"]["target"];
            (target["parked"].as_array().is_some_and(Vec::is_empty) && target["pending"] == 0).then_some(())
        });
    }

    /// Every message is in both tables once, in the order in which it came, and nothing is left behind.
    #[track_caller]
    fn assert_all_in_order(&self) {
        let expected: Vec<i64> = (0..self.sent).collect();
        let order = match self.target {
            Target::Sqlite { .. } => "rowid",
            Target::Postgres { .. } => "ctid",
        };
        for table in ["good", "bad"] {
            let found = self.target.numbers(&format!("SELECT n FROM {table} ORDER BY {order}"));
            assert_eq!(found, expected, "table {table}");
        }
        assert_eq!(self.target.number("SELECT count(*) FROM rowbridge_dead_letters"), 0);
    }

    /// `matched = written + filtered + dead_lettered + dropped`, and all messages are matched.
    #[track_caller]
    fn assert_counts(&self) {
        for rule in self.bridge.status()["rules"].as_array().unwrap() {
            let number = |name: &str| rule[name].as_i64().unwrap();
            let outcomes = number("written") + number("filtered") + number("dead_lettered") + number("dropped");
            assert_eq!((number("matched"), outcomes), (self.sent, self.sent), "{rule}");
        }
    }
}

/// Somebody deleted them while the table was still bad.
#[test]
fn deleted_messages_are_counted_no_more() {
    for engine in ENGINES {
        let mut stage = Stage::new(engine, "");
        stage.bridge.start();
        stage.publish(5);
        stage.wait_parked(5);
        let output = stage.bridge.command(&["dead-letters", "delete", "--parked", "--rule", "bad", "--yes"]);
        assert!(output.status.success(), "{output:?}");
        stage.wait_parked(0);
        stage.publish(2);
        stage.wait_parked(2);
    }
}

#[test]
fn a_missing_table_parks_its_rule_alone_and_made_it_takes_all_messages_in_order_once() {
    for engine in ENGINES {
        let mut stage = Stage::new(engine, "");
        stage.bridge.start();
        stage.publish(20);
        stage.wait_parked(20);
        assert_eq!(stage.target.number("SELECT count(*) FROM good"), 20, "the other rule goes on");
        let parked = Stage::parked(&stage.bridge)[0].clone();
        assert_eq!((&parked["rule"], &parked["table"]), (&"bad".into(), &"bad".into()), "{parked}");
        assert!(parked["reason"].as_str().unwrap().contains("there is no table bad"), "{parked}");
        assert!(parked["since"].as_str().unwrap().ends_with('Z'), "{parked}");
        let status = stage.bridge.status();
        assert!(status["databases"]["target"]["held"].is_null(), "{status}");
        assert_eq!(status["rules"][1]["matched"], 0, "a parked message counts when its outcome is known: {status}");
        let metrics = stage.bridge.get("/metrics").unwrap().body;
        assert!(metrics.contains(r#"rowbridge_parked{database="target",rule="bad"} 20"#), "{metrics}");
        let ready = stage.bridge.get("/readyz").unwrap();
        assert!(ready.status == 200 && ready.body.contains("of rule bad for table bad are parked"), "{}", ready.body);
        let printed = String::from_utf8(stage.bridge.command(&["status"]).stdout).unwrap();
        assert!(printed.contains("20 messages of rule bad are PARKED"), "{printed}");
        let letters = "SELECT count(*) FROM rowbridge_dead_letters WHERE reason = 'table' AND rule = 'bad'";
        assert_eq!(stage.target.number(letters), 20);
        assert!(stage.bridge.log().contains("only the rules of this table wait"), "{}", stage.bridge.log());

        stage.make("bad");
        stage.publish(20);
        stage.wait_unparked();
        stage.publish(5);
        stage.wait_unparked();
        stage.assert_all_in_order();
        stage.assert_counts();
        let metrics = stage.bridge.get("/metrics").unwrap().body;
        assert!(metrics.contains(r#"rowbridge_parked{database="target",rule="bad"} 0"#), "{metrics}");
        assert!(stage.bridge.log().contains("the table takes rows"), "{}", stage.bridge.log());
    }
}

#[test]
fn a_parked_message_comes_back_with_everything_that_it_had() {
    for engine in ENGINES {
        let mut stage = Stage::new(engine, "");
        stage.bridge.start();
        let message = |topic: &str| crate::support::mqtt::Outgoing {
            topic: topic.to_owned(),
            payload: br#"{"n":0}"#.to_vec(),
            qos: 1,
            user_properties: vec![("tag".to_owned(), "é\u{1F321}".to_owned())],
            content_type: Some("application/json".to_owned()),
            ..Default::default()
        };
        stage.publisher.publish(&message("good"));
        stage.publisher.publish(&message("bad/x"));
        stage.wait_parked(1);
        stage.make("bad");
        stage.wait_unparked();
        let alike = "SELECT count(*) FROM good JOIN bad ON good.n = bad.n AND good.qos = bad.qos
                     AND good.retain = bad.retain AND good.tag = bad.tag AND good.kind = bad.kind
                     WHERE bad.seq = 2 AND bad.tag = 'é\u{1F321}' AND bad.kind = 'application/json'";
        assert_eq!(stage.target.number(alike), 1);
    }
}

#[test]
fn what_is_parked_survives_a_restart_and_a_kill_in_the_midst_of_going_in() {
    for engine in ENGINES {
        let mut stage = Stage::new(engine, "");
        // Small transactions, so that a kill finds some of them done.
        stage.bridge.edit("park_after: 300ms", "park_after: 300ms, batch: { max_rows: 40 }");
        stage.bridge.start();
        stage.publish(400);
        stage.wait_parked(400);
        assert!(stage.bridge.stop().success());
        stage.bridge.start();
        stage.publish(100);
        stage.wait_parked(500);
        let parked = Stage::parked(&stage.bridge)[0].clone();
        assert!(parked["mend"].as_str().is_some_and(|sql| sql.contains("CREATE TABLE")), "{engine}: {parked}");
        stage.make("bad");
        for wanted in [1, 150, 300] {
            stage.bridge.wait_alive("some are in", |_| {
                (stage.target.number("SELECT count(*) FROM bad") >= wanted).then_some(())
            });
            stage.bridge.kill();
            let both = "SELECT (SELECT count(*) FROM bad) + (SELECT count(*) FROM rowbridge_dead_letters)";
            assert_eq!(stage.target.number(both), 500, "{engine}: each is a row or a dead letter");
            stage.bridge.start();
        }
        stage.publish(20);
        stage.wait_unparked();
        stage.assert_all_in_order();
    }
}

#[test]
fn messages_that_come_while_parked_ones_go_in_stay_behind_them() {
    for engine in ENGINES {
        let mut stage = Stage::new(engine, "");
        stage.bridge.edit("park_after: 300ms", "park_after: 300ms, batch: { max_rows: 10 }");
        stage.bridge.start();
        stage.publish(300);
        stage.wait_parked(300);
        stage.make("bad");
        stage.publish(300);
        stage.wait_unparked();
        stage.publish(50);
        stage.wait_unparked();
        stage.assert_all_in_order();
        stage.assert_counts();
    }
}

#[test]
fn a_parked_message_that_is_bad_by_itself_is_a_dead_letter_and_the_others_go_in() {
    for engine in ENGINES {
        let mut stage = Stage::new(engine, "");
        stage.bridge.start();
        stage.publish(10);
        stage.publisher.send("bad/x", "no JSON");
        stage.publisher.send("bad/x", r#"{"n":-1}"#);
        stage.publish(10);
        stage.wait_parked(22);
        stage.make_with("bad", "CHECK (n >= 0)");
        stage.wait_unparked();
        let expected: Vec<i64> = (0..20).collect();
        assert_eq!(stage.target.numbers("SELECT n FROM bad ORDER BY seq"), expected);
        let count = |reason: &str| {
            stage.target.number(&format!("SELECT count(*) FROM rowbridge_dead_letters WHERE reason = '{reason}'"))
        };
        assert_eq!((count("parse"), count("constraint"), count("table")), (1, 1, 0));
        let rule = stage.bridge.status()["rules"][1].clone();
        assert_eq!((&rule["matched"], &rule["written"], &rule["dead_lettered"]), (&22.into(), &20.into(), &2.into()));
    }
}

#[test]
fn a_rule_that_halts_is_parked_with_its_message_and_goes_on_once_the_table_is_mended() {
    for engine in ENGINES {
        let mut stage = Stage::new(engine, ", on_error: halt");
        stage.make("bad");
        let check = match stage.target {
            Target::Sqlite { .. } => {
                "CREATE TRIGGER strict BEFORE INSERT ON bad WHEN NEW.n = 5 BEGIN SELECT RAISE(ABORT, 'five'); END"
            }
            Target::Postgres { .. } => "ALTER TABLE bad ADD CONSTRAINT strict CHECK (n <> 5)",
        };
        stage.target.run(check);
        stage.bridge.start();
        stage.publish(10);
        stage.wait_parked(5);
        assert_eq!(stage.target.numbers("SELECT n FROM bad ORDER BY n"), [0, 1, 2, 3, 4]);
        assert_eq!(stage.target.number("SELECT count(*) FROM good"), 10, "the other rule goes on");
        let parked = Stage::parked(&stage.bridge)[0].clone();
        assert!(parked["reason"].as_str().unwrap().contains("on_error: halt"), "{parked}");
        match stage.target {
            Target::Sqlite { .. } => stage.target.run("DROP TRIGGER strict"),
            Target::Postgres { .. } => stage.target.run("ALTER TABLE bad DROP CONSTRAINT strict"),
        }
        stage.wait_unparked();
        stage.assert_all_in_order();
        stage.assert_counts();
    }
}

#[test]
fn a_sequence_at_its_end_is_parked_and_its_messages_go_in_by_themselves_when_it_is_raised() {
    let mut stage = Stage::new("postgres", "");
    stage.make("bad");
    stage.target.run("CREATE SEQUENCE short MAXVALUE 15; ALTER TABLE bad ADD id int DEFAULT nextval('short')");
    stage.bridge.start();
    for _ in 0..30 {
        stage.publish(1);
    }
    stage.bridge.wait_alive("the rule is parked", |bridge| {
        Stage::parked(bridge)[0]["messages"].as_i64().filter(|messages| *messages > 0)
    });
    let reason = Stage::parked(&stage.bridge)[0]["reason"].to_string();
    assert!(reason.contains("2200H"), "{reason}");
    stage.bridge.wait_alive("the other rule has its rows", |_| {
        (stage.target.number("SELECT count(*) FROM good") == 30).then_some(())
    });
    assert_eq!(stage.target.number("SELECT count(*) FROM rowbridge_dead_letters WHERE reason <> 'table'"), 0);
    stage.target.run("ALTER SEQUENCE short MAXVALUE 100000");
    stage.wait_unparked();
    stage.assert_all_in_order();
}

/// Codes that pass by themselves, of a table on which they do not: somebody holds it in an open transaction, or its trigger
/// always ends so.
#[test]
fn a_table_that_never_gets_free_parks_its_rule_alone() {
    let raise = |code: &str| {
        format!(
            "CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now' USING ERRCODE = '{code}'; \
             END $$; CREATE TRIGGER never BEFORE INSERT ON bad FOR EACH ROW EXECUTE FUNCTION never()"
        )
    };
    for (trouble, codes) in [(None, vec!["57014", "55P03"]), (Some(raise("40001")), vec!["40001"])] {
        let mut stage = Stage::new("postgres", "");
        stage.bridge.edit("park_after: 300ms", "park_after: 300ms, statement_timeout: 500ms");
        stage.make("bad");
        let Target::Postgres { server, database } = &stage.target else { unreachable!("as asked for") };
        let (server, database) = (Arc::clone(server), database.clone());
        let holder = match &trouble {
            Some(sql) => {
                stage.target.run(sql);
                None
            }
            None => {
                const HOLD: &str = "BEGIN; LOCK TABLE bad; SELECT pg_sleep(600)";
                let (server, database) = (Arc::clone(&server), database.clone());
                Some(std::thread::spawn(move || server.try_psql(&database, HOLD)))
            }
        };
        let is_held = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = 'bad'::regclass AND granted";
        while holder.is_some() && stage.target.number(is_held) == 0 {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        stage.bridge.start();
        stage.publish(20);
        stage.wait_parked(20);
        let reason = Stage::parked(&stage.bridge)[0]["reason"].to_string();
        assert!(codes.iter().any(|code| reason.contains(code)), "{codes:?}: {reason}");
        // The other rule goes on.
        stage.publish(20);
        stage.wait_parked(40);
        assert_eq!(stage.target.number("SELECT count(*) FROM good"), 40);
        if holder.is_some() {
            // However long a statement may take, a look at the parked table takes a moment.
            assert!(stage.bridge.stop().success());
            stage.bridge.edit("statement_timeout: 500ms", "statement_timeout: 1d");
            stage.bridge.start();
            stage.publish(20);
            stage.wait_parked(60);
            assert_eq!(stage.target.number("SELECT count(*) FROM good"), 60);
        }
        assert_eq!(stage.target.number("SELECT count(*) FROM rowbridge_dead_letters WHERE reason <> 'table'"), 0);
        match holder {
            Some(holder) => {
                const END: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND \
                                   relation = 'bad'::regclass AND granted";
                assert_eq!(stage.target.number(END), 1);
                holder.join().unwrap();
            }
            None => stage.target.run("DROP TRIGGER never ON bad"),
        }
        stage.wait_unparked();
        stage.assert_all_in_order();
    }
}

#[test]
fn parked_messages_of_a_rule_that_is_gone_stay_and_are_told() {
    for engine in ENGINES {
        let mut stage = Stage::new(engine, "");
        stage.bridge.start();
        stage.publish(5);
        stage.wait_parked(5);
        assert!(stage.bridge.stop().success());
        stage.bridge.edit("name: bad, topic: 'bad/#', table: bad", "name: other, topic: other, table: good");
        stage.bridge.start();
        stage.bridge.wait_alive("it is told", |bridge| {
            bridge.log().contains("messages are parked for a rule that the configuration does not have").then_some(())
        });
        assert_eq!(stage.target.number("SELECT count(*) FROM rowbridge_dead_letters"), 5);
        assert!(Stage::parked(&stage.bridge).as_array().unwrap().is_empty());
    }
}
