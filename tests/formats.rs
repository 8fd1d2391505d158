//! Each payload format, published through a real broker and read back from both databases.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::support::bridge::Bridge;
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::column;
use crate::support::postgres::Postgres;
use crate::support::publisher::Publisher;

/// A rule of this format into both databases, with columns a (text), n (bigint) and v (double).
fn rules(name: &str, options: &str, columns: &str) -> String {
    let rule = |database: &str| {
        format!(
            "  - name: {name}-{database}\n    topic: {name}\n    database: {database}\n    table: t\n    create: true\n{options}    columns: \
             {{ kind: {{ value: {name} }}, {columns} }}\n"
        )
    };
    rule("local") + &rule("far")
}

/// What a program makes of its input.
fn piped(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}

#[test]
fn every_format_reaches_both_databases_with_exact_values() {
    const FIELDS: &str = "a: { from: payload.a, type: text }, n: { from: payload.n, type: bigint }, v: { from: payload.v, type: double }";
    const BY_POSITION: &str = "a: { from: 'payload[0]', type: text }, n: { from: 'payload[1]', type: bigint }, v: { from: 'payload[2]', type: double }";
    const WHOLE: &str = "a: { from: payload, type: text }";
    let broker = Mosquitto::start();
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    let mut all = String::new();
    let mut add = |name: &str, options: &str, columns: &str| all += &rules(name, options, columns);
    add("ndjson", "    format: ndjson\n", FIELDS);
    add("csv", "    format: csv\n", BY_POSITION);
    add("header", "    format: csv\n    csv: { header: columns, delimiter: ';' }\n", FIELDS);
    add("named", "    format: csv\n    csv: { columns: [a, n, v] }\n", FIELDS);
    add(
        "regex",
        "    format: regex\n    regex: { pattern: '^(?<a>\\w+) (?<n>\\d+) (?<v>[0-9.]+)$', each: line }\n",
        FIELDS,
    );
    add("msgpack", "    format: msgpack\n", FIELDS);
    add("cbor", "    format: cbor\n", FIELDS);
    add(
        "influx",
        "    format: influx\n",
        "a: { from: payload.tags.a, type: text }, n: { from: payload.fields.n, type: bigint }, v: { from: payload.fields.v, type: double }",
    );
    add("hex", "    format: hex\n", WHOLE);
    add("base64", "    format: base64\n", WHOLE);
    add("gzip", "    compression: gzip\n", FIELDS);
    add(
        "guess",
        "    format: auto\n    compression: auto\n    for_each: auto\n",
        "a: { from: 'item[0]', type: text }, n: { from: 'item[1]', type: bigint }, v: { from: 'item[2]', type: double }",
    );
    add("latin1", "    charset: latin1\n", FIELDS);
    let url = postgres.url(&database);
    let body = format!("databases:\n  local: {{ url: 'sqlite:rows.db' }}\n  far: {{ url: '{url}' }}\nrules:\n{all}");
    let mut bridge = Bridge::new(broker.port(), &body);
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    let json = |a: &str| format!("{{\"a\":\"{a}\",\"n\":9007199254740993,\"v\":0.1}}");
    publisher.send("ndjson", format!("{}\n{}\n", json("x"), json("y")));
    publisher.send("csv", "x,9007199254740993,0.1\r\n\"y,\"\"\",9007199254740993,0.1\n");
    publisher.send("header", "n;a;v\n9007199254740993;x;0.1\n");
    publisher.send("named", "x,9007199254740993,0.1");
    publisher.send("regex", "x 9007199254740993 0.1\ny 9007199254740993 0.1");
    // {"a":"x","n":9007199254740993,"v":0.1}
    let number = [0x00, 0x20, 0, 0, 0, 0, 0, 0x01];
    let float = 0.1f64.to_be_bytes();
    publisher.send(
        "msgpack",
        [&[0x83, 0xa1, b'a', 0xa1, b'x', 0xa1, b'n', 0xcf][..], &number, &[0xa1, b'v', 0xcb], &float].concat(),
    );
    publisher.send(
        "cbor",
        [&[0xa3, 0x61, b'a', 0x61, b'x', 0x61, b'n', 0x1b][..], &number, &[0x61, b'v', 0xfb], &float].concat(),
    );
    publisher.send("influx", "m,a=x n=9007199254740993i,v=0.1 1670380342000000001\n");
    publisher.send("hex", "78c3 a9");
    publisher.send("base64", "eMOp");
    publisher.send("gzip", piped("gzip", &["-c"], json("x").as_bytes()));
    publisher.send("guess", piped("gzip", &["-c"], b"x,9007199254740993,0.1\n"));
    publisher.send("guess", "[\"y\",9007199254740993,0.1]");
    publisher.send("latin1", json("x").replace('x', "ü").chars().map(|c| c as u8).collect::<Vec<u8>>());
    // Each of these is refused by itself.
    for (topic, bad) in [
        ("ndjson", "{\n"),
        ("csv", "x,many,0.1\n"),
        ("msgpack", "\u{1}\u{2}"),
        ("gzip", "no"),
        ("regex", "?"),
        ("hex", "zz"),
    ] {
        publisher.send(topic, bad);
    }
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= 20).then_some(()));
    bridge.wait_drained("local");
    bridge.wait_drained("far");
    let full = |kind: &str, a: &str| format!("{kind} {a} 9007199254740993 0.1");
    let mut expected = vec![
        full("ndjson", "x"),
        full("ndjson", "y"),
        full("csv", "x"),
        full("csv", "y,\""),
        full("header", "x"),
        full("named", "x"),
        full("regex", "x"),
        full("regex", "y"),
        full("msgpack", "x"),
        full("cbor", "x"),
        full("influx", "x"),
        "hex xé - -".to_owned(),
        "base64 xé - -".to_owned(),
        full("gzip", "x"),
        full("guess", "x"),
        full("guess", "y"),
        full("latin1", "ü"),
    ];
    expected.sort();
    let rows = "SELECT kind || ' ' || a || ' ' || coalesce(CAST(n AS text), '-') || ' ' || coalesce(CAST(v AS text), '-') FROM t";
    let mut sqlite: Vec<String> = column(&bridge.rows(), rows);
    sqlite.sort();
    assert_eq!(sqlite, expected);
    let mut far: Vec<String> = postgres.psql(&database, rows).lines().map(str::to_owned).collect();
    far.sort();
    assert_eq!(far, expected);
    let letters = "SELECT topic || ' ' || reason FROM rowbridge_dead_letters ORDER BY seq";
    let refused = ["ndjson parse", "csv value", "msgpack parse", "gzip parse", "regex parse", "hex parse"];
    let found: Vec<String> = column(&bridge.rows(), letters);
    assert_eq!(found, refused);
    assert_eq!(postgres.psql(&database, letters), found.join("\n"));
}

/// Documents of every format with the rows that other decoders make of them (tests/formats/documents.py): how each value may be
/// written, by the plans that the daemon runs. `scripts/prove` makes new ones, and reads the rows back from SQLite.
#[test]
fn documents_of_every_format_mean_what_other_decoders_say() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats");
    let bridge = Bridge::bare(&std::fs::read_to_string(folder.join("bridge.yaml")).unwrap());
    for name in ["documents.yaml", "message.binpb"] {
        std::fs::copy(folder.join(name), bridge.path(name)).unwrap();
    }
    let output = bridge.command(&["test", "documents.yaml"]);
    let said = String::from_utf8_lossy(&output.stdout);
    let failed: Vec<&str> = said.lines().filter(|line| !line.starts_with("ok ")).take(30).collect();
    assert!(output.status.success(), "{}{}", failed.join("\n"), String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("280 passed"), "{said}");
}
