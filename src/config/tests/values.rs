//! What a right configuration means.

use std::path::PathBuf;
use std::time::Duration;

use super::{Bench, LOCAL, REST};
use crate::config::{Columns, DatabaseUrl, Durability, Format, Http, MqttVersion, Retained, Scheme};
use crate::message::Qos;
use crate::rule::{ColumnSource, DeclaredType, Decode, Exact, Source, TimeFormat};

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
    assert_eq!((config.mqtt.retry.min, config.mqtt.retry.max), (Duration::from_millis(200), Duration::from_secs(30)));
    assert_eq!((config.mqtt.max_packet_size, config.mqtt.topic_alias_maximum), (1 << 20, 0));
    assert_eq!(config.mqtt.session_expiry, Duration::from_secs(7 * 86_400));
    assert_eq!(config.journal.durability, Durability::Commit);
    assert_eq!((config.journal.segment_size, config.journal.max_size), (16 << 20, 1 << 30));
    assert_eq!(config.databases[0].batch.max_rows, 5000);
    assert!(matches!(&config.databases[0].url, DatabaseUrl::Sqlite(path) if path.as_os_str() == "rowbridge.db"));
    assert_eq!(config.http, Http::Listen("127.0.0.1:9469".parse().unwrap()));
    assert_eq!(config.shutdown_grace, Duration::from_secs(10));
    let rule = &config.rules[0];
    assert_eq!((&*rule.name, rule.qos, rule.database, &rule.format), ("rule-1", Qos::AtLeastOnce, 0, &Format::Json));
    assert_eq!(rule.retained, Retained::Store);
    assert!(rule.position.ends_with("bridge.yaml:7:5"), "{}", rule.position);
    let Columns::Named(columns) = &rule.columns else { panic!("named columns") };
    assert_eq!(columns.iter().map(|column| &*column.name).collect::<Vec<_>>(), ["time", "site", "device", "temp"]);
    assert_eq!(columns[1].source, ColumnSource::From(Source::TopicCapture("site".to_owned())));
    assert_eq!(columns[3].declared, Some(DeclaredType::Real));
}

#[test]
fn the_full_reference_with_its_defaults_is_accepted() {
    let config = Bench::new(include_str!("../testdata/reference.yaml")).config();
    assert_eq!(&*config.bridge, "gw1");
    assert_eq!(config.rules[0].database, 0);
}

#[test]
fn the_example_at_the_top_of_the_repository_is_right() {
    let config = Bench::new(include_str!("../../../bridge.yaml")).config();
    assert_eq!(config.rules.len(), 1);
    assert_eq!(config.databases.len(), 1);
}

#[test]
fn a_default_of_null_is_a_default_and_none_is_none() {
    let config = Bench::new(
        "databases: {local: {url: 'sqlite:x.db'}}\n\
         rules: [{topic: a, table: t, columns: {x: {from: payload.x, default: null}, y: {from: payload.y}}}]\n",
    )
    .config();
    let Columns::Named(columns) = &config.rules[0].columns else { panic!("named columns") };
    assert_eq!((&columns[0].default, &columns[1].default), (&Some(serde_json::Value::Null), &None));
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
fn http_beyond_loopback_says_who_may_read() {
    let bench = Bench::new("");
    let token = bench.file("token", "t0ken-of-a-kind\n");
    let http = |keys: &str| Bench::new(&format!("http: {{listen: '0.0.0.0:80', {keys}}}\n{REST}")).config();
    let config = http(&format!("token_file: {}, hosts: [GW1.example., gw2]", token.display()));
    assert_eq!(config.http_access.token.unwrap().read().unwrap().expose(), "t0ken-of-a-kind");
    assert_eq!(config.http_access.hosts, ["gw1.example", "gw2"]);
    assert!(http("allow_unauthenticated: true").http_access.token.is_none());
    let compose = include_str!("../../../deploy/bridge.yaml").replace("password_file: /run/secrets", "# ");
    assert_eq!(Bench::new(&compose).config().http, Http::Listen("0.0.0.0:9469".parse().unwrap()));
    for loopback in ["127.1.2.3:80", "[::1]:80"] {
        Bench::new(&format!("http: {{listen: '{loopback}'}}\n{REST}")).config();
    }
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
    assert_eq!(config.mqtt.username.as_ref().unwrap().read().unwrap().expose(), "u");
    assert_eq!(config.mqtt.password.unwrap().read().unwrap().expose(), "p@ss");
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

#[test]
fn adjustments_are_read_as_they_are_written() {
    let config = Bench::new(&format!(
        "rules:\n  - topic: a\n    table: t\n    columns:\n      raw: {{from: payload.raw, scale: 0.10, shift: -40}}\n      state: \
         {{from: payload, map: {{on: 1, 2: two, true: yes, \"\": null, \"*\": -0.0}}}}\n      data: {{from: payload.d, decode: \
         [base64, json], decimal: \",\", unit: ignore, on_error: null}}\n      at: {{from: payload.t, time: [auto, \"%d.%m.%Y\"]}}\n{LOCAL}"
    ))
    .config();
    let Columns::Named(columns) = &config.rules[0].columns else { panic!("named columns") };
    let adjust = |index: usize| columns[index].adjust.as_deref().unwrap();
    assert_eq!((&adjust(0).scale, &adjust(0).shift), (&Exact::parse("0.1"), &Exact::parse("-40")));
    let map = adjust(1).map.as_ref().unwrap();
    let entries: Vec<(&str, &str)> = map.entries.iter().map(|(key, json)| (key.as_str(), json.as_str())).collect();
    assert_eq!(entries, [("", "null"), ("2", "\"two\""), ("on", "1"), ("true", "\"yes\"")]);
    assert_eq!(map.others.as_deref(), Some("-0.0"));
    assert_eq!(adjust(2).decode, [Decode::Base64, Decode::Json]);
    assert_eq!((adjust(2).decimal, adjust(2).ignores_unit), (Some(','), true));
    assert!(adjust(2).misfits_are_null && !adjust(1).misfits_are_null && columns[2].on_error.is_none());
    let formats = [TimeFormat::Auto, TimeFormat::Pattern("%d.%m.%Y".to_owned())];
    assert_eq!(columns[3].time, Some(TimeFormat::OneOf(formats.into())));
}

#[test]
fn a_constant_may_be_null_and_a_decimal_that_a_double_holds() {
    let columns = "{x: {value: null}, y: {value: 2.50}, z: {value: -1e300}, w: {value: 5.}}";
    let config = Bench::new(&format!("{LOCAL}rules: [{{topic: a, table: t, columns: {columns}}}]\n")).config();
    let Columns::Named(columns) = &config.rules[0].columns else { panic!("named columns") };
    let sources: Vec<&ColumnSource> = columns.iter().map(|column| &column.source).collect();
    let literal = |value: serde_json::Value| ColumnSource::Value(value);
    let expected = [serde_json::Value::Null, 2.5.into(), (-1e300).into(), 5.0.into()].map(literal);
    assert_eq!(sources, expected.iter().collect::<Vec<_>>());
}

#[test]
fn a_topic_may_say_its_own_qos() {
    let rules = "[{topic: [a/b::2, c, 'd::x', e::0], table: t, columns: {x: qos}}]";
    let config = Bench::new(&format!("{LOCAL}rules: {rules}\n")).config();
    let rule = &config.rules[0];
    let filters: Vec<&str> = rule.topics.iter().map(|topic| topic.filter()).collect();
    assert_eq!(filters, ["a/b", "c", "d::x", "e"]);
    let qos = (0..4).map(|topic| rule.qos_of(topic)).collect::<Vec<_>>();
    assert_eq!(qos, [Qos::ExactlyOnce, Qos::AtLeastOnce, Qos::AtLeastOnce, Qos::AtMostOnce]);
}

#[test]
fn user_properties_of_a_subscription_are_names_and_texts() {
    let rule = "{topic: a, table: t, columns: {x: qos}, subscribe_properties: {sub-offset: earliest, n: 5}}";
    let config = Bench::new(&format!("{LOCAL}rules: [{rule}]\n")).config();
    let expected = [("sub-offset", "earliest"), ("n", "5")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(config.rules[0].subscribe_properties, expected);
}
