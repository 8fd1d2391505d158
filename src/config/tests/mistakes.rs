//! Each mistake is found, and at its place.

use std::fs;

use super::{Bench, LOCAL, REST, assert_finding, only_finding};

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
fn each_mistake_in_a_rule_is_found_at_its_place() {
    let long = "x".repeat(64);
    for (rule, expected) in [
        ("topic: a, table: t", "2:9 rules[0].columns: is missing".to_owned()),
        ("topic: a, columns: {p: payload}", "2:9 rules[0].table: is missing".to_owned()),
        ("table: t, columns: {p: payload}", "2:9 rules[0].topic: is missing".to_owned()),
        ("topic: , table: t, columns: {p: payload}", "2:10 rules[0].topic: is missing".to_owned()),
        ("topic: [], table: t, columns: {p: payload}", "2:17 rules[0].topic: is empty".to_owned()),
        ("topic: a, table: t, columns: {}", "2:39 rules[0].columns: found no column".to_owned()),
        ("topic: a, table: t, columns: [a]", "2:39 rules[0].columns: found a list".to_owned()),
        ("topic: a, table: t, columns: all", "2:39 rules[0].columns: found `all`".to_owned()),
        (
            "topic: a, table: t, format: csv, create: true, columns: auto",
            "2:51 rules[0].create: takes columns from the fields of payloads, and the records of this format have no names"
                .to_owned(),
        ),
        (
            "topic: a, table: t, format: text, create: true, columns: auto",
            "2:67 rules[0].columns: `auto` takes the fields of the payload, and this format has none".to_owned(),
        ),
        (
            "topic: a, table: t, create: true, columns: {x: payload.x}",
            "2:57 rules[0].columns.x: `create` cannot tell the type of this column".to_owned(),
        ),
        (
            "topic: a, table: t, format: text, columns: {x: payload.x}",
            "2:57 rules[0].columns.x: reads a field of the payload, and this format has none".to_owned(),
        ),
        (
            "topic: 'a/b::3', table: t, columns: {x: qos}",
            "2:17 rules[0].topic: ends in `::3`, which is no QoS".to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: {value: 18446744073709551616}}",
            "2:51 rules[0].columns.x.value: found `18446744073709551616`".to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: {from: qos, default: 0.1234567890123456789}}",
            "2:64 rules[0].columns.x.default: found `0.1234567890123456789`".to_owned(),
        ),
        ("topic: a, table: t, columns: {x: 5}", "2:43 rules[0].columns.x: found `5`, which is no source".to_owned()),
        ("topic: a, table: t, columns: {x: [a]}", "2:43 rules[0].columns.x: found a list".to_owned()),
        ("topic: a, table: t, columns: {x: }", "2:40 rules[0].columns.x: found nothing".to_owned()),
        (
            "topic: a, table: t, columns: {x: {}}",
            "2:43 rules[0].columns.x: has neither `from` nor `template`, `jq` or `value`".to_owned(),
        ),
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
            "topic: a, table: t, columns: {x: {template: '{topic}', from: qos}}",
            "2:54 rules[0].columns.x.template: `from` is given too".to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: {template: 'a{topic'}}",
            "2:54 rules[0].columns.x.template: `a{topic`: a `{` is not closed; a brace that is text is written `{{`"
                .to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: {template: 'a-{topic.site}'}}",
            "2:43 rules[0].columns.x: the topic `a` has no capture {site}".to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: {from: [qos, 5]}}",
            "2:56 rules[0].columns.x.from[1]: found `5`, which is no source".to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: {from: []}}",
            "2:50 rules[0].columns.x.from: found an empty list".to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: {from: [qos, dup, qos]}}",
            "2:61 rules[0].columns.x.from[2]: this source stands in the list before".to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: {from: qos, scale: 0.0}}",
            "2:62 rules[0].columns.x.scale: found 0, with which every value would be the same".to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: {from: qos, scale: '0,1'}}",
            "2:62 rules[0].columns.x.scale: found `0,1`".to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: {from: qos, shift: 1e999}}",
            "2:62 rules[0].columns.x.shift: found `1e999`".to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: {value: 5, shift: 1}}",
            "2:61 rules[0].columns.x.shift: `shift` is for what a source gives, and `value` is written as it stands"
                .to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: {from: qos, map: [1]}}",
            "2:60 rules[0].columns.x.map: found no mapping with values".to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: {from: qos, map: {}}}",
            "2:60 rules[0].columns.x.map: found no mapping with values".to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: {from: qos, map: {a: .inf}}}",
            "2:64 rules[0].columns.x.map.a: found `.inf`".to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: {from: payload.x, decimal: ';'}}",
            "2:70 rules[0].columns.x.decimal: found `;`".to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: {from: payload.x, unit: kWh}}",
            "2:67 rules[0].columns.x.unit: found `kWh`".to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: {from: payload.x, decode: [json, hex]}}",
            "2:76 rules[0].columns.x.decode[1]: follows `json`, which gives a value and no text".to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: {from: payload.x, time: [s, ms]}}",
            "2:71 rules[0].columns.x.time[1]: would never be asked, as one before it takes the same".to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: {from: payload.x, time: []}}",
            "2:67 rules[0].columns.x.time: found an empty list".to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: {from: payload.x, on_error: null, required: true}}",
            "2:61 rules[0].columns.x.on_error: `required` makes a missing value an error, and this makes errors NULL"
                .to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: {from: payload.x, decode: zip}}",
            "2:69 rules[0].columns.x.decode: found `zip`".to_owned(),
        ),
        (
            "topic: a, table: t, decode: json, columns: {x: qos}",
            "2:38 rules[0].decode: found no mapping with paths".to_owned(),
        ),
        (
            "topic: a, table: t, decode: {}, columns: {x: qos}",
            "2:38 rules[0].decode: found no mapping with paths".to_owned(),
        ),
        (
            "topic: a, table: t, decode: {topic: json}, columns: {x: qos}",
            "2:46 rules[0].decode.topic: stands under what is no path of the payload, or of an element under `for_each`".to_owned(),
        ),
        (
            "topic: a, table: t, decode: {payload.a: zip}, columns: {x: qos}",
            "2:50 rules[0].decode[\"payload.a\"]: found `zip`".to_owned(),
        ),
        (
            "topic: a, table: t, decode: {payload.a: json, 'payload[\"a\"]': hex}, columns: {x: qos}",
            "2:72 rules[0].decode[\"payload[\\\"a\\\"]\"]: `payload.a` is decoded above".to_owned(),
        ),
        (
            "topic: a, table: t, decode: {payload.a: hex, payload.a.b: json}, columns: {x: qos}",
            "2:38 rules[0].decode: `payload.a.b` lies in payload.a decoded as hex, and bytes have no parts".to_owned(),
        ),
        (
            "topic: a, table: t, format: text, decode: {payload: json}, columns: {x: qos}",
            "2:52 rules[0].decode: goes into the fields of the payload, and this format has none".to_owned(),
        ),
        (
            "topic: a, table: t, decode: {item.a: json}, columns: {x: qos}",
            "2:38 rules[0].decode: `item.a` is a part of an element, and the rule has no `for_each`".to_owned(),
        ),
        (
            "topic: a, table: t, decode: {item.a: json}, for_each: auto, columns: auto",
            "2:38 rules[0].decode: `item.a` is a part of an element, and with `for_each: auto` only the payload is decoded".to_owned(),
        ),
        (
            "topic: a, table: t, decode: {parent.a: json}, for_each: payload, columns: {x: item}",
            "2:38 rules[0].decode: `parent.a` is of the outer of two elements, and the rule has no second `for_each`".to_owned(),
        ),
        (
            "topic: a, table: t, decode: {payload.a: [base64, hex]}, columns: {x: payload.a.b}",
            "2:79 rules[0].columns.x: takes a part of payload.a decoded as base64, hex, and bytes have no parts".to_owned(),
        ),
        (
            "topic: a, table: t, create: true, columns: {x: {from: qos, scale: 2}}",
            "2:57 rules[0].columns.x: `create` cannot tell the type of this column".to_owned(),
        ),
        (
            "topic: a, table: t, create: true, columns: {x: {from: [qos, dup]}}",
            "2:57 rules[0].columns.x: `create` cannot tell the type of this column".to_owned(),
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
            "topic: a, convention: joinbase, format: csv",
            "2:50 rules[0].format: `convention` says it already".to_owned(),
        ),
        (
            "topic: a, into: 'db/append/X:xml'",
            "2:26 rules[0].into: found `db/append/X:xml`, which has an unsupported format; there are json, ndjson, csv and influx"
                .to_owned(),
        ),
        ("topic: a, table: '{qos}', columns: {x: qos}", "2:9 rules[0].tables: is missing".to_owned()),
        (
            "topic: a, table: '{topic.x}', tables: t, columns: {x: qos}",
            "2:27 rules[0].table: the topic `a` has no capture {x}".to_owned(),
        ),
        (
            "topic: a, table: t, tables: [t], columns: {x: qos}",
            "2:38 rules[0].tables: `tables` is for a table that messages name, and this one is fixed".to_owned(),
        ),
        (
            "topic: a, table: t, for_each: item.x, columns: {x: qos}",
            "2:40 rules[0].for_each: found `item.x`, where `payload` or a part of it is expected".to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: index}",
            "2:43 rules[0].columns.x: takes an element, and the rule has no `for_each`".to_owned(),
        ),
        (
            "topic: a, table: t, tables: t, database: '{topic.x}', columns: {x: qos}",
            "2:51 rules[0].database: the topic `a` has no capture {x}".to_owned(),
        ),
        (
            "topic: a, table: t, database: locale, columns: {x: qos}",
            "2:40 rules[0].database: found `locale`, which is not under `databases`".to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: qos, X: dup}",
            "2:51 rules[0].columns.X: to SQLite it is the same column as `x`".to_owned(),
        ),
        ("topic: a, table: t, format: jsn, columns: {x: qos}", "2:38 rules[0].format: found `jsn`".to_owned()),
        (
            "topic: a, table: t, retained: change, columns: {x: qos}",
            "2:40 rules[0].retained: found `change`".to_owned(),
        ),
        ("topic: a, table: t, mode: merge, columns: {x: qos}", "2:36 rules[0].mode: found `merge`".to_owned()),
        (
            "topic: a, table: t, key: [x], columns: {x: qos}",
            "2:35 rules[0].key: means nothing with `mode: insert`".to_owned(),
        ),
        (
            "topic: a, table: t, mode: upsert, key: [y], columns: {x: qos}",
            "2:50 rules[0].key[0]: found `y`, a column that the rule does not fill".to_owned(),
        ),
        (
            "topic: a, table: t, mode: ignore, key: [x, X], columns: {x: qos}",
            "2:53 rules[0].key[1]: `X` is named twice".to_owned(),
        ),
        (
            "topic: a, table: t, mode: upsert, create: true, columns: {x: qos}",
            "2:9 rules[0].key: is missing".to_owned(),
        ),
        (
            "topic: a, table: t, where: '.x >', columns: {x: qos}",
            "2:37 rules[0].where: it ends where term is expected (line 1, column 5 of the program)".to_owned(),
        ),
        (
            "topic: a, table: t, where: '.x | slect(.y)', columns: {x: qos}",
            "2:37 rules[0].where: there is no function `slect`; did you mean `select`? (line 1, column 6 of the program)"
                .to_owned(),
        ),
        (
            "topic: a, table: t, where: [.x], columns: {x: qos}",
            "2:37 rules[0].where: found a list".to_owned(),
        ),
        (
            "topic: a, table: t, transform: 'now', columns: {x: qos}",
            "2:41 rules[0].transform: `now` is not available: a message that is mapped again must give the same row; use \
             `$received_at` (line 1, column 1 of the program)"
                .to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: {jq: '$item.a'}}",
            "2:43 rules[0].columns.x: uses `$item`, and there is no element here".to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: {jq: '.a', from: qos}}",
            "2:48 rules[0].columns.x.jq: `from` is given too".to_owned(),
        ),
        (
            "topic: a, table: t, create: true, columns: {x: {jq: '.a'}}",
            "2:57 rules[0].columns.x: `create` cannot tell the type of this column".to_owned(),
        ),
        (
            "topic: a, table: t, format: text, unmapped: add, columns: {x: qos}",
            "2:54 rules[0].unmapped: is about fields of the payload, and this format has none".to_owned(),
        ),
        (
            "topic: a, table: t, format: csv, unmapped: add, columns: {x: qos}",
            "2:53 rules[0].unmapped: takes columns from the fields of payloads, and the records of this format have no names"
                .to_owned(),
        ),
        (
            "topic: a, table: t, unmapped: x, columns: {x: qos}",
            "2:40 rules[0].unmapped: the column `x` has a source already".to_owned(),
        ),
        (
            "topic: a, table: t, format: text, unmapped: x, columns: {x: payload}",
            "2:54 rules[0].unmapped: is about fields of the payload, and this format has none".to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: qos}, reply: true, reply_prefix: 'a/#'",
            "2:76 rules[0].reply_prefix: found `a/#`: the topic holds a wildcard (+ or #), which the topic of a message must not"
                .to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: qos}, reply_prefix: a",
            "2:63 rules[0].reply_prefix: has no effect: the rule sends no answers".to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: qos}, subscribe_properties: [x]",
            "2:71 rules[0].subscribe_properties: found a list".to_owned(),
        ),
        ("topic: a, table: t, columns: {x: qos}, name: ''", "2:55 rules[0].name: found ``".to_owned()),
    ] {
        assert_finding(&format!("{LOCAL}rules: [{{{rule}}}]\n"), &expected);
    }
    assert_finding(&format!("{LOCAL}rules: []\n"), "2:8 rules: is empty");
    assert_finding(&format!("{LOCAL}rules: {{topic: a}}\n"), "2:8 rules: found a mapping; each rule begins with `-`");
    assert_finding(LOCAL, "1:1 rules: is missing");
    let rule = "{topic: a, table: t, columns: {x: qos}, subscribe_properties: {a: b}}";
    assert_finding(
        &format!("mqtt: {{version: 3.1.1}}\n{LOCAL}rules: [{rule}]\n"),
        "3:75 rules[0].subscribe_properties.a: MQTT 3.1.1 has no properties",
    );
}

#[test]
fn a_mistake_in_a_rule_makes_no_other_key_of_it_unknown() {
    let rule = "{table: t, columns: {x: qos}, subscribe_properties: {a: b}}";
    assert_eq!(Bench::new(&format!("{LOCAL}rules: [{rule}]\n")).findings(), ["2:9 rules[0].topic: is missing"]);
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
    let (_, report) = only_finding("mqtt: {client_id: ${HOSTNAME}}\n");
    assert!(report.contains("accepted: quotes around a value with braces"), "{report}");
    assert_eq!(Bench::new("").findings(), ["1:1 databases: is missing", "1:1 rules: is missing"]);
    assert_finding("- a\n- b\n", "1:1 : the file is not a mapping");
}

#[test]
fn bytes_that_are_no_text_are_found_where_they_are() {
    let bench = Bench::new("");
    fs::write(bench.request.file.as_ref().unwrap(), b"a: \xc3\xa9\nb: \xff\n").unwrap();
    assert_eq!(bench.findings(), ["2:4 : the file is not UTF-8 text from here on"]);
}

#[test]
fn tabs_and_wrong_indentation_are_shown_with_a_caret_and_what_to_do() {
    for (text, position, shown, remedy) in [
        ("mqtt:\n\turl: x\n", "2:1", "| →url: x\n    | ^", "spaces"),
        ("mqtt:\n  url: x\n\tclient_id: a\n", "3:1", "| →client_id: a\n    | ^", "spaces"),
        ("mqtt:\n  url: x\n  \tclient_id: a\n", "3:3", "|   →client_id: a\n    |   ^", "spaces"),
        ("mqtt:\n  url:\tx\n", "2:8", "|   url:→x\n    |        ^", "spaces"),
        ("mqtt:\n  url: x\n client_id: a\n", "3:2", "|  client_id: a\n    |  ^", "same column"),
        ("mqtt:\n  url: x\n   client_id: a\n", "3:13", "|    client_id: a\n    |             ^", "same column"),
        ("rules:\n  - topic: a\n   table: t\n", "3:4", "|    table: t\n    |    ^", "same column"),
        ("mqtt:\n  url: %x\n", "2:8", "|   url: %x\n    |        ^", "quotes around"),
        ("mqtt: {client_id: ${HOSTNAME}}\n", "1:20", "| mqtt: {client_id: ${HOSTNAME}}\n", "braces"),
    ] {
        let report = Bench::new(text).report().to_string();
        assert!(report.contains(&format!("bridge.yaml:{position}: ")), "{text}\n{report}");
        assert!(report.contains(shown) && report.contains(remedy), "{text}\n{report}");
    }
}

#[test]
fn in_a_file_with_a_password_the_line_is_shown_without_its_values() {
    let report = Bench::new("mqtt:\n  password: hunter2\n   url: mqtt://geheim\n").report().to_string();
    assert!(report.contains("|    url: …\n") && !report.contains("geheim") && !report.contains("hunter2"), "{report}");
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

#[test]
fn a_file_in_utf_16_is_named_as_such() {
    let bench = Bench::new("");
    fs::write(bench.request.file.as_ref().unwrap(), b"\xff\xfem\0q\0").unwrap();
    assert!(bench.report().to_string().contains("UTF-16"), "{}", bench.report());
}

#[test]
fn a_key_that_lost_its_indentation_is_told_where_it_belongs() {
    let bench = Bench::new(&format!("mqtt:\nurl: mqtt://h\nclient_id: x\n{REST}"));
    let problem = "this key is not known here; if it belongs to `mqtt`, it stands further right";
    assert_eq!(bench.findings(), [format!("2:1 url: {problem}"), format!("3:1 client_id: {problem}")]);
    let bench = Bench::new(&format!("mqtt: {{}}\nurl: mqtt://h\n{REST}"));
    assert_eq!(bench.findings(), ["2:1 url: this key is not known"]);
}
