//! Messages that give no row are told in the log, with what is needed to find them, and never more often than once a minute
//! for each rule and reason.

use crate::support::bridge::Bridge;
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{column, count};
use crate::support::postgres::Postgres;
use crate::support::publisher::Publisher;

/// Two databases with the same rule for each, and `keys` in both.
fn rules(url: &str, keys: &str) -> String {
    let rule = |database: &str| {
        format!(
            "  - name: to-{database}\n    topic: plant/{{line}}\n    database: {database}\n    table: fine\n{keys}    columns:\n      \
             line: topic.line\n      temp: payload.temp\n      hum: payload.data.hum\n"
        )
    };
    format!(
        "databases:\n  local: {{ url: 'sqlite:rows.db' }}\n  cloud: {{ url: '{url}' }}\nrules:\n{}{}",
        rule("local"),
        rule("cloud")
    )
}

const TABLE: &str = "CREATE TABLE fine (line text, temp double precision, hum int)";

struct Plant {
    postgres: std::sync::Arc<Postgres>,
    database: String,
    _broker: Mosquitto,
    bridge: Bridge,
    publisher: Publisher,
}

impl Plant {
    fn start(keys: &str) -> Plant {
        let postgres = Postgres::shared();
        let database = postgres.create_database();
        postgres.psql(&database, TABLE);
        let broker = Mosquitto::start();
        let mut bridge = Bridge::new(broker.port(), &rules(&postgres.url(&database), keys));
        rusqlite::Connection::open(bridge.rows()).unwrap().execute_batch(TABLE).unwrap();
        bridge.start();
        let publisher = Publisher::new(broker.port());
        Plant { postgres, database, _broker: broker, bridge, publisher }
    }

    /// Waits until both databases hold what was published.
    fn settle(&mut self, messages: u64) {
        self.bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= messages).then_some(()));
        self.bridge.wait_drained("local");
        self.bridge.wait_drained("cloud");
    }

    /// The letters of each database as `reason|payload|error`, in the order of the messages.
    fn letters(&self) -> [Vec<String>; 2] {
        let query = |payload: &str| {
            format!("SELECT reason || '|' || {payload} || '|' || error FROM rowbridge_dead_letters ORDER BY seq")
        };
        let local = column::<String>(&self.bridge.rows(), &query("CAST(payload AS TEXT)"));
        let cloud = self.postgres.psql(&self.database, &query("convert_from(payload, 'UTF8')"));
        [local, cloud.lines().map(str::to_owned).collect()]
    }

    /// The lines of a level that hold all these words, at least one.
    #[track_caller]
    fn lines(&self, level: &str, words: &[&str]) -> Vec<String> {
        let log = self.bridge.log();
        let fits = |line: &&str| line.contains(level) && words.iter().all(|word| line.contains(word));
        let lines: Vec<String> = log.lines().filter(fits).map(str::to_owned).collect();
        assert!(!lines.is_empty(), "no {level} line with {words:?} in:\n{log}");
        lines
    }
}

/// The sum of a field over lines.
fn sum(lines: &[String], field: &str) -> u64 {
    let value = |line: &String| {
        let rest = line.split_once(&format!(" {field}=")).unwrap().1;
        rest.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    lines.iter().map(value).sum()
}

#[test]
fn of_305_messages_300_refused_ones_are_told_at_once_and_the_line_says_how_to_list_them() {
    let mut plant = Plant::start("");
    for n in 0..305 {
        let payload = if n < 5 { r#"{"temp":21.5}"# } else { r#"{"temp":"s3cret"}"# };
        plant.publisher.send("plant/a", payload);
    }
    plant.settle(305);
    for database in ["local", "cloud"] {
        let lines = plant.lines(" WARN ", &[&format!("database=\"{database}\""), "reason=\"value\""]);
        assert!(lines.len() == 1, "one line until the minute is over: {lines:?}");
        for words in [
            &format!("rule=\"to-{database}\""),
            "topic=\"plant/a\"",
            "column `temp` (double precision): a string that is not a number",
            &format!("rowbridge dead-letters list --database {database} --rule to-{database} --reason value"),
        ] {
            assert!(lines[0].to_lowercase().contains(words), "{words} in {}", lines[0]);
        }
        let status = plant.bridge.status();
        assert_eq!(status["databases"][database]["dead_lettered"], 300, "{status}");
    }
    let list = ["dead-letters", "list", "--database", "local", "--rule", "to-local", "--reason", "value"];
    let listed = plant.bridge.command(&[&list[..], &["--limit", "1000"]].concat());
    assert_eq!(String::from_utf8_lossy(&listed.stdout).matches("plant/a").count(), 300);
    // What was not told yet is told at a stop, so that the counts of all lines are those of all messages.
    assert!(plant.bridge.stop().success());
    for database in ["local", "cloud"] {
        let lines = plant.lines(" WARN ", &[&format!("database=\"{database}\""), "reason=\"value\""]);
        assert_eq!(sum(&lines, "count"), 300, "{lines:?}");
        assert!(lines.len() <= 2, "{lines:?}");
    }
    assert!(!plant.bridge.log().contains("s3cret"), "no payload is in the log");
}

#[test]
fn dropped_messages_are_errors_with_their_sequence_numbers() {
    let mut plant = Plant::start("    on_error: drop\n");
    for payload in [r#"{"temp":1}"#, "{", r#"{"temp":2}"#, "[", "nonsense", r#"{"temp":3}"#] {
        plant.publisher.send("plant/a", payload);
    }
    plant.settle(6);
    assert!(plant.bridge.stop().success());
    for database in ["local", "cloud"] {
        let lines = plant.lines("ERROR", &[&format!("database=\"{database}\""), "dropped", "reason=\"parse\""]);
        assert_eq!(sum(&lines, "count"), 3, "{lines:?}");
        let spans: Vec<&str> =
            lines.iter().map(|line| line.split_once(" seqs=").unwrap().1.split(' ').next().unwrap()).collect();
        assert!(["2,4-5", "2,4,5"].contains(&spans.join(",").as_str()), "{lines:?}");
    }
    assert_eq!(plant.letters(), [[""; 0], [""; 0]]);
}

#[test]
fn a_payload_with_none_of_the_fields_is_a_dead_letter_in_both_databases_and_no_row_of_nulls() {
    let mut plant = Plant::start("");
    let cases = [
        (r#""offline""#, "it is a string"),
        (r#"[{"temp":1}]"#, "it is an array"),
        (r#"{"Temp":21.5}"#, "it has payload.Temp, which differs in upper and lower case only"),
        ("{}", "it is an object without them"),
        (r#"{"data":{"HUM":4}}"#, "it has payload.data.HUM"),
    ];
    for (payload, _) in cases {
        plant.publisher.send("plant/a", payload);
    }
    plant.publisher.send("plant/a", r#"{"temp":null}"#);
    plant.publisher.send("plant/a", r#"{"data":{"hum":4}}"#);
    plant.settle(7);
    for letters in plant.letters() {
        assert_eq!(letters.len(), cases.len(), "{letters:?}");
        for ((payload, found), letter) in cases.iter().zip(&letters) {
            let expected = format!(
                "required|{payload}|the payload has none of the fields that the rule takes (payload.temp, payload.data.hum): {found}"
            );
            assert!(letter.starts_with(&expected), "{letter}");
        }
    }
    assert_eq!(count(&plant.bridge.rows(), "fine"), 2);
    assert_eq!(plant.postgres.psql(&plant.database, "SELECT line, temp, hum FROM fine ORDER BY hum"), "a||4\na||");
}

#[test]
fn what_no_rule_takes_is_told_where_it_is_kept() {
    let broker = Mosquitto::start();
    let rules = |topic: &str| {
        format!(
            "unmatched: dead_letter\ndatabases:\n  local: {{ url: 'sqlite:rows.db' }}\nrules:\n  - name: r\n    topic: {topic}\n    \
             table: r\n    create: true\n    columns: {{ id: {{ from: payload.id, type: bigint }} }}\n"
        )
    };
    let mut bridge = Bridge::new(broker.port(), &rules("'#'"));
    bridge.start();
    assert!(bridge.stop().success());
    // The session keeps the filter, so the message comes although no rule takes it any more.
    Publisher::new(broker.port()).send("elsewhere/a", r#"{"id":1}"#);
    bridge.edit("topic: '#'", "topic: mine/+");
    bridge.start();
    bridge.wait_alive("the dead letter is there", |bridge| {
        (count(&bridge.rows(), "rowbridge_dead_letters") == 1).then_some(())
    });
    bridge.wait_alive("it is told", |bridge| {
        let log = bridge.log();
        let list = "rowbridge dead-letters list --database local --reason unmatched";
        log.lines()
            .any(|line| line.contains(" WARN ") && line.contains(list) && line.contains("elsewhere/a"))
            .then_some(())
    });
}
