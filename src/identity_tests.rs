use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::config::{LoadRequest, load as load_config};
use crate::journal::{SimFault, SimFs};

const DATA_DIR: &str = "data";

/// A configuration on the host `host`, with lines that may name client id and bridge.
fn config(host: &str, lines: &str) -> Config {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bridge.yaml");
    let rest = "databases: {local: {url: 'sqlite:x.db'}}\nrules: [{topic: a, table: t, columns: {p: payload}}]\n";
    std::fs::write(&file, format!("{lines}\ndata_dir: {DATA_DIR}\n{rest}")).unwrap();
    let request = LoadRequest {
        file: Some(file),
        overrides: Vec::new(),
        environment: BTreeMap::new(),
        not_text: BTreeSet::new(),
        hostname: host.to_owned(),
        text: None,
        directory: directory.path().to_owned(),
        system_file: directory.path().join("none"),
        needs: crate::config::Needs::everything(),
    };
    load_config(&request).unwrap()
}

/// The names after a start on the host.
fn start(fs: &SimFs, host: &str, lines: &str) -> (String, String) {
    let mut config = config(host, lines);
    settle(fs, &mut config);
    (config.mqtt.client_id, config.bridge.to_string())
}

fn names(client_id: &str, bridge: &str) -> (String, String) {
    (client_id.to_owned(), bridge.to_owned())
}

/// `subscriptions.json` of a client.
fn session_of(fs: &SimFs, client_id: &str) {
    fs.create_dir_all(Path::new(DATA_DIR)).unwrap();
    let text = format!("{{\"client_id\":\"{client_id}\",\"filters\":[]}}");
    let path = Path::new(DATA_DIR).join("subscriptions.json");
    journal::replace_file(fs, &path, &path.with_extension("tmp"), text.as_bytes()).unwrap();
}

#[test]
fn the_names_of_the_first_start_stay_when_the_host_name_changes() {
    let fs = SimFs::new(1);
    assert_eq!(start(&fs, "one", ""), names("rowbridge-one", "rowbridge-one"));
    for host in ["two", "three", "two"] {
        assert_eq!(start(&fs, host, ""), names("rowbridge-one", "rowbridge-one"), "{host}");
    }
}

#[test]
fn the_names_outlive_a_power_cut_right_after_they_were_settled() {
    for seed in 0..20 {
        let fs = SimFs::new(seed);
        start(&fs, "one", "");
        assert_eq!(start(&fs.crash(seed), "two", ""), names("rowbridge-one", "rowbridge-one"), "power cut {seed}");
    }
}

#[test]
fn names_that_the_configuration_gives_are_followed_and_remembered() {
    let fs = SimFs::new(1);
    start(&fs, "one", "");
    assert_eq!(start(&fs, "one", "mqtt: {client_id: c}\nbridge: b"), names("c", "b"));
    assert_eq!(start(&fs, "two", ""), names("c", "b"));
    // Another client id is another session, but no reason to deliver the journal again.
    assert_eq!(start(&fs, "two", "mqtt: {client_id: d}"), names("d", "b"));
    assert_eq!(start(&fs, "two", "bridge: e"), names("d", "e"));
    assert_eq!(start(&fs, "two", ""), names("d", "e"));
}

#[test]
fn a_data_directory_of_an_older_version_goes_on_under_the_client_id_of_its_session() {
    let fs = SimFs::new(1);
    session_of(&fs, "rowbridge-old");
    assert_eq!(start(&fs, "new", ""), names("rowbridge-old", "rowbridge-old"));
    // From then on by its own file.
    session_of(&fs, "rowbridge-other");
    assert_eq!(start(&fs, "new", ""), names("rowbridge-old", "rowbridge-old"));

    let fs = SimFs::new(2);
    session_of(&fs, "rowbridge-old");
    assert_eq!(start(&fs, "new", "bridge: b"), names("rowbridge-old", "b"));
}

#[test]
fn every_difference_is_told_once_it_matters_and_none_is_made_up() {
    let remembered = || Some(Identity { client_id: "old".to_owned(), bridge: "oldbridge".to_owned() });
    let unknown = || Some(Identity { client_id: "old".to_owned(), bridge: String::new() });
    let notices = |lines: &str, remembered| adopt(&mut config("h", lines), remembered);
    let kept = Notice::ClientIdKept { by_host_name: "rowbridge-h".to_owned() };
    let changed = Notice::ClientIdChanged { remembered: "old".to_owned() };
    let renamed = Notice::BridgeChanged { remembered: "oldbridge".to_owned() };
    assert_eq!(notices("", None), []);
    assert_eq!(notices("", remembered()), [kept.clone(), Notice::BridgeKept]);
    assert_eq!(notices("mqtt: {client_id: old}\nbridge: oldbridge", remembered()), []);
    assert_eq!(notices("mqtt: {client_id: new}\nbridge: oldbridge", remembered()), std::slice::from_ref(&changed));
    assert_eq!(notices("mqtt: {client_id: old}\nbridge: b", remembered()), [renamed]);
    assert_eq!(notices("mqtt: {client_id: new}", remembered()), [changed, Notice::BridgeKept]);
    assert_eq!(notices("", unknown()), std::slice::from_ref(&kept));
    assert_eq!(notices("bridge: b", unknown()), [kept]);
    assert_eq!(notices("mqtt: {client_id: old}\nbridge: b", unknown()), []);
}

#[test]
fn a_file_that_is_damaged_counts_as_missing_and_is_written_again() {
    let fs = SimFs::new(1);
    start(&fs, "one", "");
    let path = Path::new(DATA_DIR).join(FILE_NAME);
    for text in ["", "{", "{\"client_id\":\"\",\"bridge\":\"b\"}", "{\"client_id\":\"a\"}", "[]"] {
        journal::replace_file(&fs, &path, &path.with_extension("new"), text.as_bytes()).unwrap();
        assert_eq!(start(&fs, "two", ""), names("rowbridge-two", "rowbridge-two"), "{text}");
        assert_eq!(start(&fs, "three", ""), names("rowbridge-two", "rowbridge-two"), "{text}");
    }
}

#[test]
fn a_disk_that_takes_no_file_does_not_keep_the_bridge_from_starting() {
    let fs = SimFs::new(1);
    for call in 1..8 {
        fs.fail_call(call, SimFault::Io);
        assert_eq!(start(&fs, "one", ""), names("rowbridge-one", "rowbridge-one"));
    }
}
