//! Where the configuration comes from, and which layer wins.

use std::fs;
use std::time::Duration;

use proptest::prelude::*;

use super::{Bench, REST};
use crate::config::{Http, Needs, Scheme, load};

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
    assert_eq!(config.mqtt.password.unwrap().read().unwrap().expose(), "x");
    // An empty variable takes its own key back, and no other.
    let bench = Bench::new(&format!("mqtt: {{url: 'mqtts://prod', username: u, password: x}}\n{REST}"))
        .variable("ROWBRIDGE__MQTT__URLS", "")
        .variable("ROWBRIDGE__MQTT__USERNAME", "")
        .variable("ROWBRIDGE__MQTT__PASSWORD_FILE", "");
    let mqtt = bench.config().mqtt;
    assert_eq!((mqtt.urls[0].host.as_str(), mqtt.username, mqtt.password.is_some()), ("prod", None, true));
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
    assert!(config.mqtt.username.is_none());
    // Keys are left alone.
    let bench = Bench::new(&format!("${{NAME}}: x\n{REST}")).variable("NAME", "bridge");
    assert_eq!(bench.findings(), ["1:1 [\"${NAME}\"]: this key is not known"]);
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

#[test]
fn a_variable_that_is_not_text_is_a_mistake_where_it_is_used() {
    let mut bench = Bench::new(&format!("mqtt: {{client_id: 'a${{ID:-b}}', username: '$${{ID}}'}}\n{REST}"));
    bench.config();
    bench.request.not_text = ["ID", "ROWBRIDGE__JOURNAL__MAX_SIZE", "OTHER"].map(str::to_owned).into();
    assert_eq!(
        bench.findings(),
        [
            "1:19 mqtt.client_id: the value of the environment variable ID is not UTF-8 text",
            "ROWBRIDGE__JOURNAL__MAX_SIZE journal.max_size: the value is not UTF-8 text",
        ]
    );
    // A command to which the journal and the broker mean nothing goes on.
    bench = bench.needing(Needs::only(&["http"]));
    bench.config();
    bench.request.not_text.insert("ROWBRIDGE__HTTP__LISTEN".to_owned());
    assert_eq!(bench.findings(), ["ROWBRIDGE__HTTP__LISTEN http.listen: the value is not UTF-8 text"]);
    bench.request.file = None;
    bench.request.not_text = ["ROWBRIDGE_CONFIG".to_owned()].into();
    assert_eq!(bench.findings(), ["ROWBRIDGE_CONFIG : the value is not UTF-8 text"]);
}
