use std::fs;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::config::{Columns, DatabaseUrl, Durability, Format, Http, MqttVersion, Retained, Scheme};
use crate::mapping::{ColumnSource, Source};
use crate::message::Qos;
use crate::sink::DeclaredType;

/// Databases and rules that are right, for tests of the other sections.
const REST: &str = "databases: {local: {url: 'sqlite:x.db'}}\nrules: [{topic: a, table: t, columns: {p: payload}}]\n";

/// A rule's other keys; the rule under test begins at line 2.
const LOCAL: &str = "databases: {local: {url: 'sqlite:x.db'}}\n";

struct Bench {
    directory: TempDir,
    request: LoadRequest,
}

impl Bench {
    fn new(text: &str) -> Bench {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("bridge.yaml");
        fs::write(&file, text).unwrap();
        let request = LoadRequest {
            file: Some(file),
            overrides: Vec::new(),
            environment: BTreeMap::new(),
            hostname: "host1".to_owned(),
            directory: directory.path().to_owned(),
            system_file: directory.path().join("etc.yaml"),
        };
        Bench { directory, request }
    }

    fn variable(mut self, name: &str, value: &str) -> Bench {
        self.request.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    fn flag(mut self, path: &str, value: &str) -> Bench {
        self.request.overrides.push((path.to_owned(), value.to_owned()));
        self
    }

    /// A file beside the configuration; its path.
    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn config(&self) -> Config {
        load(&self.request).unwrap_or_else(|report| panic!("{report}"))
    }

    fn report(&self) -> Report {
        load(&self.request).expect_err("a report")
    }

    /// Each finding as `line:column key: problem`.
    fn findings(&self) -> Vec<String> {
        let place = |place: &Place| match place {
            Place::File { position, .. } => position.to_string(),
            Place::Variable(name) => name.clone(),
            Place::Flag(path) => format!("--{path}"),
            Place::Nowhere => "-".to_owned(),
        };
        let report = self.report();
        let lines = report.findings().iter();
        lines.map(|finding| format!("{} {}: {}", place(&finding.place), finding.key, finding.problem)).collect()
    }
}

/// The only finding of a text, as `line:column key: problem`, and the whole report.
fn only_finding(text: &str) -> (String, String) {
    let bench = Bench::new(text);
    let findings = bench.findings();
    assert_eq!(findings.len(), 1, "{text}\n{}", bench.report());
    (findings[0].clone(), bench.report().to_string())
}

fn assert_finding(text: &str, expected: &str) {
    assert_eq!(only_finding(text).0, expected, "{text}");
}

#[test]
fn the_smallest_useful_file_gets_every_default() {
    let config = Bench::new(
        "mqtt:\n  url: mqtt://localhost:1883\ndatabases:\n  local:\n    url: sqlite:rowbridge.db\nrules:\n  - topic: \
         sensors/{site}/{device}/telemetry\n    table: telemetry\n    create: true\n    columns:\n      time:   \
         received_at\n      site:   topic.site\n      device: topic.device\n      temp:   { from: payload.temp, type: \
         real }\n",
    )
    .config();
    assert_eq!(config.mqtt.client_id, "rowbridge-host1");
    assert_eq!(&*config.bridge, "rowbridge-host1");
    assert_eq!(config.data_dir, PathBuf::from("rowbridge-data"));
    assert_eq!(config.mqtt.version, MqttVersion::V5);
    assert_eq!(config.mqtt.receive_maximum, 1000);
    assert_eq!(config.mqtt.max_packet_size, 1 << 20);
    assert_eq!(config.mqtt.session_expiry, Duration::from_secs(7 * 86_400));
    assert_eq!(config.journal.durability, Durability::Commit);
    assert_eq!((config.journal.segment_size, config.journal.max_size), (16 << 20, 1 << 30));
    assert_eq!(config.databases[0].batch.max_rows, 5000);
    assert!(matches!(&config.databases[0].url, DatabaseUrl::Sqlite(path) if path.as_os_str() == "rowbridge.db"));
    assert_eq!(config.http, Http::Listen("127.0.0.1:9469".parse().unwrap()));
    assert_eq!(config.shutdown_grace, Duration::from_secs(10));
    let rule = &config.rules[0];
    assert_eq!((&*rule.name, rule.qos, rule.database, rule.format), ("rule-1", Qos::AtLeastOnce, 0, Format::Json));
    assert_eq!(rule.retained, Retained::Store);
    assert!(rule.position.ends_with("bridge.yaml:7:5"), "{}", rule.position);
    let Columns::Named(columns) = &rule.columns else { panic!("named columns") };
    assert_eq!(columns.iter().map(|column| &*column.name).collect::<Vec<_>>(), ["time", "site", "device", "temp"]);
    assert_eq!(columns[1].source, ColumnSource::From(Source::TopicCapture("site".to_owned())));
    assert_eq!(columns[3].declared, Some(DeclaredType::Real));
}

#[test]
fn the_full_reference_with_its_defaults_is_accepted() {
    let config = Bench::new(include_str!("testdata/reference.yaml")).config();
    assert_eq!(&*config.bridge, "gw1");
    assert_eq!(config.rules[0].database, 0);
}

#[test]
fn the_example_at_the_top_of_the_repository_is_right() {
    let config = Bench::new(include_str!("../../bridge.yaml")).config();
    assert_eq!(config.rules.len(), 1);
    assert_eq!(config.databases.len(), 1);
}

#[test]
fn seven_mistakes_give_seven_findings_with_their_places() {
    let bench = Bench::new(
        "mqtt:\n  url: tcp://localhost\n  keepalive: 30\n  keep_alive: 30\ndatabases:\n  local: {url: \
         sqlite:x.db}\nrules:\n  - topic: a/{site}/b\n    table: t\n    qos: 3\n    databse: local\n    columns:\n      \
         site: topic.sit\n      temp: {from: payload.temp, typ: real}\n    create: maybe\n",
    );
    assert_eq!(
        bench.findings(),
        [
            "2:8 mqtt.url: found a scheme that is not MQTT's",
            "3:3 mqtt.keepalive: this key is not known",
            "4:15 mqtt.keep_alive: found `30`, which has no unit",
            "10:10 rules[0].qos: found `3`",
            "11:5 rules[0].databse: this key is not known",
            "13:13 rules[0].columns.site: the topic `a/{site}/b` has no capture {sit}",
            "14:34 rules[0].columns.temp.typ: this key is not known",
            "15:13 rules[0].create: found `maybe`",
        ]
    );
    let text = bench.report().to_string();
    for hint in ["mqtt://", "keep_alive", "30s", "database", "topic.site", "type"] {
        assert!(text.contains(&format!("did you mean `{hint}`?")), "{hint} in:\n{text}");
    }
    assert!(text.ends_with("8 mistakes in the configuration"), "{text}");
}

#[test]
fn each_mistake_outside_the_rules_is_found_at_its_place() {
    for (line, expected) in [
        ("mqtt: 5", "1:7 mqtt: found a number"),
        ("mqtt: {url: 'localhost:1883'}", "1:13 mqtt.url: found `localhost:1883`, which has no scheme"),
        ("mqtt: {url: 'mqtt://'}", "1:13 mqtt.url: has no host"),
        ("mqtt: {url: 'mqtt://h:0'}", "1:13 mqtt.url: has port 0"),
        ("mqtt: {url: 'mqtt://h:99999'}", "1:13 mqtt.url: is not a URL: invalid port number"),
        ("mqtt: {url: 'mqtt://h/path'}", "1:13 mqtt.url: has something after host and port"),
        ("mqtt: {urls: []}", "1:14 mqtt.urls: found an empty list"),
        ("mqtt: {url: 'mqtt://a', urls: ['mqtt://b']}", "1:31 mqtt.urls: `url` is given too"),
        ("mqtt: {version: 3.1}", "1:17 mqtt.version: found `3.1`"),
        ("mqtt: {client_id: ''}", "1:19 mqtt.client_id: found ``"),
        ("mqtt: {receive_maximum: 0}", "1:25 mqtt.receive_maximum: found `0`"),
        ("mqtt: {receive_maximum: 65536}", "1:25 mqtt.receive_maximum: found `65536`"),
        ("mqtt: {max_packet_size: 100}", "1:25 mqtt.max_packet_size: found `100`, which is out of range"),
        ("mqtt: {max_packet_size: 257MiB}", "1:25 mqtt.max_packet_size: found `257MiB`, which is out of range"),
        ("mqtt: {max_packet_size: 8M}", "1:25 mqtt.max_packet_size: found `8M`, which has a unit that is not known"),
        ("mqtt: {keep_alive: 0s}", "1:20 mqtt.keep_alive: found `0s`, which is out of range"),
        ("mqtt: {keep_alive: 1500ms}", "1:20 mqtt.keep_alive: found `1500ms`; MQTT counts it in whole seconds"),
        ("mqtt: {keep_alive: [5s]}", "1:20 mqtt.keep_alive: found a list"),
        ("mqtt: {tls: {insecure_skip_verify: 1}}", "1:36 mqtt.tls.insecure_skip_verify: found `1`"),
        ("journal: {durability: comit}", "1:23 journal.durability: found `comit`"),
        ("journal: {durability: 5h}", "1:23 journal.durability: found `5h`, which is out of range"),
        ("journal: {segment_size: 1}", "1:25 journal.segment_size: found `1`, which is out of range"),
        (
            "journal: {segment_size: 16MiB, max_size: 20MiB}",
            "1:42 journal.max_size: max_size (20MiB) holds fewer than 2 segments of segment_size (16MiB)",
        ),
        ("journal: {when_full: drop}", "1:22 journal.when_full: found `drop`"),
        ("journal: {on_corruption: ignore}", "1:26 journal.on_corruption: found `ignore`"),
        ("http: here", "1:7 http: found `here`"),
        ("http: {listen: '9469'}", "1:16 http.listen: found `9469`"),
        ("http: {listen: 'example.com:80'}", "1:16 http.listen: found `example.com:80`"),
        ("http: {port: 80}", "1:8 http.port: this key is not known"),
        ("log: {level: inof}", "1:14 log.level: found `inof`"),
        ("log: {format: xml}", "1:15 log.format: found `xml`"),
        ("unmatched: drop", "1:12 unmatched: found `drop`"),
        ("dead_letters: {keep: 30}", "1:22 dead_letters.keep: found `30`, which has no unit"),
        ("shutdown_grace: 0s", "1:17 shutdown_grace: found `0s`, which is out of range"),
        ("bridge: ''", "1:9 bridge: found ``"),
        ("data_dir: ''", "1:11 data_dir: found ``, which is not a path"),
        ("mqqt: {url: x}", "1:1 mqqt: this key is not known"),
        ("a.b: 1", "1:1 [\"a.b\"]: this key is not known"),
        ("data_dir: x\ndata_dir: y", "2:1 : the key `data_dir` was given before, at 1:1"),
        ("data_dir: ${NOT_SET}", "1:11 : the environment variable NOT_SET is not set"),
        ("data_dir: !include x", "1:11 : the tag `!include` means nothing here; write the value without it"),
    ] {
        assert_finding(&format!("{line}\n{REST}"), expected);
    }
}

#[test]
fn each_mistake_in_a_rule_is_found_at_its_place() {
    let long = "x".repeat(64);
    for (rule, expected) in [
        ("topic: a, table: t", "2:9 rules[0].columns: is missing".to_owned()),
        ("topic: a, columns: {p: payload}", "2:9 rules[0].table: is missing".to_owned()),
        ("table: t, columns: {p: payload}", "2:9 rules[0].topic: is missing".to_owned()),
        ("topic: [], table: t, columns: {p: payload}", "2:17 rules[0].topic: is empty".to_owned()),
        ("topic: a, table: t, columns: {}", "2:39 rules[0].columns: found no column".to_owned()),
        ("topic: a, table: t, columns: [a]", "2:39 rules[0].columns: found a list".to_owned()),
        ("topic: a, table: t, columns: all", "2:39 rules[0].columns: found `all`".to_owned()),
        (
            "topic: a, table: t, create: true, columns: auto",
            "2:53 rules[0].columns: `create` cannot tell columns and types from `auto`".to_owned(),
        ),
        (
            "topic: a, table: t, create: true, columns: {x: payload.x}",
            "2:57 rules[0].columns.x: `create` cannot tell the type of this column".to_owned(),
        ),
        (
            "topic: a, table: t, format: text, columns: {x: payload.x}",
            "2:57 rules[0].columns.x: reads a field of the payload, and this format has none".to_owned(),
        ),
        ("topic: a, table: t, columns: {x: 5}", "2:43 rules[0].columns.x: found `5`, which is no source".to_owned()),
        ("topic: a, table: t, columns: {x: [a]}", "2:43 rules[0].columns.x: found a list".to_owned()),
        ("topic: a, table: t, columns: {x: }", "2:40 rules[0].columns.x: found nothing".to_owned()),
        ("topic: a, table: t, columns: {x: {}}", "2:43 rules[0].columns.x: has neither `from` nor `value`".to_owned()),
        (
            "topic: a, table: t, columns: {x: {from: qos, value: 1}}",
            "2:62 rules[0].columns.x.value: `from` is given too".to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: {from: qos, type: integer}}",
            "2:61 rules[0].columns.x.type: found `integer`".to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: {from: qos, tz: Nowhere/None}}",
            "2:59 rules[0].columns.x.tz: found `Nowhere/None`, a time zone that this machine does not know".to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: {from: qos, on_error: stop}}",
            "2:65 rules[0].columns.x.on_error: found `stop`".to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: {template: '{topic}'}}",
            "2:54 rules[0].columns.x.template: `template` is not supported yet".to_owned(),
        ),
        (
            &format!("topic: a, table: t, columns: {{{long}: qos}}"),
            format!("2:106 rules[0].columns.{long}: the column's name is not one"),
        ),
        (
            &format!("topic: a, table: {long}, columns: {{x: qos}}"),
            format!("2:27 rules[0].table: found `{}…`", &long[..60]),
        ),
        ("topic: a, table: a.b.c, columns: {x: qos}", "2:27 rules[0].table: found `a.b.c`".to_owned()),
        (
            "topic: a, table: s.t, columns: {x: qos}",
            "2:27 rules[0].table: found `s.t`; SQLite has no schema but `main`".to_owned(),
        ),
        (
            "topic: a, table: rowbridge_offsets, columns: {x: qos}",
            "2:27 rules[0].table: found `rowbridge_offsets`, which is not yours to write".to_owned(),
        ),
        (
            "topic: a, table: '{topic.x}', columns: {x: qos}",
            "2:27 rules[0].table: a template for the table is not supported yet".to_owned(),
        ),
        (
            "topic: a, table: t, database: '{topic.x}', columns: {x: qos}",
            "2:40 rules[0].database: a template for the database is not supported yet".to_owned(),
        ),
        (
            "topic: a, table: t, database: locale, columns: {x: qos}",
            "2:40 rules[0].database: found `locale`, which is not under `databases`".to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: qos, X: dup}",
            "2:51 rules[0].columns.X: to SQLite it is the same column as `x`".to_owned(),
        ),
        (
            "topic: a, table: t, format: csv, columns: {x: qos}",
            "2:38 rules[0].format: `csv` is not supported yet".to_owned(),
        ),
        ("topic: a, table: t, format: jsn, columns: {x: qos}", "2:38 rules[0].format: found `jsn`".to_owned()),
        (
            "topic: a, table: t, retained: changed, columns: {x: qos}",
            "2:40 rules[0].retained: `changed` is not supported yet".to_owned(),
        ),
        (
            "topic: a, table: t, mode: upsert, columns: {x: qos}",
            "2:36 rules[0].mode: `upsert` is not supported yet".to_owned(),
        ),
        ("topic: a, table: t, key: [x], columns: {x: qos}", "2:35 rules[0].key: `key` is not supported yet".to_owned()),
        (
            "topic: a, table: t, where: '.x', columns: {x: qos}",
            "2:37 rules[0].where: `where` is not supported yet".to_owned(),
        ),
        (
            "topic: a, table: t, compression: gzip, columns: {x: qos}",
            "2:43 rules[0].compression: `gzip` is not supported yet".to_owned(),
        ),
        (
            "topic: a, table: t, charset: gbk, columns: {x: qos}",
            "2:39 rules[0].charset: `gbk` is not supported yet".to_owned(),
        ),
        (
            "topic: a, table: t, unmapped: add, columns: {x: qos}",
            "2:40 rules[0].unmapped: `add` is not supported yet".to_owned(),
        ),
        (
            "topic: a, table: t, csv: {delimiter: ';'}, columns: {x: qos}",
            "2:47 rules[0].csv.delimiter: `;` is not supported yet".to_owned(),
        ),
        ("topic: a, table: t, columns: {x: qos}, name: ''", "2:55 rules[0].name: found ``".to_owned()),
    ] {
        assert_finding(&format!("{LOCAL}rules: [{{{rule}}}]\n"), &expected);
    }
    assert_finding(&format!("{LOCAL}rules: []\n"), "2:8 rules: is empty");
    assert_finding(&format!("{LOCAL}rules: {{topic: a}}\n"), "2:8 rules: found a mapping; each rule begins with `-`");
    assert_finding(LOCAL, "1:1 rules: is missing");
}

#[test]
fn patterns_and_sources_that_are_none_are_found_with_the_reason() {
    for rule in [
        "topic: 'a/#/b', table: t, columns: {x: qos}",
        "topic: '', table: t, columns: {x: qos}",
        "topic: a, table: t, columns: {x: payloda.temp}",
        "topic: a, table: t, columns: {x: 'payload['}",
        "topic: a, table: t, columns: {x: {from: payload.t, time: fortnights}}",
    ] {
        let (finding, _) = only_finding(&format!("{LOCAL}rules: [{{{rule}}}]\n"));
        assert!(finding.starts_with("2:"), "{finding}");
    }
}

#[test]
fn each_mistake_in_the_databases_is_found_at_its_place() {
    const RULES: &str = "rules: [{topic: a, table: t, database: d, columns: {p: payload}}]\n";
    for (line, expected) in [
        ("databases: {d: {}}", "1:13 databases.d.url: is missing"),
        (
            "databases: {d: {url: rowbridge.db}}",
            "1:22 databases.d.url: found `rowbridge.db`, which is no database that Rowbridge knows",
        ),
        (
            "databases: {d: {url: 'mysql://h/d'}}",
            "1:22 databases.d.url: found `mysql://h/d`, which is no database that Rowbridge knows",
        ),
        ("databases: {d: {url: 'sqlite:'}}", "1:22 databases.d.url: found `sqlite:`"),
        ("databases: {d: {url: 'sqlite::memory:'}}", "1:22 databases.d.url: found `sqlite::memory:`"),
        ("databases: {d: {url: 'sqlite://x.db'}}", "1:22 databases.d.url: found `sqlite://x.db`, with a host"),
        ("databases: {d: {url: 'sqlite:x', schema: s}}", "1:42 databases.d.schema: means nothing for SQLite"),
        ("databases: {d: {url: 'sqlite:x', batch: {max_rows: 0}}}", "1:52 databases.d.batch.max_rows: found `0`"),
        ("databases: {d: {url: 'sqlite:x', batch: {rows: 5}}}", "1:42 databases.d.batch.rows: this key is not known"),
        ("databases: {d: {url: 'sqlite:x', retry: {min: 1m}}}", "1:47 databases.d.retry.min: min is longer than max"),
        ("databases: {d: {url: 'postgres://h:x/d'}}", "1:22 databases.d.url: parameter `port` is not valid"),
        (
            "databases: {d: {url: 'postgres://h/d?sslmode=maybe'}}",
            "1:22 databases.d.url: parameter `sslmode` is not valid",
        ),
        (
            "databases: {d: {url: 'postgres://h/d?slmode=require'}}",
            "1:22 databases.d.url: has a parameter that is not known: `slmode`",
        ),
        (
            "databases: {d: {url: 'postgres://h/d?target_session_attrs=standby'}}",
            "1:22 databases.d.url: parameter `target_session_attrs` is not valid",
        ),
        ("databases: {d: {url: 'postgres://h/d', schema: 'a.b'}}", "1:48 databases.d.schema: found `a.b`"),
        ("databases: {d: {url: 'postgres://h/d', tls: {ca: x}}}", "1:46 databases.d.tls.ca: this key is not known"),
    ] {
        assert_finding(&format!("{line}\n{RULES}"), expected);
    }
    assert_finding(REST.lines().nth(1).unwrap(), "1:1 databases: is missing");
    let twice = "databases: {a: {url: 'sqlite:x.db'}, d: {url: 'sqlite:./x.db'}}\n";
    assert_finding(&format!("{twice}{RULES}"), "1:41 databases.d: is the same database as `a`");
    let several = "databases: {a: {url: 'sqlite:a.db'}, d: {url: 'sqlite:d.db'}}\n";
    assert_finding(
        &format!("{several}rules: [{{topic: a, table: t, columns: {{p: payload}}}}]\n"),
        "2:9 rules[0].database: is missing",
    );
}

#[test]
fn rule_names_are_unique_also_against_the_default_names() {
    let rule = "{topic: a, table: t, columns: {p: payload}";
    let (finding, _) = only_finding(&format!("{LOCAL}rules:\n- {rule}, name: x}}\n- {rule}, name: x}}\n"));
    assert!(finding.starts_with("4:53 rules[1].name: the rule name `x` was given before, at "), "{finding}");
    assert!(finding.ends_with("bridge.yaml:3:3"), "{finding}");
    let (finding, _) = only_finding(&format!("{LOCAL}rules:\n- {rule}}}\n- {rule}, name: rule-1}}\n"));
    assert!(finding.starts_with("4:53 rules[1].name: the rule name `rule-1`"), "{finding}");
}

#[test]
fn a_syntax_error_is_one_finding_with_its_line() {
    let (finding, _) = only_finding("mqtt:\n  url: [a\nrules: {\n");
    assert!(finding.contains("not YAML"), "{finding}");
    assert_finding("- a\n- b\n", "1:1 : the file is not a mapping");
}

#[test]
fn bytes_that_are_no_text_are_found_where_they_are() {
    let bench = Bench::new("");
    fs::write(bench.request.file.as_ref().unwrap(), b"a: \xc3\xa9\nb: \xff\n").unwrap();
    assert_eq!(bench.findings(), ["2:4 : the file is not UTF-8 text from here on"]);
}

#[test]
fn the_file_is_looked_for_in_order() {
    let mut bench = Bench::new(&format!("bridge: local\n{REST}"));
    bench.request.file = None;
    assert_eq!(&*bench.config().bridge, "local");
    bench.file("etc.yaml", &format!("bridge: system\n{REST}"));
    assert_eq!(&*bench.config().bridge, "local");
    let named = bench.file("named.yaml", &format!("bridge: named\n{REST}"));
    let mut bench = bench.variable("ROWBRIDGE_CONFIG", named.to_str().unwrap());
    assert_eq!(&*bench.config().bridge, "named");
    bench.request.environment.clear();
    fs::remove_file(bench.directory.path().join("bridge.yaml")).unwrap();
    assert_eq!(&*bench.config().bridge, "system");
    fs::remove_file(bench.directory.path().join("etc.yaml")).unwrap();
    let report = bench.report().to_string();
    assert!(report.contains("bridge.yaml") && report.contains("etc.yaml"), "{report}");
    bench.request.file = Some(bench.directory.path().join("none.yaml"));
    let report = bench.report().to_string();
    assert!(report.contains("none.yaml: the configuration file cannot be read: No such file"), "{report}");
}

#[test]
fn later_layers_win() {
    let text = format!("mqtt: {{url: 'mqtt://file', client_id: file, keep_alive: 5s}}\n{REST}");
    let config = Bench::new(&text)
        .variable("ROWBRIDGE__MQTT__URL", "mqtt://variable")
        .variable("ROWBRIDGE__MQTT__CLIENT_ID", "007")
        .variable("ROWBRIDGE__DATABASES__LOCAL__BATCH__MAX_ROWS", "17")
        .variable("ROWBRIDGE__DATABASES__Extra__URL", "sqlite:extra.db")
        .variable("ROWBRIDGE__HTTP", "off")
        .flag("mqtt.url", "mqtts://flag")
        .report();
    // Two databases now: the rule must say which.
    assert_eq!(config.findings().len(), 1);
    let config = Bench::new(&text)
        .variable("ROWBRIDGE__MQTT__URL", "mqtt://variable")
        .variable("ROWBRIDGE__MQTT__CLIENT_ID", "007")
        .variable("ROWBRIDGE__DATABASES__LOCAL__BATCH__MAX_ROWS", "17")
        .variable("ROWBRIDGE__HTTP", "off")
        .flag("mqtt.url", "mqtts://flag")
        .config();
    assert_eq!((config.mqtt.urls[0].scheme, &*config.mqtt.urls[0].host), (Scheme::Mqtts, "flag"));
    assert_eq!(config.mqtt.client_id, "007");
    assert_eq!(config.mqtt.keep_alive, Duration::from_secs(5));
    assert_eq!(config.databases[0].batch.max_rows, 17);
    assert_eq!(config.http, Http::Off);
}

#[test]
fn a_mistake_from_outside_names_its_variable_or_flag() {
    let bench = Bench::new(REST)
        .variable("ROWBRIDGE__MQTT__KEEP_ALIVE", "30")
        .variable("ROWBRIDGE__MQTT__PASWORD", "hunter2")
        .flag("log.level", "loud");
    assert_eq!(
        bench.findings(),
        [
            "ROWBRIDGE__MQTT__KEEP_ALIVE mqtt.keep_alive: found `30`, which has no unit",
            "ROWBRIDGE__MQTT__PASWORD mqtt.pasword: this key is not known",
            "--log.level log.level: found `loud`",
        ]
    );
    assert!(!bench.report().to_string().contains("hunter2"));
}

#[test]
fn one_form_of_a_setting_replaces_the_other_form_below() {
    let bench = Bench::new(&format!("mqtt: {{urls: ['mqtt://a', 'mqtt://b'], password_file: /nowhere}}\n{REST}"))
        .variable("ROWBRIDGE__MQTT__URL", "mqtt://c")
        .variable("ROWBRIDGE__MQTT__PASSWORD", "x");
    let config = bench.config();
    assert_eq!(config.mqtt.urls.len(), 1);
    assert_eq!(config.mqtt.password.unwrap().expose(), "x");
    let config = Bench::new(REST).variable("ROWBRIDGE__MQTT__URLS", "mqtt://a, mqtts://b").config();
    assert_eq!(config.mqtt.urls[1].port, 8883);
}

#[test]
fn variables_are_filled_into_values_and_stay_text() {
    let config = Bench::new(&format!(
        "bridge: '${{NAME}}'\nmqtt:\n  username: ${{USER:-}}\n  client_id: '${{SLY}}'\n  receive_maximum: ${{MAX}}\n{REST}"
    ))
    .variable("NAME", "true")
    .variable("SLY", "x}\nrules: []")
    .variable("MAX", "5")
    .config();
    assert_eq!(&*config.bridge, "true");
    assert_eq!(config.mqtt.client_id, "x}\nrules: []");
    assert_eq!(config.mqtt.receive_maximum, 5);
    assert_eq!(config.mqtt.username, None);
    // Keys are left alone.
    let bench = Bench::new(&format!("${{NAME}}: x\n{REST}")).variable("NAME", "bridge");
    assert_eq!(bench.findings(), ["1:1 [\"${NAME}\"]: this key is not known"]);
}

#[test]
fn http_can_be_off_in_each_spelling() {
    for word in ["off", "false", "no", "'off'"] {
        assert_eq!(Bench::new(&format!("http: {word}\n{REST}")).config().http, Http::Off, "{word}");
    }
    let config = Bench::new(&format!("http: {{listen: 'localhost:80'}}\n{REST}")).config();
    assert_eq!(config.http, Http::Listen("127.0.0.1:80".parse().unwrap()));
}

#[test]
fn broker_urls_are_taken_apart() {
    let config = Bench::new(&format!(
        "mqtt: {{urls: ['mqtt://u:p%40ss@h', 'mqtts://[::1]', 'ws://h', 'wss://h/x?y=1', 'mqtt://h:1884/']}}\n{REST}"
    ))
    .config();
    let urls: Vec<_> =
        config.mqtt.urls.iter().map(|url| (url.scheme, url.host.as_str(), url.port, url.path.as_str())).collect();
    assert_eq!(
        urls,
        [
            (Scheme::Mqtt, "h", 1883, ""),
            (Scheme::Mqtts, "::1", 8883, ""),
            (Scheme::Ws, "h", 80, "/mqtt"),
            (Scheme::Wss, "h", 443, "/x?y=1"),
            (Scheme::Mqtt, "h", 1884, ""),
        ]
    );
    assert_eq!(config.mqtt.username.as_deref(), Some("u"));
    assert_eq!(config.mqtt.password.unwrap().expose(), "p@ss");
}

#[test]
fn a_small_journal_gets_small_segments() {
    let config = Bench::new(&format!("journal: {{max_size: 1MiB}}\n{REST}")).config();
    assert_eq!(config.journal.segment_size, 128 << 10);
}

#[test]
fn the_state_directory_is_the_default_for_data() {
    let config = Bench::new(REST).variable("STATE_DIRECTORY", "/var/lib/rowbridge:/other").config();
    assert_eq!(config.data_dir, PathBuf::from("/var/lib/rowbridge"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_file_makes_loading_panic(text in "(?s)[-a-z0-9:{}\\[\\], \\n'\"&*$#<]{0,120}") {
        let _ = load(&Bench::new(&format!("{REST}{text}")).request);
        let _ = load(&Bench::new(&text).request);
    }

    #[test]
    fn no_value_makes_a_section_panic(
        key in prop::sample::select(vec!["mqtt", "journal", "databases", "rules", "http", "log", "bridge", "dead_letters"]),
        inner in prop::sample::select(vec!["url", "urls", "tls", "local", "columns", "batch", "listen", "level", "keep"]),
        value in "\\PC{0,40}",
    ) {
        let value = format!("{value:?}");
        let _ = load(&Bench::new(&format!("{key}: {value}\n")).request);
        let _ = load(&Bench::new(&format!("{key}: {{{inner}: {value}}}\n")).request);
        let _ = load(&Bench::new(&format!("{key}: [{{{inner}: {value}}}]\n")).request);
    }
}
