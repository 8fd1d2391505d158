//! `rowbridge test`: golden tests pass, fail with what differs, and are rewritten.

use std::fs;
use std::process::Output;

use serde_json::Value;

use crate::support::bridge::Bridge;

const BODY: &str = "
mqtt: { url: 'mqtt://127.0.0.1:1' }
data_dir: data
databases:
  cloud: { url: 'postgres://nobody@127.0.0.1:1/none' }
rules:
  - name: telemetry
    topic: sensors/{site}/{device}/telemetry
    table: telemetry
    columns:
      time:   received_at
      site:   topic.site
      device: topic.device
      temp:   { from: payload.temp, type: real }
      unit:   property.unit
      extra:  payload.extra
  - name: raw
    topic: raw/#
    table: raw
    format: bytes
    columns: { data: payload, kept: retain }
";

const TESTS: &str = "\
# What every device sends.
- name: a reading becomes a row   # the usual one
  topic: sensors/a/d1/telemetry
  payload: { temp: 21.5, extra: { n: 12345678901234567890 } }
  properties: { unit: C }
  expect: [ { rule: telemetry, table: telemetry, row: { site: a, device: d1, temp: 21.50, unit: C, extra: { n: 12345678901234567890 } } } ]

- name: a word is no temperature
  topic: sensors/a/d1/telemetry
  payload: '{\"temp\":\"warm\"}'
  expect: [ { rule: telemetry, outcome: dead_lettered, reason: value } ]

# Bytes go as they are.
- name: bytes
  topic: raw/x
  payload_base64: AP8=
  retain: true
  received_at: 2026-11-21T08:26:00Z
  expect:
  - table: raw
    rows:
    - { data: '\\x00ff', kept: true }
- name: nobody takes it
  topic: other
  expect: []
";

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn with_tests(tests: &str) -> Bridge {
    let bridge = Bridge::bare(BODY);
    fs::create_dir(bridge.path("tests")).unwrap();
    fs::write(bridge.path("tests/house.yaml"), tests).unwrap();
    bridge
}

#[test]
fn tests_pass_without_broker_and_database() {
    let bridge = with_tests(TESTS);
    let output = bridge.command(&["test", "--junit", "results.xml"]);
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("4 passed, 0 failed") && said.contains("a reading becomes a row"), "{said}");
    let junit = fs::read_to_string(bridge.path("results.xml")).unwrap();
    assert!(junit.contains("tests=\"4\" failures=\"0\"") && junit.contains("name=\"bytes\""), "{junit}");
    let output = bridge.command(&["test", "tests/house.yaml", "--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["passed"], &json["failed"]), (&Value::from(4), &Value::from(0)));
}

#[test]
fn update_keeps_messages_as_they_are_and_leaves_what_it_cannot_write() {
    let tests = "- name: a text\n  topic: raw/x\n  payload: |\n    one\n    # two\n\n# A comment.\n- { name: one line, topic: raw/y, payload: \
                 hi, expect: [] }\n";
    let bridge = with_tests(tests);
    let output = bridge.command(&["test", "--update"]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("1 updated") && said.contains("its keys stand in one line"), "{said}");
    let rewritten = fs::read_to_string(bridge.path("tests/house.yaml")).unwrap();
    let (before, after) = tests.split_at(tests.find("\n# A comment").unwrap());
    let middle = rewritten.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    assert!(middle.is_some_and(|middle| middle.starts_with("  expect:\n    - rule: raw")), "{rewritten}");
    let said = text(&bridge.command(&["test"]));
    assert!(said.contains("1 passed, 1 failed"), "{said}");
}

#[test]
fn what_differs_is_shown_and_update_rewrites_that_alone() {
    let wrong = TESTS
        .replace("temp: 21.50,", "temp: 22,")
        .replace("reason: value", "reason: parse")
        .replace("\\x00ff", "\\x0000")
        .replace("topic: other\n  expect: []", "topic: raw/y\n  payload: hi");
    let bridge = with_tests(&wrong);
    let output = bridge.command(&["test", "--junit", "results.xml"]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for words in [
        "temp: expected 22",
        "found    21.5",
        "expected reason parse",
        "data: expected",
        "--update",
        "0 passed, 4 failed",
    ] {
        assert!(said.contains(words), "{words} in:\n{said}");
    }
    assert!(fs::read_to_string(bridge.path("results.xml")).unwrap().contains("<failure message=\"rule telemetry"));
    assert_eq!(fs::read_to_string(bridge.path("tests/house.yaml")).unwrap(), wrong, "nothing is rewritten unasked");
    let output = bridge.command(&["test", "--update"]);
    assert!(output.status.success() && text(&output).contains("4 updated"), "{}", text(&output));
    let output = bridge.command(&["test"]);
    assert!(output.status.success(), "{}", text(&output));
    let rewritten = fs::read_to_string(bridge.path("tests/house.yaml")).unwrap();
    let expected = "\
# What every device sends.
- name: a reading becomes a row   # the usual one
  topic: sensors/a/d1/telemetry
  payload: { temp: 21.5, extra: { n: 12345678901234567890 } }
  properties: { unit: C }
  expect:
    - rule: telemetry
      table: telemetry
      row: { site: a, device: d1, temp: 21.5, unit: C, extra: { n: 12345678901234567890 } }

- name: a word is no temperature
  topic: sensors/a/d1/telemetry
  payload: '{\"temp\":\"warm\"}'
  expect:
    - rule: telemetry
      outcome: dead_lettered
      reason: value

# Bytes go as they are.
- name: bytes
  topic: raw/x
  payload_base64: AP8=
  retain: true
  received_at: 2026-11-21T08:26:00Z
  expect:
    - rule: raw
      table: raw
      row: { data: \"\\\\x00ff\", kept: true }
- name: nobody takes it
  topic: raw/y
  payload: hi
  expect:
    - rule: raw
      table: raw
      row: { data: \"\\\\x6869\", kept: false }
";
    assert_eq!(rewritten, expected);
}

#[test]
fn files_that_are_no_tests_are_told_with_the_place_and_run_nothing() {
    let bridge = with_tests("- name: x\n  topic: a\n  expect: { rule: r }\n- nmae: y\n");
    let output = bridge.command(&["test"]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for words in ["house.yaml:3:11: [0].expect: is no list", "house.yaml:4:3: [1].nmae", "did you mean `name`?"] {
        assert!(said.contains(words), "{words} in:\n{said}");
    }
    fs::remove_file(bridge.path("tests/house.yaml")).unwrap();
    assert_eq!(bridge.command(&["test"]).status.code(), Some(2));
    assert_eq!(bridge.command(&["test", "missing.yaml"]).status.code(), Some(2));
}

/// The examples of the page, against the configuration that they speak of.
#[test]
fn the_examples_in_the_documentation_pass() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/trying-out.md")).unwrap();
    let examples: Vec<&str> = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!examples.is_empty());
    let bridge = with_tests(&examples.concat());
    let output = bridge.command(&["test"]);
    assert!(output.status.success(), "{}", text(&output));
}
