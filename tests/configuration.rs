//! What a user sees of a configuration that is wrong.

use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Output};

use crate::support::bridge::Bridge;

/// Seven lines that are wrong, marked with what is wrong about them; and three secrets.
const SEVEN_MISTAKES: &str = r#"mqtt:
  url: mqtt://127.0.0.1:1883
  usrname: gateway                                                # 1: unknown key
  password: broker-secret-word
  version: 6                                                      # 2: unknown version
journal:
  when_full: puase                                                # 3: unknown choice
  segment_size: sixteen megabytes                                 # 4: not a size
databases:
  cloud: { url: "postgres://bridge:url-secret-word@127.0.0.1/telemetry" }
  spare: { url: "postgres://bridge@127.0.0.1/spare", password: spare-secret-word }
rules:
  - topic: sensors/#/telemetry                                    # 5: # in the middle
    table: telemetry
    database: cloud
    columns:
      temp: payloud.temp                                          # 6: unknown source
  - topic: events/+
    table: events
    database: cluod                                               # 7: unknown database
    columns: { body: payload }
"#;

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[track_caller]
fn assert_seven_reports(output: &Output) {
    let text = text(output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    for (index, line) in SEVEN_MISTAKES.lines().enumerate().filter(|(_, line)| line.contains(" # ")) {
        let position = format!("bridge.yaml:{}:", index + 1);
        assert!(text.contains(&position), "no report for line {} ({line}):\n{text}", index + 1);
    }
    let reports = text.matches("bridge.yaml:").count();
    assert_eq!(reports, 7, "seven mistakes, {reports} reports:\n{text}");
    for word in ["username", "pause", "payload", "cloud", "5 or 3.1.1", "8MiB"] {
        assert!(text.contains(word), "the reports help with {word:?}:\n{text}");
    }
    for path in ["mqtt.usrname", "journal.when_full", "rules[0].columns.temp", "rules[1].database"] {
        assert!(text.contains(path), "the reports name the key {path}:\n{text}");
    }
    assert!(!text.contains("secret-word"), "a secret is shown:\n{text}");
}

#[test]
fn seven_different_mistakes_are_seven_reports_with_positions_and_no_secret() {
    let bridge = Bridge::bare(SEVEN_MISTAKES);
    assert_seven_reports(&bridge.command(&["check", "--offline"]));
    assert_seven_reports(&bridge.command(&["run"]));
    assert_seven_reports(&bridge.command(&[]));
}

#[test]
fn mistakes_are_json_for_who_asks_for_json() {
    let bridge = Bridge::bare(SEVEN_MISTAKES);
    for arguments in [&["check", "--json"][..], &["check", "--json", "--offline"]] {
        let output = bridge.command(arguments);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&json["ok"], &json["problems"]), (&false.into(), &7.into()), "{json}");
        let first = &json["findings"][0];
        assert_eq!(first["level"], "problem", "{first}");
        assert_eq!((&first["line"], &first["column"], &first["key"]), (&3.into(), &3.into(), &"mqtt.usrname".into()));
        assert!(first["file"].as_str().unwrap().ends_with("bridge.yaml"), "{first}");
        assert!(!first["message"].as_str().unwrap().is_empty() && first["remedy"].is_string(), "{first}");
        assert!(!text(&output).contains("secret-word"), "{}", text(&output));
    }
}

#[test]
fn a_variable_that_is_written_wrongly_is_a_mistake_also_where_no_secret_is_needed() {
    for (password, words) in [("pa${rd", "has no closing"), ("${FOO:-${BAR}}", "holds a variable itself")] {
        let bridge = Bridge::with_mqtt(1, &format!("password: \"{password}\""), &crate::support::bridge::readings(1));
        let output = bridge.command(&["check", "--offline"]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        let said = text(&output);
        assert!(said.contains("mqtt.password: ") && said.contains(words) && !said.contains("pa$"), "{said}");
    }
}

#[test]
fn a_good_configuration_passes_the_check_without_a_broker_or_a_database() {
    let bridge = Bridge::new(1, &crate::support::bridge::readings(1));
    let output = bridge.command(&["check", "--offline"]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(!bridge.rows().exists(), "a check makes no database");
}

#[test]
fn the_environment_wins_over_the_file_and_its_mistakes_are_reported_too() {
    let mut bridge = Bridge::new(1, &crate::support::bridge::readings(1));
    bridge.set_environment("ROWBRIDGE__JOURNAL__WHEN_FULL", "sometimes");
    let output = bridge.command(&["check", "--offline"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("ROWBRIDGE__JOURNAL__WHEN_FULL"), "{}", text(&output));
}

#[test]
fn a_secret_in_the_environment_does_not_show_in_a_report() {
    let mut bridge = Bridge::new(1, &crate::support::bridge::readings(1));
    bridge.edit("    create: true\n", "    create: ${SECRET_WORD}\n");
    bridge.edit("local: { url: 'sqlite:rows.db' }", "local: { url: 'postgres://a:${SECRET_WORD}@127.0.0.1/x y z' }");
    bridge.set_environment("SECRET_WORD", "from-the-environment");
    let output = bridge.command(&["check", "--offline"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    let url_report = text(&output).lines().filter(|line| line.contains("databases")).collect::<String>();
    assert!(!url_report.contains("from-the-environment"), "{}", text(&output));
}

#[test]
fn an_unset_variable_is_reported_with_its_message() {
    let bridge = Bridge::new(1, &crate::support::bridge::readings(1));
    bridge.edit("'sqlite:rows.db'", "'sqlite:${ROWS_FILE:?say where the rows shall go}'");
    let output = bridge.command(&["check", "--offline"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("say where the rows shall go"), "{}", text(&output));
}

/// What an unset variable would have given is not reported as missing.
#[test]
fn an_unset_variable_is_one_mistake() {
    let bridge = Bridge::bare(
        "mqtt: { url: '${NO1}', tls: { ca_file: x } }\ndatabases: { d: { url: 'sqlite:${NO2}a.db' } }\nrules:\n- topic: \
         ['${NO3}']\n  table: '${NO4}'\n  columns: { a: '${NO5}' }\n- topic: b\n  table: t\n  columns: { a: { from: '${NO6}' } }\n",
    );
    let said = text(&bridge.command(&["check", "--offline"]));
    for number in 1..=6 {
        assert_eq!(said.matches(&format!("the environment variable NO{number} is not set")).count(), 1, "{said}");
    }
    assert!(!said.contains("is missing") && !said.contains("found nothing"), "{said}");
    let both = Bridge::bare(
        "mqtt: { url: 'mqtt://h:99999', urls: [mqtt://h, 'mqtt://h:0'] }\ndatabases: { d: { url: 'sqlite:a.db' } }\n\
         rules: [{ topic: a, table: t, columns: { a: payload } }]\n",
    );
    let said = text(&both.command(&["check", "--offline"]));
    for words in ["mqtt.urls: `url` is given too", "mqtt.url: is not a URL", "mqtt.urls[1]: has port 0", "3 mistakes"] {
        assert!(said.contains(words), "{words} in {said}");
    }
}

#[test]
fn a_variable_that_is_not_text_is_named_and_its_value_is_not() {
    let bridge = Bridge::new(1, &crate::support::bridge::readings(1));
    bridge.edit("'sqlite:rows.db'", "'sqlite:${ROWS_FILE}'");
    let latin1 = std::ffi::OsStr::from_bytes(b"hunter2-\xe9");
    let mut check = bridge.prepare(&["check", "--offline"]);
    let output = check.env("ROWS_FILE", latin1).env("ROWBRIDGE__MQTT__PASSWORD", latin1).output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for words in [
        "databases.local.url: the value of the environment variable ROWS_FILE is not UTF-8 text",
        "ROWBRIDGE__MQTT__PASSWORD: mqtt.password: the value is not UTF-8 text",
        "2 mistakes",
    ] {
        assert!(said.contains(words), "{words} in {said}");
    }
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn a_file_that_is_missing_or_no_yaml_is_a_report_and_not_a_crash() {
    for (name, content) in
        [("not YAML", "mqtt: [unclosed\n  : :"), ("empty", ""), ("a list", "- a\n- b\n"), ("binary", "\u{0}\u{1}")]
    {
        let bridge = Bridge::bare(content);
        let output = bridge.command(&["check", "--offline"]);
        assert_eq!(output.status.code(), Some(2), "{name}: {}", text(&output));
        assert!(text(&output).contains("bridge.yaml"), "{name}: {}", text(&output));
        assert!(!text(&output).contains("panicked"), "{name}: {}", text(&output));
    }
    let bridge = Bridge::bare("");
    std::fs::remove_file(bridge.config()).unwrap();
    let output = bridge.command(&["run"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("bridge.yaml"), "{}", text(&output));
}

#[test]
fn a_flag_of_the_wrong_form_is_refused_without_repeating_it() {
    let bridge = Bridge::new(1, &crate::support::bridge::readings(1));
    for flag in ["mqtt.password:hunter2", "hunter2", "=hunter2"] {
        let output = bridge.command(&["check", "--offline", "--set", flag]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains("KEY=VALUE") && !text(&output).contains("hunter2"), "{}", text(&output));
    }
}

#[test]
fn check_names_every_address_without_its_credentials() {
    let bridge = Bridge::bare(
        "mqtt: {urls: ['mqtt://t0ken:hunter2@h1', 'wss://t0ken:hunter2@h2/x?key=hunter2']}\ndatabases: {d: {url: \
         'postgres://t0ken:hunter2@h3,h4/d'}}\nrules: [{topic: a, table: t, columns: {p: payload}}]\n",
    );
    let text = text(&bridge.command(&["check", "--offline"]));
    for address in ["mqtt://h1:1883", "wss://h2:443/x?…", "h3:5432,h4:5432/d"] {
        assert!(text.contains(address), "{address} in {text}");
    }
    assert!(!text.contains("t0ken") && !text.contains("hunter2"), "{text}");
}

/// A pipe can be read once; what reads it again waits for ever.
#[test]
fn the_configuration_may_come_by_a_pipe() {
    let bridge = Bridge::new(1, &crate::support::bridge::readings(1));
    std::fs::write(bridge.path("golden.yaml"), "- name: none\n  topic: no/such\n  expect: []\n").unwrap();
    let run = |feed: &str, arguments: &[&str]| {
        let script = format!("rm -f pipe; mkfifo pipe; {feed}; code=$?; wait; exit $code");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_rowbridge")]).args(arguments).current_dir(bridge.path(""));
        command.env_remove("ROWBRIDGE_CONFIG").output().unwrap()
    };
    for (feed, file) in [
        ("cat bridge.yaml > pipe & timeout 30 \"$0\" \"$@\"", "pipe"),
        ("cat bridge.yaml | timeout 30 \"$0\" \"$@\"", "/dev/stdin"),
    ] {
        for (arguments, code, words) in [
            (&["check", "--offline"][..], 0, "the configuration is right"),
            (&["explain", "sensors/a/b/telemetry", "{}", "--offline"], 0, "readings"),
            (&["schema", "sql"], 0, "CREATE TABLE"),
            (&["test", "golden.yaml"], 0, "passed"),
            (&["status"], 1, "no running bridge"),
            (&["reload"], 1, "no running bridge"),
            (&["journal", "status"], 1, "journal"),
        ] {
            let output = run(feed, &[arguments, &["-c", file]].concat());
            let said = text(&output);
            assert_eq!(output.status.code(), Some(code), "{file}, {arguments:?}: {said}");
            assert!(said.contains(words), "{file}, {arguments:?}: {said}");
        }
    }
}
