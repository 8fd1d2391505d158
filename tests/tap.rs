//! `rowbridge tap` beside a running bridge: what it shows is what happened, and it is never in the way.

use std::io::{BufRead, BufReader, Lines};
use std::process::{ChildStderr, ChildStdout, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::bridge::{Bridge, readings};
use crate::support::mosquitto::Mosquitto;
use crate::support::process::Process;
use crate::support::publisher::{Load, Publisher};

const RULES: &str = "
databases:
  local: { url: 'sqlite:rows.db' }
rules:
  - name: readings
    topic: sensors/{site}/{device}/telemetry
    where: '.id > 0'
    table: readings
    columns: { id: payload.id, temp: payload.temp }
  - name: second rule
    topic: sensors/b/+/telemetry
    on_error: drop
    table: second
    create: true
    columns: { id: { from: payload.id, type: bigint } }
";

/// A `tap` that follows.
struct Tap {
    process: Process,
    lines: Lines<BufReader<ChildStdout>>,
    notes: Lines<BufReader<ChildStderr>>,
}

impl Tap {
    #[track_caller]
    fn start(bridge: &Bridge, arguments: &[&str]) -> Tap {
        let command = [&["tap"], arguments].concat();
        let mut child = bridge.prepare(&command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut notes = BufReader::new(child.stderr.take().unwrap()).lines();
        let begins = notes.next().unwrap().unwrap();
        assert!(begins.starts_with("following bridge "), "{begins}");
        Tap { process: Process::new(child), lines, notes }
    }

    #[track_caller]
    fn line(&mut self) -> String {
        self.lines.next().expect("tap goes on").unwrap()
    }

    #[track_caller]
    fn json(&mut self) -> Value {
        serde_json::from_str(&self.line()).unwrap()
    }

    /// Ctrl-C.
    #[track_caller]
    fn interrupt(mut self) {
        self.process.signal(Signal::INT);
        let status = self.process.wait(Duration::from_secs(10)).expect("it ends");
        assert!(status.success(), "{status}");
    }
}

#[test]
fn each_message_is_shown_with_what_became_of_it() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), RULES);
    let made = "CREATE TABLE readings (id INTEGER PRIMARY KEY, temp REAL CHECK (temp < 100))";
    rusqlite::Connection::open(bridge.rows()).unwrap().execute_batch(made).unwrap();
    bridge.start();
    let mut all = Tap::start(&bridge, &["--json"]);
    let mut people = Tap::start(&bridge, &["--rule", "second rule", "--rule", "readings"]);
    let mut second = Tap::start(&bridge, &["--json", "--rule", "second rule"]);
    let mut publisher = Publisher::new(broker.port());
    let mut seen = Vec::new();
    for (topic, payload, expected) in [
        ("sensors/a/d/telemetry", r#"{"id":1,"temp":21.5}"#, vec![json!(["readings", "written", null])]),
        ("sensors/a/d/telemetry", r#"{"id":2,"temp":"warm"}"#, vec![json!(["readings", "dead_lettered", "value"])]),
        ("sensors/a/d/telemetry", r#"{"id":3,"temp":500}"#, vec![json!(["readings", "dead_lettered", "constraint"])]),
        ("sensors/a/d/telemetry", r#"{"id":-4}"#, vec![json!(["readings", "filtered", null])]),
        ("sensors/a/d/telemetry", "\x1b[2J", vec![json!(["readings", "dead_lettered", "parse"])]),
        (
            "sensors/b/d/telemetry",
            r#"{"id":6,"temp":1}"#,
            vec![json!(["readings", "written", null]), json!(["second rule", "written", null])],
        ),
        (
            "sensors/b/d/telemetry",
            // jq orders texts behind numbers.
            r#"{"id":"x"}"#,
            vec![json!(["readings", "dead_lettered", "value"]), json!(["second rule", "dropped", "value"])],
        ),
    ] {
        publisher.send(topic, payload);
        for expected in expected {
            let note = all.json();
            assert_eq!(json!([note["rule"], note["outcome"], note["reason"]]), expected, "{note}");
            assert_eq!((&note["topic"], &note["payload"]), (&topic.into(), &payload.into()), "{note}");
            assert_eq!((&note["database"], &note["qos"]), (&"local".into(), &1.into()));
            assert_eq!(note["error"].is_null(), note["reason"].is_null(), "{note}");
            seen.push(note);
        }
    }
    assert_eq!((&seen[0]["tables"], &seen[0]["rows"]), (&json!(["readings"]), &1.into()));
    // The same for people, and nothing that moves the cursor.
    let shown: Vec<String> = seen.iter().map(|_| people.line()).collect();
    for (shown, note) in shown.iter().zip(&seen) {
        let place =
            format!(" #{} {}  {} ", note["seq"], note["topic"].as_str().unwrap(), note["rule"].as_str().unwrap());
        assert!(shown.contains(&place), "{shown} has {place}");
        assert!(!shown.contains('\x1b'), "{shown:?}");
    }
    for (line, part) in [
        (0, r#"readings → local.readings  {"id":1,"temp":21.5}"#),
        (1, "readings dead letter (value): "),
        (2, "readings dead letter (constraint): "),
        (3, r#"readings filtered  {"id":-4}"#),
        (4, r"\u{1b}[2J"),
        (6, "second rule → local.second  "),
    ] {
        assert!(shown[line].contains(part), "{}", shown[line]);
    }
    assert_eq!(
        (second.json()["outcome"].clone(), second.json()["outcome"].clone()),
        ("written".into(), "dropped".into())
    );
    for tap in [all, people, second] {
        tap.interrupt();
    }
}

#[test]
fn a_flood_is_counted_to_the_last_message_and_not_held_up() {
    const SENT: u64 = 500;

    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    bridge.start();
    let mut tap = Tap::start(&bridge, &["--json", "--rate", "1"]);
    Load::new(broker.port(), 1, SENT).run();
    bridge.wait_rows("readings", SENT);
    let (mut shown, mut not_shown) = (0, 0);
    while shown + not_shown < SENT {
        let line = tap.json();
        match line["not_shown"].as_u64() {
            Some(count) => not_shown += count,
            None => shown += u64::from(line["outcome"] == "written"),
        }
    }
    assert_eq!(shown + not_shown, SENT);
    assert!(shown >= 1 && not_shown >= 1, "{shown} were shown");
    tap.interrupt();
}

#[test]
fn a_tap_says_why_nothing_comes_and_survives_a_restart_of_the_bridge() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &readings(1).replace("create: true", "create: false"));
    bridge.start();
    bridge.wait_alive("it is held", |bridge| bridge.status()["databases"]["local"]["held"].is_object().then_some(()));
    let mut tap = Tap::start(&bridge, &[]);
    let held = tap.line();
    assert!(held.starts_with("— database local is held: ") && held.contains("readings"), "{held}");
    bridge.kill();
    let away = tap.notes.next().unwrap().unwrap();
    assert!(away.starts_with("no running bridge at http://127.0.0.1:") && away.contains(": it stopped; "), "{away}");
    bridge.edit("create: false", "create: true");
    bridge.start();
    let again = tap.notes.next().unwrap().unwrap();
    assert!(again.starts_with("following again"), "{again}");
    Publisher::new(broker.port()).send("sensors/a/d/telemetry", r#"{"id":1}"#);
    let shown = loop {
        let line = tap.line();
        if !line.starts_with('—') {
            break line;
        }
    };
    assert!(shown.contains("sensors/a/d/telemetry  readings → local.readings  {\"id\":1}"), "{shown}");
    assert!(bridge.stop().success());
    let away = tap.notes.next().unwrap().unwrap();
    assert!(away.contains(": it stopped; "), "{away}");
    tap.interrupt();
}

#[test]
fn what_cannot_be_followed_has_its_exit_code_and_words() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    let said = |bridge: &Bridge, arguments: &[&str]| {
        let output = bridge.command(&[&["tap"], arguments].concat());
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, error) = said(&bridge, &[]);
    assert!(code == Some(1) && error.contains("no running bridge at http://"), "{code:?}: {error}");
    bridge.start();
    let (code, error) = said(&bridge, &["--rule", "a&b č"]);
    assert!(code == Some(2) && error.contains("has no rule a&b č; it has: readings"), "{code:?}: {error}");
    assert_eq!(said(&bridge, &["--for", "1s"]).0, Some(0));
    assert_eq!(said(&bridge, &["--rate", "0"]).0, Some(2));
    assert_eq!(bridge.get("/tap?id=1").unwrap().status, 410);
    bridge.edit("http: {", "http: off #");
    let (code, error) = said(&bridge, &[]);
    assert!(code == Some(2) && error.contains("http is off"), "{code:?}: {error}");
}
