//! What columns do to their values, from the broker into both databases.

use crate::support::bridge::Bridge;
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::column;
use crate::support::postgres::Postgres;
use crate::support::publisher::Publisher;

#[test]
fn paths_go_on_into_what_strings_hold_in_both_databases() {
    let broker = Mosquitto::start();
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    let rule = |database: &str| {
        format!(
            "  - name: {database}\n    topic: '{{app}}/up'\n    database: {database}\n    table: readings\n    create: true\n    \
             decode: {{ payload.data: json, payload.frm: base64, item.more: [base64, json] }}\n    where: .data.go\n    for_each: \
             payload.data.list\n    columns:\n      id: {{ template: '{{topic.app}}-{{payload.data.n}}-{{index}}' }}\n      v: {{ \
             from: item.v, type: 'decimal(40,3)' }}\n      raw: {{ from: payload.frm, type: bytes }}\n      unit: {{ from: \
             item.more.unit, type: text }}\n"
        )
    };
    let url = postgres.url(&database);
    let (local, far) = (rule("local"), rule("far"));
    let body =
        format!("databases:\n  local: {{ url: 'sqlite:rows.db' }}\n  far: {{ url: '{url}' }}\nrules:\n{local}{far}");
    let mut bridge = Bridge::new(broker.port(), &body);
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    let held = r#"{"go":true,"n":9007199254740993,"list":[{"v":12345678901234567890.125},{"v":2,"more":"eyJ1bml0IjoiwrBDIn0"}]}"#;
    let held = serde_json::Value::from(held).to_string();
    publisher.send("a/up", format!(r#"{{"frm":"AP8=","data":{held}}}"#));
    publisher.send("a/up", r#"{"data":"{\"go\":false,\"list\":[{}]}"}"#.to_owned());
    publisher.send("a/up", r#"{"data":"{\"go\":secret"}"#.to_owned());
    publisher.send("a/up", r#"{"data":{"go":true}}"#.to_owned());
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= 4).then_some(()));
    bridge.wait_drained("local");
    bridge.wait_drained("far");

    let expected = ["a-9007199254740993-0 12345678901234567890.125 00FF -", "a-9007199254740993-1 2 00FF °C"];
    let of_sqlite = "SELECT id || ' ' || rtrim(rtrim(v, '0'), '.') || ' ' || hex(raw) || ' ' || coalesce(unit, '-') FROM readings ORDER BY id";
    let of_postgres = "SELECT id || ' ' || trim_scale(v) || ' ' || upper(encode(raw, 'hex')) || ' ' || coalesce(unit, '-') \
                       FROM readings ORDER BY id";
    assert_eq!(column::<String>(&bridge.rows(), of_sqlite), expected);
    assert_eq!(postgres.psql(&database, of_postgres), expected.join("\n"));
    let letters = "SELECT reason || ': ' || error FROM rowbridge_dead_letters ORDER BY seq";
    let found = column::<String>(&bridge.rows(), letters);
    assert_eq!(postgres.psql(&database, letters), found.join("\n"));
    assert!(found.len() == 2 && !found[0].contains("secret"), "{found:?}");
    assert!(found[0].starts_with("parse: payload.data: a string that is not JSON"), "{found:?}");
    assert!(found[1].starts_with("value: payload.data: an object where a string"), "{found:?}");
    for rule in bridge.status()["rules"].as_array().unwrap() {
        let counts = ["matched", "written", "filtered", "dead_lettered"].map(|count| rule[count].as_u64().unwrap());
        assert_eq!(counts, [4, 1, 1, 2], "{rule}");
    }
    let explained = bridge.command(&["explain", "a/up", &format!(r#"{{"data":{held}}}"#), "--offline", "--json"]);
    let explained: serde_json::Value = serde_json::from_slice(&explained.stdout).unwrap();
    let from = &explained["rules"][0]["rows"][1]["types"]["unit"]["from"];
    assert_eq!(from, "item.more.unit (item.more decoded as base64, json)", "{explained}");
}

#[test]
fn adjusted_values_are_the_same_and_exact_in_both_databases() {
    let broker = Mosquitto::start();
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    let rule = |database: &str| {
        format!(
            "  - name: {database}\n    topic: plant/{{line}}\n    database: {database}\n    table: readings\n    create: true\n    \
             columns:\n      id: {{ template: '{{topic.line}}-{{payload.n}}' }}\n      temp: {{ from: payload.raw, scale: 0.1, \
             shift: -40, type: 'decimal(40,3)' }}\n      state: {{ from: [payload.state, payload.status], map: {{ \"on\": 1, \
             \"off\": 0, unavailable: null }}, type: int, on_error: null }}\n      power: {{ from: payload.power, decimal: \",\", \
             unit: ignore, type: 'decimal(12,2)' }}\n      data: {{ from: payload.data, decode: base64 }}\n      at: {{ from: \
             [payload.ts, received_at], time: [auto, \"%d.%m.%Y %H:%M\"] }}\n      ns: {{ from: payload.ts, type: bigint, on_error: \
             null }}\n"
        )
    };
    let url = postgres.url(&database);
    let (local, far) = (rule("local"), rule("far"));
    let body =
        format!("databases:\n  local: {{ url: 'sqlite:rows.db' }}\n  far: {{ url: '{url}' }}\nrules:\n{local}{far}");
    let mut bridge = Bridge::new(broker.port(), &body);
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    for payload in [
        r#"{"n":1,"raw":523,"state":"on","power":"1.234,50 kW","data":"AQID","ts":1670380342000000001}"#,
        r#"{"n":2,"raw":"123456789012345678901234567890","status":"unavailable","power":7,"data":"-_8","ts":"06.12.2022 23:19"}"#,
        r#"{"n":3,"raw":null,"state":null,"status":"jammed","power":"9%","ts":1670380342.5}"#,
        r#"{"n":4,"raw":1,"state":2,"power":"1.234"}"#,
    ] {
        publisher.send("plant/l1", payload.to_owned());
    }
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= 4).then_some(()));
    bridge.wait_drained("local");
    bridge.wait_drained("far");

    let text = |columns: &[&str]| {
        let columns: Vec<String> = columns.iter().map(|column| format!("coalesce({column}, '-')")).collect();
        format!("SELECT {} FROM readings ORDER BY id", columns.join(" || ' ' || "))
    };
    let expected = [
        "l1-1 12.3 1 1234.5 010203 1670380342000000001",
        "l1-2 12345678901234567890123456749 - 7 FBFF -",
        "l1-3 - - 9 - -",
    ];
    let of_sqlite = text(&["id", "rtrim(rtrim(temp, '0'), '.')", "state", "power", "nullif(hex(data), '')", "ns"]);
    let of_postgres = text(&[
        "id",
        "trim_scale(temp)::text",
        "state::text",
        "trim_scale(power)::text",
        "upper(encode(data, 'hex'))",
        "ns::text",
    ]);
    assert_eq!(column::<String>(&bridge.rows(), &of_sqlite), expected);
    assert_eq!(postgres.psql(&database, &of_postgres), expected.join("\n"));
    let times = "SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') FROM readings ORDER BY id";
    let expected = ["2022-12-07 02:32:22.000000", "2022-12-06 23:19:00.000000", "2022-12-07 02:32:22.500000"];
    assert_eq!(postgres.psql(&database, times), expected.join("\n"));

    let letters = "SELECT reason || ': ' || error FROM rowbridge_dead_letters";
    let letter = column::<String>(&bridge.rows(), letters);
    assert!(letter.len() == 1 && letter[0].contains("column `power`"), "{letter:?}");
    // A word for `state`, a date and a fraction for `ns`.
    let status = bridge.status();
    for rule in status["rules"].as_array().unwrap() {
        let counts: Vec<u64> =
            ["written", "dead_lettered", "nulled"].map(|count| rule[count].as_u64().unwrap()).to_vec();
        assert_eq!(counts, [3, 1, 3], "{rule}");
    }
    let labels = [("database", "far"), ("rule", "far")];
    assert_eq!(bridge.metrics().value("rowbridge_values_nulled_total", &labels), Some(3.0));
    assert_eq!(bridge.log().matches("stored as NULL").count(), 2, "once for each rule");
}
