//! `rowbridge discover` in a house of several device families: what it writes stores all that was heard.

use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::bridge::{Bridge, readings};
use crate::support::free_port;
use crate::support::mosquitto::Mosquitto;
use crate::support::mqtt::Outgoing;
use crate::support::oracle::{count, value};
use crate::support::publisher::Publisher;

/// Topics and payloads as the projects document them.
fn house() -> Vec<(&'static str, Vec<u8>)> {
    let text: Vec<(&str, &str)> = vec![
        ("zigbee2mqtt/bridge/state", r#"{"state":"online"}"#),
        (
            "zigbee2mqtt/bridge/info",
            r#"{"version":"2.1.0","config":{"mqtt":{"server":"mqtt://x"}},"network":{"channel":11}}"#,
        ),
        (
            "zigbee2mqtt/living_lamp",
            r#"{"brightness":254,"color_mode":"xy","color":{"x":0.31,"y":0.33},"linkquality":105,"state":"ON"}"#,
        ),
        (
            "zigbee2mqtt/living_lamp",
            r#"{"brightness":12,"color_mode":"xy","color":{"x":0.4,"y":0.3},"linkquality":90,"state":"OFF"}"#,
        ),
        (
            "zigbee2mqtt/bath_sensor",
            r#"{"battery":91.5,"humidity":55.1,"linkquality":70,"temperature":22.4,"voltage":2995}"#,
        ),
        (
            "zigbee2mqtt/front_door",
            r#"{"battery":100,"contact":true,"linkquality":33,"last_seen":"2026-11-21T08:26:00+01:00"}"#,
        ),
        ("zigbee2mqtt/living_lamp/availability", r#"{"state":"online"}"#),
        ("zigbee2mqtt/bath_sensor/availability", r#"{"state":"offline"}"#),
        (
            "tele/plug_3C71BF/STATE",
            r#"{"Time":"2026-11-21T08:26:00","Uptime":"0T00:10:12","UptimeSec":612,"POWER":"ON","Wifi":{"AP":1,"SSId":"home","RSSI":76,"Signal":-62}}"#,
        ),
        (
            "tele/plug_3C71BF/SENSOR",
            r#"{"Time":"2026-11-21T08:26:00","ENERGY":{"Total":3.185,"Power":12,"Voltage":230,"Current":0.054}}"#,
        ),
        (
            "tele/plug_3C71BF/SENSOR",
            r#"{"Time":"2026-11-21T08:31:00","ENERGY":{"Total":3.186,"Power":12.5,"Voltage":231,"Current":0.055}}"#,
        ),
        (
            "tele/plug_A0B1C2/SENSOR",
            r#"{"Time":"2026-11-21T08:26:00","AM2301":{"Temperature":20.3,"Humidity":48.0,"DewPoint":9.1},"TempUnit":"C"}"#,
        ),
        ("tele/plug_3C71BF/LWT", "Online"),
        ("stat/plug_3C71BF/RESULT", r#"{"POWER":"ON"}"#),
        ("stat/plug_3C71BF/POWER", "ON"),
        ("shellies/shelly1pm-A4CF12F45E3B/relay/0", "on"),
        ("shellies/shelly1pm-A4CF12F45E3B/relay/0/power", "12.53"),
        ("shellies/shelly1pm-A4CF12F45E3B/relay/0/energy", "1532"),
        ("shellies/shelly1pm-A4CF12F45E3B/temperature", "43.2"),
        ("shellies/shelly1pm-A4CF12F45E3B/online", "true"),
        ("shellies/shellyht-F3D21A/sensor/temperature", "21.25"),
        ("shellies/shellyht-F3D21A/sensor/act_reasons", r#"["button"]"#),
        ("shellies/shellyht-F3D21A/sensor/humidity", "51"),
        (
            "shellies/announce",
            r#"{"id":"shellyht-F3D21A","model":"SHHT-1","mac":"F3D21A000000","ip":"10.0.0.7","new_fw":false}"#,
        ),
        (
            "shellyplus1pm-a8032abe54dc/status/switch:0",
            r#"{"id":0,"source":"MQTT","output":true,"apower":8.9,"voltage":231.1,"aenergy":{"total":11.679,"by_minute":[0,0,0],"minute_ts":1795249560},"temperature":{"tC":41.3,"tF":106.3}}"#,
        ),
        (
            "shellyplus1pm-a8032abe54dc/events/rpc",
            r#"{"src":"shellyplus1pm-a8032abe54dc","dst":"x/events","method":"NotifyStatus","params":{"ts":1795249560.12,"switch:0":{"id":0,"apower":8.9}}}"#,
        ),
        ("shellyplus1pm-a8032abe54dc/online", "true"),
        ("kitchen-node/status", "online"),
        ("kitchen-node/sensor/kitchen_temperature/state", "21.5"),
        ("kitchen-node/sensor/kitchen_humidity/state", "48"),
        ("kitchen-node/binary_sensor/window/state", "OFF"),
        ("garage-node/status", "online"),
        ("garage-node/sensor/garage_temperature/state", "nan"),
        ("garage-node/light/ceiling/state", r#"{"state":"ON","brightness":180,"color_mode":"brightness"}"#),
        (
            "owntracks/anna/phone",
            r#"{"_type":"location","tid":"an","tst":1795249560,"lat":52.51,"lon":13.4,"acc":12,"batt":81,"t":"u","inregions":["home"]}"#,
        ),
        ("owntracks/ben/phone", r#"{"_type":"lwt","tst":1795249560}"#),
        ("owntracks/anna/phone/event", r#"{"_type":"transition","tst":1795249560,"event":"enter","desc":"home"}"#),
        ("modbus/gw1/registers", "2026-11-21T08:26:00Z,1,230.1,50.02"),
        ("modbus/gw1/registers", "2026-11-21T08:26:10Z,1,229,50.01"),
        ("modbus/gw2/registers", "2026-11-21T08:26:00Z,2,231.4,49.99"),
        ("sensors/site1/d1/telemetry", r#"{"ts":1795249560123,"temp":21.5,"ok":true}"#),
        ("sensors/site1/d2/telemetry", r#"{"ts":1795249560456,"temp":19,"ok":false}"#),
        ("sensors/site2/d1/telemetry", r#"{"ts":1795249560789,"temp":18.2,"ok":true,"note":"odd"}"#),
        (
            "telegraf/host1/cpu",
            "cpu,host=host1,cpu=cpu0 usage_idle=97.5,up=12i 1795249560000000000\ncpu,host=host1,cpu=cpu1 usage_idle=98 1795249560000000000",
        ),
        ("telegraf/host2/cpu", "cpu,host=host2 usage_idle=11,state=\"ok\" 1795249570000000000"),
        ("plc/a/export", "time;pressure;valve\n2026-11-21T08:26:00Z;1.25;open\n2026-11-21T08:27:00Z;1.5;shut\n"),
        ("plc/b/export", "time;pressure;valve\n2026-11-21T08:26:00Z;7;open\n"),
        ("orders/hall1/done", r#"{"id":"a-1","parts":3}"#),
        ("orders/hall1/done", r#"{"id":"a-2","parts":3}"#),
        ("orders/hall2/done", r#"{"id":"b-1","parts":4}"#),
        ("log/gateway", "{\"level\":\"info\",\"n\":1}\n{\"level\":\"warn\",\"n\":2}\n"),
        ("plant/line1/press/temperature", "55.1"),
        ("plant/line1/press/pressure", "3.2"),
        ("plant/line2/press/temperature", "56.0"),
        ("plant/line1/alarm", r#"[{"code":7,"at":"2026-11-21T08:26:00Z"},{"code":9,"at":"2026-11-21T08:27:00Z"}]"#),
    ];
    let mut all: Vec<(&str, Vec<u8>)> =
        text.into_iter().map(|(topic, text)| (topic, text.as_bytes().to_vec())).collect();
    all.push(("camera/front/snapshot", vec![0xff, 0xd8, 0xff, 0x00, 0x01]));
    for (topic, payload) in [
        // {"t": 21.5, "ok": true}, twice, and the same as CBOR.
        ("packed/node1/reading", &b"\x82\xa1t\xcb\x40\x35\x80\0\0\0\0\0\xa2ok\xc3"[..]),
        ("packed/node2/reading", b"\x82\xa1t\x15\xa2ok\xc2"),
        ("coap/node1/reading", b"\xa2\x61t\xf9\x4d\x60\x62ok\xf5"),
        ("coap/node2/reading", b"\xa2\x61t\x15\x62ok\xf4"),
    ] {
        all.push((topic, payload.to_vec()));
    }
    all
}

/// Publishes the house again and again until it is dropped.
struct Living {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Living {
    fn begin(port: u16) -> Living {
        let stop = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut publisher = Publisher::new(port);
            while !is_over.load(Ordering::Relaxed) {
                for (topic, payload) in house() {
                    publisher.send(topic, payload);
                }
                thread::sleep(Duration::from_millis(50));
            }
        });
        Living { stop, thread: Some(thread) }
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn what_it_writes_stores_everything_that_was_heard() {
    let broker = Mosquitto::start();
    Publisher::new(broker.port())
        .publish(&Outgoing::new("zigbee2mqtt/bridge/state", r#"{"state":"online"}"#).retained());
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    let heard = {
        let _living = Living::begin(broker.port());
        let mut command =
            bridge.prepare(&["discover", "--for", "2s", "-o", "found.yaml", "--database", "sqlite:rows.db"]);
        command.stdin(Stdio::null()).output().unwrap()
    };
    let said = text(&heard);
    assert!(heard.status.success(), "{said}");
    let yaml = std::fs::read_to_string(bridge.path("found.yaml")).unwrap();
    for line in [
        "topic: zigbee2mqtt/{device}\n",
        "topic: tele/{device}/SENSOR",
        "topic: sensors/{site}/{device}/telemetry",
        "topic: modbus/{gw}/registers",
        "topic: plant/{line}/press/{measurement}",
        "topic: \"{device}/status\"",
        "time: { from: payload.Time, type: timestamptz }",
        "ts: { from: payload.ts, type: timestamptz, time: ms }",
        "tst: { from: payload.tst, type: timestamptz, time: s }",
        "for_each: payload",
        "topic: telegraf/{host}/cpu",
        "format: influx",
        "format: ndjson",
        "format: msgpack",
        "format: cbor",
        "csv: { delimiter: \";\", header: columns }",
        "`key: [id]` keep each once",
        "`key: [site, device, ts]`",
    ] {
        assert!(yaml.contains(line), "{line} in:\n{yaml}");
    }
    let sql = std::fs::read_to_string(bridge.path("found.sql")).unwrap();
    assert!(sql.contains("CREATE TABLE IF NOT EXISTS \"zigbee2mqtt\""), "{sql}");
    let http = bridge.http_port();
    std::fs::write(bridge.config(), format!("{yaml}\ndata_dir: data\nhttp: {{ listen: '127.0.0.1:{http}' }}\n"))
        .unwrap();
    let check = bridge.command(&["check", "--offline"]);
    assert!(check.status.success(), "{}\n{yaml}", text(&check));

    let messages = house().len() as u64;
    bridge.start();
    bridge.wait_alive("the retained message is there", |bridge| (bridge.journaled() >= 1).then_some(()));
    let mut publisher = Publisher::new(broker.port());
    for (topic, payload) in house() {
        publisher.send(topic, payload);
    }
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() > messages).then_some(()));
    bridge.wait_drained("local");
    let status = bridge.status();
    let total =
        |key: &str| status["rules"].as_array().unwrap().iter().map(|rule| rule[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!((total("matched"), total("written")), (messages + 1, messages + 1), "{status}\n{yaml}");
    assert_eq!(status["unmatched"], 0, "{status}");
    let rows = bridge.rows();
    assert_eq!(count(&rows, "rowbridge_dead_letters"), 0);
    assert_eq!(value::<f64>(&rows, "SELECT temperature FROM zigbee2mqtt WHERE device = 'bath_sensor'"), 22.4);
    let at = "SELECT ts FROM sensors_telemetry WHERE site = 'site1' AND temp = 21.5";
    assert_eq!(value::<String>(&rows, at), "2026-11-21T08:26:00.123Z");
    for (table, expected) in
        [("telegraf_cpu", 3), ("plc_export", 3), ("packed_reading", 2), ("coap_reading", 2), ("log_gateway", 2)]
    {
        assert_eq!(count(&rows, table), expected, "{table}\n{yaml}");
    }
    for (sql, expected) in [
        (
            "SELECT json_extract(fields, '$.usage_idle') FROM telegraf_cpu WHERE json_extract(tags, '$.cpu') = 'cpu1'",
            98.0,
        ),
        ("SELECT pressure FROM plc_export WHERE valve = 'shut'", 1.5),
        ("SELECT json_extract(payload, '$.t') FROM packed_reading WHERE node = 'node1'", 21.5),
        ("SELECT json_extract(payload, '$.t') FROM coap_reading WHERE node = 'node1'", 21.5),
    ] {
        assert_eq!(value::<f64>(&rows, sql), expected, "{sql}\n{yaml}");
    }
}

/// The drafted file names variables for both; nobody has to set them for the rules to be found.
#[test]
fn a_broker_with_a_user_name_is_learned_like_any_other() {
    let broker = Mosquitto::start();
    Publisher::new(broker.port()).publish(&Outgoing::new("sensors/a/d1/telemetry", r#"{"temp":21.5}"#).retained());
    let bridge = Bridge::with_mqtt(broker.port(), "username: me, password: secret", &readings(1));
    let output = bridge.command(&["discover", "--for", "1s", "--filter", "sensors/#"]);
    let said = text(&output);
    assert!(output.status.success() && said.contains("username: ${MQTT_USERNAME}"), "{said}");
    assert!(said.contains("temp: { from: payload.temp"), "{said}");
}

#[test]
fn a_broker_that_is_not_there_and_files_that_are_stop_it() {
    let bridge = Bridge::new(free_port(), &readings(1));
    let output = bridge.command(&["discover", "--for", "1s", "--set", "mqtt.connect_timeout=1s"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("cannot be listened to"), "{}", text(&output));
    let output = bridge.command(&["discover", "-o", "bridge.yaml"]);
    assert!(output.status.code() == Some(2) && text(&output).contains("is there already"), "{}", text(&output));
    for (file, why) in [("no/such/folder.yaml", "No such file"), ("bridge.yaml/x.yaml", "directory")] {
        let begun = std::time::Instant::now();
        let output = bridge.command(&["discover", "--for", "60s", "-o", file]);
        let said = text(&output);
        assert!(output.status.code() == Some(2) && said.contains("cannot be written") && said.contains(why), "{said}");
        assert!(begun.elapsed().as_secs() < 30, "before it listens");
    }
    assert_eq!(bridge.command(&["discover", "--filter", "a/#/b"]).status.code(), Some(2));
    let output = bridge.command(&["discover", "--for", "60s", "--database", "mysql:x"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output);
    assert!(said.contains("mysql:x") && said.contains("no database that Rowbridge knows"), "{said}");
    assert_eq!(bridge.command(&["discover", "-o", "x.sql"]).status.code(), Some(2));
}
