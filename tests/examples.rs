//! Every directory under examples/ is a configuration that is right and whose golden tests pass; six of them together store
//! all that a house publishes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::bridge::Bridge;
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{column, count};
use crate::support::publisher::Publisher;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// The directories, by name.
fn examples() -> BTreeMap<String, PathBuf> {
    let directories = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    directories.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), path)).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_example_is_right_and_passes_its_golden_tests() {
    let examples = examples();
    assert!(!examples.is_empty(), "there are no examples in {}", folder().display());
    let list = read(&folder().join("README.md"));
    let mut faults = Vec::new();
    for (name, path) in &examples {
        assert!(list.contains(&format!("({name}/)")), "examples/README.md does not list {name}");
        assert!(read(&path.join("README.md")).starts_with("# "), "{name}/README.md has no title");
        // A copy, so that nothing is left in the source.
        let bridge = Bridge::bare(&read(&path.join("bridge.yaml")));
        fs::create_dir(bridge.path("tests")).unwrap();
        for beside in [path.clone(), path.join("tests")] {
            for file in fs::read_dir(&beside).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file())
            {
                fs::copy(&file, bridge.path(file.strip_prefix(path).unwrap().to_str().unwrap())).unwrap();
            }
        }
        for arguments in [&["check", "--offline"][..], &["test"]] {
            let output = bridge.command(arguments);
            if !output.status.success() {
                let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                faults.push(format!("{name}: {}\n{}", arguments.join(" "), said.concat()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Topic, payload, and the tables that get rows of it, with how many.
type Published = (&'static str, &'static str, &'static [(&'static str, u64)]);

/// What a house publishes.
const HOUSE: [Published; 25] = [
    (
        "zigbee2mqtt/bath_sensor",
        r#"{"battery":91.5,"humidity":55.13,"linkquality":70,"temperature":22.41}"#,
        &[("zigbee_states", 1)],
    ),
    ("zigbee2mqtt/front_door", r#"{"contact":false,"last_seen":1795249560123}"#, &[("zigbee_states", 1)]),
    ("zigbee2mqtt/front_door/availability", r#"{"state":"online"}"#, &[("zigbee_availability", 1)]),
    (
        "zigbee2mqtt/bridge/devices",
        r#"[{"ieee_address":"0x1","friendly_name":"bath_sensor","type":"EndDevice"},{"ieee_address":"0x2","type":"Router","definition":null}]"#,
        &[("zigbee_devices", 2)],
    ),
    (
        "tele/plug/SENSOR",
        r#"{"Time":"2026-11-21T08:26:00","ENERGY":{"Total":3.185,"Today":0.049,"Power":[12,3.5],"Voltage":230}}"#,
        &[("tasmota_energy", 1)],
    ),
    (
        "tele/garden/SENSOR",
        r#"{"Time":"2026-11-21T08:26:00","DS18B20":{"Id":"01","Temperature":4.5},"BME280":{"Temperature":20.3,"Humidity":48.1},"TempUnit":"C"}"#,
        &[("tasmota_sensors", 2)],
    ),
    (
        "tele/plug/STATE",
        r#"{"Time":"2026-11-21T08:26:00","UptimeSec":612,"POWER":"ON","Wifi":{"RSSI":76}}"#,
        &[("tasmota_states", 1)],
    ),
    ("stat/plug/RESULT", r#"{"POWER":"ON"}"#, &[("tasmota_relays", 1)]),
    ("tele/plug/LWT", "Online", &[("tasmota_availability", 1)]),
    ("shellies/shelly1pm-A4CF12/relay/0", "on", &[("shelly1_relays", 1)]),
    ("shellies/shelly1pm-A4CF12/relay/0/power", "12.53", &[("shelly1_meters", 1)]),
    ("shellies/shellyht-F3D21A/sensor/temperature", "21.25", &[("shelly1_sensors", 1)]),
    ("shellies/shellyht-F3D21A/sensor/act_reasons", r#"["button"]"#, &[("shelly1_sensors", 1)]),
    ("shellies/shelly1pm-A4CF12/online", "true", &[("shelly_online", 1)]),
    (
        "shellyplus1pm-a8032a/events/rpc",
        r#"{"src":"shellyplus1pm-a8032a","method":"NotifyStatus","params":{"ts":1795249560.12,"switch:0":{"id":0,"apower":8.9},"switch:1":{"id":1,"output":true}}}"#,
        &[("shelly2_status", 2)],
    ),
    (
        "shellyplusi4-b1c2d3/events/rpc",
        r#"{"method":"NotifyEvent","params":{"ts":1795249560.12,"events":[{"component":"input:0","event":"single_push","ts":1795249560.12}]}}"#,
        &[("shelly2_events", 1)],
    ),
    ("kitchen-node/sensor/kitchen_temperature/state", "21.5", &[("esphome_sensors", 1)]),
    ("garage-node/sensor/garage_temperature/state", "nan", &[("esphome_sensors", 1)]),
    ("kitchen-node/binary_sensor/window/state", "OFF", &[("esphome_states", 1)]),
    ("garage-node/light/ceiling/state", r#"{"state":"ON","brightness":180}"#, &[("esphome_lights", 1)]),
    ("kitchen-node/status", "online", &[("esphome_status", 1)]),
    ("home/statestream/sensor/outside/state", "unavailable", &[("ha_states", 1)]),
    ("home/statestream/sensor/outside/unit_of_measurement", "\"°C\"", &[("ha_attributes", 1)]),
    (
        "owntracks/anna/phone",
        r#"{"_type":"location","tst":1795249560,"lat":52.51,"lon":13.4,"acc":12,"batt":81,"t":"u","inregions":["home"]}"#,
        &[("owntracks_locations", 1)],
    ),
    (
        "owntracks/anna/phone/event",
        r#"{"_type":"transition","tst":1795249560,"event":"enter","desc":"home"}"#,
        &[("owntracks_transitions", 1)],
    ),
];

/// The rules of each family as they stand in its example, one after the other in one file.
#[test]
fn the_examples_of_six_families_together_store_all_that_a_house_publishes() {
    let families = ["zigbee2mqtt", "tasmota", "shelly", "esphome", "home-assistant-statestream", "owntracks"];
    let rules_of = |name: &str| {
        let text = read(&folder().join(name).join("bridge.yaml"));
        text.split_once("\nrules:\n").expect("the file ends with its rules").1.to_owned()
    };
    let rules = families.map(rules_of).concat();
    let broker = Mosquitto::start();
    let body = format!("databases:\n  local: {{ url: 'sqlite:rows.db' }}\nunmatched: dead_letter\nrules:\n{rules}");
    let mut bridge = Bridge::new(broker.port(), &body);
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
    for (topic, payload, tables) in HOUSE {
        publisher.send(topic, payload);
        tables.iter().for_each(|(table, rows)| *expected.entry(table).or_default() += rows);
    }
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= HOUSE.len() as u64).then_some(()));
    bridge.wait_drained("local");
    let file = bridge.rows();
    let letters: Vec<String> =
        column(&file, "SELECT rule || ' ' || topic || ': ' || error FROM rowbridge_dead_letters");
    assert_eq!(letters, [""; 0]);
    let found: BTreeMap<&str, u64> = expected.keys().map(|table| (*table, count(&file, table))).collect();
    assert_eq!(found, expected);
    // Nothing went anywhere else either.
    let rules = bridge.status()["rules"].as_array().unwrap().clone();
    let rows: u64 = rules.iter().map(|rule| rule["rows"].as_u64().unwrap()).sum();
    assert_eq!(rows, expected.values().sum::<u64>());
}
