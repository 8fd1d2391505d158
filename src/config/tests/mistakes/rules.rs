//! Mistakes in rules. Each is found once, at its place, and hides no other.

use crate::config::tests::{Bench, LOCAL, assert_finding, only_finding};

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
            "topic: a, table: t, format: text, columns: {x: unmapped}",
            "2:57 rules[0].columns.x: takes fields of the payload, and this format has none".to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: {from: [payload.x, unmapped]}}",
            "2:43 rules[0].columns.x: `unmapped` stands beside other sources".to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: {template: 'x{unmapped}'}}",
            "2:43 rules[0].columns.x: `unmapped` stands beside other sources".to_owned(),
        ),
        (
            "topic: '{n}', table: '{topic.n}', tables: '*', table_aliases: [old, s], columns: {x: qos}",
            "2:72 rules[0].table_aliases: found a list".to_owned(),
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
            "topic: a, table: t, columns: {x: {from: qos, type: double, time: s}}",
            "2:75 rules[0].columns.x.time: a column of this `type` reads no times".to_owned(),
        ),
        (
            "topic: a, table: t, columns: {x: {from: qos, type: 'decimal(6,2)[]', time: s}}",
            "2:85 rules[0].columns.x.time: a column of this `type` reads no times".to_owned(),
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
fn rule_names_are_unique_also_against_the_default_names() {
    let rule = "{topic: a, table: t, columns: {p: payload}";
    let (finding, _) = only_finding(&format!("{LOCAL}rules:\n- {rule}, name: x}}\n- {rule}, name: x}}\n"));
    assert!(finding.starts_with("4:53 rules[1].name: the rule name `x` was given before, at "), "{finding}");
    assert!(finding.ends_with("bridge.yaml:3:3"), "{finding}");
    let (finding, _) = only_finding(&format!("{LOCAL}rules:\n- {rule}}}\n- {rule}, name: rule-1}}\n"));
    assert!(finding.starts_with("4:53 rules[1].name: the rule name `rule-1`"), "{finding}");
}
