//! Each mistake is found, with its position.

mod rules;
mod yaml;

use super::{Bench, REST, assert_finding};

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
            "2:8 mqtt.url: found `tcp://`, which is not MQTT's",
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
    for hint in ["mqtt://localhost", "keep_alive", "30s", "database", "topic.site", "type"] {
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
        ("mqtt: {retry: {min: 1m}}", "1:21 mqtt.retry.min: min is longer than max"),
        ("mqtt: {receive_maximum: 65536}", "1:25 mqtt.receive_maximum: found `65536`"),
        ("mqtt: {max_packet_size: 100}", "1:25 mqtt.max_packet_size: found `100`, which is out of range"),
        ("mqtt: {max_packet_size: 257MiB}", "1:25 mqtt.max_packet_size: found `257MiB`, which is out of range"),
        (
            "mqtt: {status_topic: 'a/{rule}'}",
            "1:22 mqtt.status_topic: in the template `a/{rule}`: only {bridge} can be filled in here",
        ),
        (
            "mqtt: {status_topic: 'a/+'}",
            "1:22 mqtt.status_topic: found `a/+`: the topic holds a wildcard (+ or #), which the topic of a message must not",
        ),
        (
            "mqtt: {status_topic: $SYS/x}",
            "1:22 mqtt.status_topic: found `$SYS/x`: the topic begins with $, which is the broker's own",
        ),
        (
            "mqtt: {client_id: 'a#', status_topic: 'a/{bridge}'}",
            "1:39 mqtt.status_topic: found `a/{bridge}`: the topic holds a wildcard (+ or #), which the topic of a message must not",
        ),
        ("mqtt: {topic_alias_maximum: 1001}", "1:29 mqtt.topic_alias_maximum: found `1001`"),
        ("mqtt: {max_packet_size: 8M}", "1:25 mqtt.max_packet_size: found `8M`, which has a unit that is not known"),
        ("mqtt: {keep_alive: 0s}", "1:20 mqtt.keep_alive: found `0s`, which is out of range"),
        ("mqtt: {keep_alive: 1500ms}", "1:20 mqtt.keep_alive: found `1500ms`; MQTT counts it in whole seconds"),
        ("mqtt: {keep_alive: [5s]}", "1:20 mqtt.keep_alive: found a list"),
        ("mqtt: {tls: {insecure_skip_verify: 1}}", "1:36 mqtt.tls.insecure_skip_verify: found `1`"),
        (
            "http: {listen: '0.0.0.0:9469'}",
            "1:16 http.listen: found `0.0.0.0:9469`, an address that others can reach, and nothing says who may read there",
        ),
        (
            "http: {listen: '[::]:9469', token: abcdefgh, allow_unauthenticated: true}",
            "1:69 http.allow_unauthenticated: `token` is given too",
        ),
        ("http: {token: ''}", "1:15 http.token: it is empty"),
        ("http: {listen: '0.0.0.0:9469', token: ' '}", "1:39 http.token: it is empty"),
        ("http: {hosts: ['http://a:1']}", "1:16 http.hosts[0]: found `http://a:1`"),
        ("journal: {durability: comit}", "1:23 journal.durability: found `comit`"),
        ("journal: {durability: delivred}", "1:23 journal.durability: found `delivred`"),
        (
            "journal: {durability: delivered, when_full: drop_oldest}",
            "1:45 journal.when_full: a full journal would drop messages that no database has",
        ),
        ("journal: {sync_interval: aut}", "1:26 journal.sync_interval: found `aut`"),
        ("journal: {sync_interval: 1m}", "1:26 journal.sync_interval: found `1m`, which is out of range"),
        (
            "journal: {durability: 1s, sync_interval: 5ms}",
            "1:42 journal.sync_interval: only with durability: commit does an acknowledgement wait for an fdatasync",
        ),
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
        ("log: {level: 'a[{é}]=debug'}", "1:14 log.level: found `a[{é}]=debug`"),
        ("log: {level: 'info,=debug'}", "1:14 log.level: found `info,=debug`"),
        ("log: {level: 'info, rowbridge=loud'}", "1:14 log.level: found `info, rowbridge=loud`"),
        ("log: {format: xml}", "1:15 log.format: found `xml`"),
        ("unmatched: drop", "1:12 unmatched: found `drop`"),
        ("dead_letters: {keep: 30}", "1:22 dead_letters.keep: found `30`, which has no unit"),
        ("shutdown_grace: 0s", "1:17 shutdown_grace: found `0s`, which is out of range"),
        ("bridge: ''", "1:9 bridge: found ``"),
        ("data_dir: ''", "1:11 data_dir: found ``, which is not a path"),
        ("rules_from: {a: b}", "1:13 rules_from: found a mapping"),
        ("rules_from: ['']", "1:14 rules_from[0]: found ``, which is not a path"),
        ("mqqt: {url: x}", "1:1 mqqt: this key is not known"),
        ("a.b: 1", "1:1 [\"a.b\"]: this key is not known"),
        ("data_dir: x\ndata_dir: y", "2:1 data_dir: the key `data_dir` was given before, at 1:1"),
        ("data_dir: ${NOT_SET}", "1:11 data_dir: the environment variable NOT_SET is not set"),
        ("data_dir: !include x", "1:11 data_dir: the tag `!include` means nothing here; write the value without it"),
    ] {
        assert_finding(&format!("{line}\n{REST}"), expected);
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
fn every_suggested_address_is_taken_when_it_is_followed() {
    for (section, written, suggested) in [
        ("databases", "sqlite3://x.db", Some("sqlite:x.db")),
        ("databases", "sqlite3:x.db", Some("sqlite:x.db")),
        ("databases", "sqlite3:///x.db", Some("sqlite:///x.db")),
        ("databases", "sqlite://path/x.db", Some("sqlite:path/x.db")),
        ("databases", "SQLite:x.db", Some("sqlite:x.db")),
        ("databases", "file:x.db", Some("sqlite:x.db")),
        ("databases", "file:///x.db", Some("sqlite:///x.db")),
        ("databases", "jdbc:sqlite:x.db", Some("sqlite:x.db")),
        ("databases", "jdbc:postgresql://h/d", Some("postgres://h/d")),
        ("databases", "pgsql://h/d", Some("postgres://h/d")),
        ("databases", "postgres:h/d", Some("postgres://h/d")),
        ("databases", "Postgres://h/d", Some("postgres://h/d")),
        ("databases", "rowbridge.db", Some("sqlite:rowbridge.db")),
        ("databases", "sqlite:///", None),
        ("databases", "sqlite3::memory:", None),
        ("databases", "file:x.db?mode=ro", None),
        ("databases", "sqlite3:", None),
        ("databases", "mysql://h/d", None),
        ("databases", "http://h/d", None),
        ("databases", "pg://u:hunter2@h/d", None),
        ("mqtt", "tcp://h:1883", Some("mqtt://h:1883")),
        ("mqtt", "ssl://h", Some("mqtts://h")),
        ("mqtt", "http://h/mqtt", Some("ws://h/mqtt")),
        ("mqtt", "MQTT://h", Some("mqtt://h")),
        ("mqtt", "h:1883", Some("mqtt://h:1883")),
        ("mqtt", "h/mqtt", None),
        ("mqtt", "tcp://h/path", None),
        ("mqtt", "amqp://h", None),
    ] {
        let with = |url: &str| match section {
            "mqtt" => format!("mqtt: {{url: '{url}'}}\n{REST}"),
            _ => REST.replace("sqlite:x.db", url),
        };
        let report = Bench::new(&with(written)).report();
        assert_eq!(report.findings()[0].suggestion.as_deref(), suggested, "{written}\n{report}");
        if let Some(suggested) = suggested {
            Bench::new(&with(suggested)).config();
        }
    }
}
