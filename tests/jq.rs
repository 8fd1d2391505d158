//! jq programs of rules, through the real binary.

use crate::support::bridge::Bridge;
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::column;
use crate::support::postgres::Postgres;
use crate::support::publisher::Publisher;

/// One rule for each key and one for all of them, in both databases.
const RULES: &str = r#"
  - name: hot
    topic: plant/+/one
    database: DATABASE
    table: hot
    create: true
    where: .temp > 20 and .device != "test"
    columns: { temp: { from: payload.temp, type: 'decimal(30,20)' } }
  - name: split
    topic: plant/{line}/batch
    database: DATABASE
    table: split
    create: true
    where: '.readings | length < 100'
    transform: |
      .id as $id
      | .readings[]
      | select(.ok)
      | {id: $id, v}
    columns:
      place: { jq: '"\($captures.line):\(.id)"', type: text }
      v:     { from: payload.v, type: bigint }
      n:     { jq: '$levels | length', type: bigint }
  - name: endless
    topic: plant/+/endless
    database: DATABASE
    table: endless
    create: true
    columns: { v: { jq: 'if .loop then (def f: f; f) else .v end', type: bigint } }
  - name: raw
    topic: plant/+/raw
    database: DATABASE
    table: raw
    create: true
    format: text
    transform: 'split(";") | {v: (.[0] | tonumber), unit: .[1]}'
    columns: { v: { from: payload.v, type: double }, unit: { from: payload.unit, type: text } }
"#;

#[test]
fn programs_filter_split_and_compute_and_a_bad_one_costs_its_message_only() {
    let broker = Mosquitto::start();
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    let rules = |name: &str| RULES.replace("DATABASE", name).replace("- name: ", &format!("- name: {name}-"));
    let body = format!(
        "databases:\n  local: {{ url: 'sqlite:rows.db' }}\n  far: {{ url: '{}' }}\nrules:{}{}",
        postgres.url(&database),
        rules("local"),
        rules("far")
    );
    let mut bridge = Bridge::new(broker.port(), &body);
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    for (topic, payload) in [
        ("plant/a/one", r#"{"temp":20.10000000000000000001,"device":"x"}"#),
        ("plant/a/one", r#"{"temp":19.5,"device":"x"}"#),
        ("plant/a/one", r#"{"temp":30,"device":"test"}"#),
        ("plant/a/one", "[30]"),
        (
            "plant/b/batch",
            r#"{"id":7,"readings":[{"ok":true,"v":9007199254740993},{"ok":false,"v":2},{"ok":true,"v":-3}]}"#,
        ),
        ("plant/b/batch", r#"{"id":8,"readings":[]}"#),
        ("plant/b/batch", r#"{"id":9,"readings":[{"ok":true,"v":"many"}]}"#),
        ("plant/c/endless", r#"{"loop":true}"#),
        ("plant/c/endless", r#"{"v":5}"#),
        ("plant/d/raw", "21.5;C"),
        ("plant/d/raw", "warm"),
    ] {
        publisher.send(topic, payload.to_owned());
    }
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= 11).then_some(()));
    bridge.wait_drained("local");
    bridge.wait_drained("far");
    for (query, expected) in [
        ("SELECT CAST(temp AS text) FROM hot", vec!["20.10000000000000000001"]),
        ("SELECT place || ' ' || v || ' ' || n FROM split ORDER BY v", vec!["b:7 -3 3", "b:7 9007199254740993 3"]),
        ("SELECT CAST(v AS text) FROM endless", vec!["5"]),
        ("SELECT v || unit FROM raw", vec!["21.5C"]),
        (
            "SELECT topic || ' ' || reason || ': ' || error FROM rowbridge_dead_letters ORDER BY seq",
            vec![
                "plant/a/one value: `where`: the program fails: cannot index an array with a string",
                "plant/b/batch value: column `v` (bigint): a string that is not a number",
                "plant/c/endless size: column `v` (bigint): the program runs longer than 1 s",
                "plant/d/raw value: `transform`: the program fails: cannot use a string as JSON",
            ],
        ),
    ] {
        let local = column::<String>(&bridge.rows(), query).join("\n");
        let far = postgres.psql(&database, query);
        let lower = |text: String| text.replace("BIGINT", "bigint");
        assert_eq!(lower(local), expected.join("\n"), "SQLite: {query}");
        assert_eq!(lower(far), expected.join("\n"), "Postgres: {query}");
    }
    let status = bridge.status();
    let counts = |rule: &str| {
        let rules = status["rules"].as_array().unwrap();
        let rule = rules.iter().find(|known| known["rule"] == rule).unwrap();
        ["matched", "written", "rows", "filtered", "dead_lettered"].map(|count| rule[count].as_u64().unwrap())
    };
    assert_eq!(counts("far-hot"), [4, 1, 1, 2, 1], "{status}");
    assert_eq!(counts("local-split"), [3, 1, 2, 1, 1], "{status}");
}

#[test]
fn a_mistake_in_a_program_is_told_with_its_place() {
    let rules = RULES.replace("DATABASE", "local").replace("select(.ok)", "slect(.ok)");
    let bridge = Bridge::new(1, &format!("databases:\n  local: {{ url: 'sqlite:rows.db' }}\nrules:{rules}"));
    let output = bridge.command(&["check", "--offline"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{text}");
    let expected = "there is no function `slect`; did you mean `select`? (line 3, column 3 of the program)";
    assert!(text.contains(expected), "{text}");
}
