//! Another configuration while the bridge runs: nothing is lost or doubled, each message is under one version of its rule.

use std::process::{Command, Output};

use rustix::process::Signal;

use crate::support::bridge::Bridge;
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::mqtt::Outgoing;
use crate::support::oracle::{Tally, column, count, value};
use crate::support::postgres::Postgres;
use crate::support::publisher::{Load, Publisher, reading};
use crate::support::wait_for;

/// A rule at QoS 2 whose rows say which version of it made them.
fn rule(name: &str, topic: &str, version: u64) -> String {
    format!(
        "  - name: {name}\n    topic: {topic}\n    qos: 2\n    table: {name}\n    create: true\n    columns:\n      \
         id: {{ from: payload.id, type: bigint }}\n      \
         version: {{ value: v{version}, type: text }}\n      topic: topic\n"
    )
}

fn body(rules: &[String]) -> String {
    format!("databases:\n  local: {{ url: 'sqlite:rows.db' }}\nrules:\n{}", rules.concat())
}

#[track_caller]
fn reload(bridge: &Bridge) -> String {
    let output = bridge.command(&["reload"]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn settle(bridge: &mut Bridge, messages: u64) {
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= messages).then_some(()));
    bridge.wait_drained("local");
}

/// The filters that the broker granted.
fn filters(bridge: &Bridge) -> Vec<String> {
    let status = bridge.status();
    let list = status["mqtt"]["subscriptions"].as_array().cloned().unwrap_or_default();
    list.iter()
        .filter(|one| one["qos_granted"].is_u64())
        .map(|one| one["filter"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn under_load_with_kills_every_message_is_there_once_and_under_one_version() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let other =
        |version: u64| if version.is_multiple_of(2) { rule("even", "sensors/site1/#", version) } else { String::new() };
    let rules = |version| body(&[rule("readings", "sensors/{site}/{device}/telemetry", version), other(version)]);
    let mut bridge = Bridge::new(broker.port(), &rules(1));
    bridge.start();
    let messages = 6_000;
    let load = Load::new(broker.port(), 2, messages).per_second(1_500).start();
    for version in 2..14_u64 {
        let edit = |bridge: &Bridge, from: u64, to: u64| {
            let text = std::fs::read_to_string(bridge.config()).unwrap();
            let head = text.split("databases:").next().unwrap().to_owned();
            assert!(text.ends_with(&rules(from)), "{text}");
            std::fs::write(bridge.config(), head + &rules(to)).unwrap();
        };
        bridge.wait_rows("readings", version * 150);
        edit(&bridge, version - 1, version);
        if version % 4 == 3 {
            bridge.signal(Signal::HUP);
            std::thread::sleep(std::time::Duration::from_millis(version * 7 % 40));
            bridge.kill();
            bridge.start();
        } else {
            let told = reload(&bridge);
            assert!(told.contains("changed: readings"), "{told}");
        }
    }
    load.finish();
    settle(&mut bridge, messages);
    Tally::of_sqlite(&bridge.rows(), "readings", 0..messages).assert_each_once("readings");
    // In the order of delivery versions only go up: each message met the rules of its time.
    let versions: Vec<String> = column(&bridge.rows(), "SELECT version FROM readings ORDER BY rowid");
    let numbers: Vec<u64> = versions.iter().map(|text| text[1..].parse().unwrap()).collect();
    assert!(numbers.is_sorted() && numbers.len() as u64 == messages);
    assert!(numbers.iter().collect::<std::collections::BTreeSet<_>>().len() > 2, "reloads came among the messages");
    let twice: u64 = value::<i64>(&bridge.rows(), "SELECT count(*) - count(DISTINCT id) FROM even").cast_unsigned();
    assert_eq!(twice, 0);
    assert!(value::<bool>(
        &bridge.rows(),
        "SELECT count(*) = 0 FROM even WHERE CAST(substr(version, 2) AS INT) % 2 = 1"
    ));
    assert_eq!(bridge.stop().code(), Some(0));
}

#[test]
fn a_broken_file_or_another_broker_changes_nothing_and_every_mistake_is_told() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &body(&[rule("a", "a/#", 1)]));
    bridge.start();
    bridge.edit("topic: a/#", "topic: a/#/b\n    qso: 1");
    let told = refused(&bridge.command(&["reload"]));
    assert!(told.contains("bridge.yaml:") && told.contains("qso") && told.contains("2 mistakes"), "{told}");
    let status = bridge.status();
    assert_eq!(status["config"]["version"], 1, "{status}");
    assert!(status["config"]["last_error"].as_str().unwrap().contains("2 mistakes"), "{status}");
    assert_eq!(filters(&bridge), ["a/#"]);
    assert_eq!(bridge.log().matches("the configuration was not reloaded").count(), 1);
    bridge.edit("topic: a/#/b\n    qso: 1", "topic: b/#");
    bridge.edit("data_dir: data", "data_dir: elsewhere");
    bridge.edit("sqlite:rows.db", "sqlite:others.db");
    let told = refused(&bridge.command(&["reload"]));
    assert!(told.contains("data_dir, databases.local") && told.contains("restart"), "{told}");
    assert_eq!(filters(&bridge), ["a/#"]);
    bridge.edit("data_dir: elsewhere", "data_dir: data");
    bridge.edit("sqlite:others.db", "sqlite:rows.db");
    assert!(reload(&bridge).contains("changed: a"));
    bridge.wait_alive("the filters are others", |bridge| (filters(bridge) == ["b/#"]).then_some(()));
    let status = bridge.status();
    assert_eq!((&status["config"]["version"], status["config"]["last_error"].is_null()), (&2.into(), true), "{status}");
}

#[test]
fn what_is_published_and_the_status_topic_change_by_a_restart_only() {
    let broker = Mosquitto::start();
    let rows = "publish: [{ name: out, database: local, table: a, topic: 'out/{table}' }]\n";
    let keys = "status_topic: bridges/one";
    let mut bridge = Bridge::with_mqtt(broker.port(), keys, &(body(&[rule("a", "a/#", 1)]) + rows));
    bridge.start();
    for (from, to, key) in [
        ("status_topic: bridges/one", "status_topic: bridges/two", "mqtt.status_topic"),
        ("status_topic: bridges/one, ", "", "mqtt.status_topic"),
        ("name: out", "name: others", "publish"),
        ("topic: 'out/{table}'", "topic: 'out/{table}', retain: true", "publish"),
        (rows, "", "publish"),
    ] {
        let before = std::fs::read_to_string(bridge.config()).unwrap();
        bridge.edit(from, to);
        let told = refused(&bridge.command(&["reload"]));
        assert!(told.starts_with(&format!("{key} cannot change while the bridge runs; restart it")), "{key}: {told}");
        std::fs::write(bridge.config(), before).unwrap();
    }
    assert_eq!(bridge.status()["config"]["version"], 1);
    assert!(reload(&bridge).contains("no difference found"));
}

#[test]
fn sighup_while_the_bridge_starts_is_a_reload_and_not_its_end() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &body(&[rule("a", "a/#", 1)]));
    bridge.start();
    assert!(bridge.stop().success());
    // The start reads this file behind the journal, and waits until somebody writes into it.
    let identity = bridge.path("data/identity.json");
    let names = std::fs::read(&identity).unwrap();
    std::fs::remove_file(&identity).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &identity, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let opened = |bridge: &Bridge| bridge.log().matches("journal opened").count();
    bridge.spawn();
    bridge.wait_alive("the journal is open", |bridge| (opened(bridge) == 2).then_some(()));
    bridge.signal(Signal::HUP);
    // The signal interrupts the bridge's opening of the file, which begins again: there may be no reader at this moment.
    wait_for("the names are read", || std::fs::write(&identity, &names).ok());
    bridge.wait_alive("it is reloaded", |bridge| bridge.log().contains("configuration reloaded").then_some(()));
}

#[test]
fn a_program_of_another_name_is_reloaded_by_itself() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &body(&[rule("a", "a/#", 1)]));
    let renamed = bridge.path("rowbridge-arm64");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_rowbridge"), &renamed).unwrap();
    let text = renamed.display().to_string();
    bridge.start_by(vec!["sh".to_owned(), "-c".to_owned(), format!("shift; exec {text} \"$@\""), "sh".to_owned()]);
    bridge.start();
    let ended =
        Command::new(&renamed).arg("reload").arg("-c").arg(bridge.config()).current_dir(bridge.path("")).output();
    let ended = ended.unwrap();
    assert!(ended.status.success(), "{ended:?}");
}

#[test]
fn a_rule_that_goes_and_comes_back_keeps_its_counts_and_its_filter_goes_and_comes_back() {
    let broker = Mosquitto::start();
    let (a, b) = (rule("a", "a/#", 1), rule("b", "b/#", 1));
    let mut bridge = Bridge::new(broker.port(), &body(&[a.clone(), b.clone()]));
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    publisher.send("b/1", r#"{"id":1}"#);
    settle(&mut bridge, 1);
    bridge.edit(&b, "");
    assert!(reload(&bridge).contains("rule removed: b"));
    bridge.wait_alive("b/# is given up", |bridge| (filters(bridge) == ["a/#"]).then_some(()));
    publisher.send("b/2", r#"{"id":2}"#);
    publisher.send("a/1", r#"{"id":1}"#);
    settle(&mut bridge, 2);
    assert_eq!(bridge.status()["rules"].as_array().unwrap().len(), 1);
    bridge.edit(&a, &(b.clone() + &a));
    assert!(reload(&bridge).contains("rule added: b"));
    bridge.wait_alive("b/# is back", |bridge| (filters(bridge).len() == 2).then_some(()));
    publisher.send("b/3", r#"{"id":3}"#);
    // The broker may have sent b/2 before it read UNSUBSCRIBE: it is journaled then, and no rule's.
    bridge.wait_ids("b", 2);
    bridge.wait_drained("local");
    assert_eq!(column::<i64>(&bridge.rows(), "SELECT id FROM b ORDER BY id"), [1, 3]);
    let rules = &bridge.status()["rules"];
    let counted = |index: usize| (rules[index]["rule"].clone(), rules[index]["written"].clone());
    assert_eq!([counted(0), counted(1)], [("b".into(), 2.into()), ("a".into(), 1.into())], "{rules}");
}

#[test]
fn retained_messages_of_filters_that_stay_do_not_come_again() {
    let broker = Mosquitto::start();
    let mut publisher = Publisher::new(broker.port());
    for topic in ["a/b/c", "x/1"] {
        publisher.publish(&Outgoing::new(topic, r#"{"id":1}"#).retained());
    }
    let stays = rule("stays", "a/b/+", 1);
    for keys in ["version: 5", "version: 3.1.1"] {
        let mut bridge = Bridge::with_mqtt(broker.port(), keys, &body(std::slice::from_ref(&stays)));
        bridge.start();
        settle(&mut bridge, 1);
        bridge.edit(&stays, &(rule("x", "x/#", 2) + &stays));
        reload(&bridge);
        settle(&mut bridge, 2);
        bridge.edit(&rule("x", "x/#", 2), &rule("x", "x/#", 3));
        reload(&bridge);
        publisher.send("a/b/c", r#"{"id":2}"#);
        settle(&mut bridge, 3);
        assert_eq!(column::<i64>(&bridge.rows(), "SELECT id FROM stays ORDER BY id"), [1, 2], "{keys}");
        assert_eq!(count(&bridge.rows(), "x"), 1, "{keys}");
        assert_eq!(bridge.journaled(), 3, "{keys}");
    }
}

#[test]
fn a_reload_frees_a_held_database_and_what_waited_goes_in_under_the_new_rules() {
    let broker = Mosquitto::start();
    let held = rule("r", "t/#", 1).replace("    create: true\n", "");
    let mut bridge =
        Bridge::new(broker.port(), &body(std::slice::from_ref(&held)).replace("rows.db'", "rows.db', park_after: 1h"));
    bridge.spawn();
    bridge.wait_alive("it is held", |bridge| (!bridge.status()["databases"]["local"]["held"].is_null()).then_some(()));
    bridge.wait_alive("t/# is subscribed to", |bridge| (filters(bridge) == ["t/#"]).then_some(()));
    let publisher = Load::new(broker.port(), 2, 20).made_by(|id| ("t/1".into(), reading(id).1));
    publisher.run();
    bridge.edit(&held, &rule("r", "t/#", 2));
    reload(&bridge);
    settle(&mut bridge, 20);
    Tally::of_sqlite(&bridge.rows(), "r", 0..20).assert_each_once("r");
    assert_eq!(column::<String>(&bridge.rows(), "SELECT DISTINCT version FROM r"), ["v2"]);
}

/// The range that is told begins at the first message that the database does not have, though a batch of them was tried.
#[test]
fn a_rule_that_moves_away_during_an_outage_is_told_with_every_message_that_is_not_stored() {
    let (broker, postgres) = (Mosquitto::with(DEEP_QUEUE), Postgres::start());
    let database = postgres.create_database();
    let there = rule("r", "t/#", 1).replace("columns:", "database: cloud\n    columns:");
    let text = body(std::slice::from_ref(&there));
    let cloud =
        format!("databases:\n  cloud: {{ url: '{}', retry: {{ min: 20ms, max: 100ms }} }}\n", postgres.url(&database));
    let mut bridge = Bridge::new(broker.port(), &text.replace("databases:\n", &cloud));
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    let mut publish = |ids: std::ops::Range<u64>| ids.for_each(|id| publisher.send("t/1", format!("{{\"id\":{id}}}")));
    publish(0..5);
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= 5).then_some(()));
    bridge.wait_drained("cloud");
    postgres.kill();
    publish(5..25);
    bridge.wait_alive("the outage is noticed", |bridge| {
        let cloud = &bridge.status()["databases"]["cloud"];
        (cloud["connected"] == false && cloud["pending"] == 20).then_some(())
    });
    bridge.edit(&there, &there.replace("database: cloud", "database: local"));
    assert!(reload(&bridge).contains("changed: r"));
    postgres.start_again();
    bridge.wait_drained("cloud");
    let log = bridge.log();
    let told = log.lines().find(|line| line.contains("ERROR") && line.contains("that only they took are not stored"));
    let told = told.unwrap_or_else(|| panic!("{log}"));
    assert!(told.contains("from_seq=6 to_seq=25"), "{told}");
}

/// What the new database had not read yet, the old one may have stored.
#[test]
fn a_rule_that_moves_to_a_database_that_lags_is_told() {
    let (broker, postgres) = (Mosquitto::with(DEEP_QUEUE), Postgres::start());
    let database = postgres.create_database();
    let here = rule("r", "t/#", 1).replace("columns:", "database: local\n    columns:");
    let text = body(std::slice::from_ref(&here));
    let cloud =
        format!("databases:\n  cloud: {{ url: '{}', retry: {{ min: 20ms, max: 100ms }} }}\n", postgres.url(&database));
    let mut bridge = Bridge::new(broker.port(), &text.replace("databases:\n", &cloud));
    bridge.start();
    bridge.wait_drained("cloud");
    postgres.kill();
    let mut publisher = Publisher::new(broker.port());
    (0..5).for_each(|id| publisher.send("t/1", format!("{{\"id\":{id}}}")));
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= 5).then_some(()));
    bridge.wait_drained("local");
    bridge.edit(&here, &here.replace("database: local", "database: cloud"));
    assert!(reload(&bridge).contains("changed: r"));
    postgres.start_again();
    bridge.wait_drained("cloud");
    let log = bridge.log();
    let told = log.lines().find(|line| line.contains("WARN") && line.contains("are stored here too"));
    let told = told.unwrap_or_else(|| panic!("{log}"));
    assert!(told.contains("from_seq=1 to_seq=5"), "{told}");
}

/// With `allow_duplicate_messages` Mosquitto sends a message once for each filter that matches. The copies that wait when a
/// filter goes must not reach the rule that stays.
#[test]
fn copies_for_a_filter_that_went_are_not_taken_for_the_one_that_stays() {
    let broker = Mosquitto::with(&format!("{DEEP_QUEUE}allow_duplicate_messages true\n"));
    let (left, right) = (rule("left", "a/+/c", 1), rule("right", "a/b/+", 1));
    let mut bridge = Bridge::new(broker.port(), &body(&[left.clone(), right.clone()]));
    bridge.start();
    // The database takes nothing: the messages wait in the journal.
    let lock = crate::support::oracle::sqlite(&bridge.rows());
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    Load::new(broker.port(), 2, 100).made_by(|id| ("a/b/c".into(), reading(id).1)).run();
    bridge.wait_alive("both copies are journaled", |bridge| (bridge.journaled() >= 200).then_some(()));
    bridge.edit(&right, "");
    reload(&bridge);
    bridge.wait_alive("a/b/+ is given up", |bridge| (filters(bridge) == ["a/+/c"]).then_some(()));
    lock.execute_batch("ROLLBACK").unwrap();
    drop(lock);
    bridge.wait_drained("local");
    Load::new(broker.port(), 2, 100).numbered_from(100).made_by(|id| ("a/b/c".into(), reading(id).1)).run();
    settle(&mut bridge, 300);
    Tally::of_sqlite(&bridge.rows(), "left", 0..200).assert_each_once("left");
    bridge.edit(&left, &(left.clone() + &right));
    reload(&bridge);
    bridge.wait_alive("a/b/+ is back", |bridge| (filters(bridge).len() == 2).then_some(()));
    Load::new(broker.port(), 2, 100).numbered_from(200).made_by(|id| ("a/b/c".into(), reading(id).1)).run();
    settle(&mut bridge, 500);
    Tally::of_sqlite(&bridge.rows(), "left", 0..300).assert_each_once("left");
    Tally::of_sqlite(&bridge.rows(), "right WHERE id >= 200", 200..300).assert_each_once("right");
}

#[test]
fn with_watch_config_a_changed_file_is_taken_up() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &body(&[rule("a", "a/#", 1)]));
    bridge.start_by(["sh", "-c", "exec \"$@\" --watch-config", "sh"].map(str::to_owned).to_vec());
    bridge.start();
    bridge.edit("topic: a/#", "topic: b/#");
    bridge.wait_alive("the filters are others", |bridge| (filters(bridge) == ["b/#"]).then_some(()));
    assert!(bridge.log().contains("--watch-config"));
}

#[test]
fn files_of_rules_that_appear_change_and_go_are_taken_up() {
    let broker = Mosquitto::start();
    let mut bridge =
        Bridge::new(broker.port(), &format!("{}rules_from: [rules.d/*.yaml]\n", body(&[rule("a", "a/#", 1)])));
    bridge.start_by(["sh", "-c", "exec \"$@\" --watch-config", "sh"].map(str::to_owned).to_vec());
    bridge.start();
    let folder = bridge.config().parent().unwrap().join("rules.d");
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("b.yaml");
    std::fs::write(&file, format!("rules:\n{}", rule("b", "b/#", 1))).unwrap();
    bridge.wait_alive("the file's rules are there", |bridge| (filters(bridge) == ["a/#", "b/#"]).then_some(()));
    std::fs::write(&file, rule("b", "c/#", 1)).unwrap();
    bridge.wait_alive("they are others", |bridge| (filters(bridge) == ["a/#", "c/#"]).then_some(()));
    // A file with a mistake changes nothing, and is told with its place.
    std::fs::write(folder.join("c.yaml"), "- topic: d/#\n").unwrap();
    bridge.wait_alive("the mistake is told", |bridge| bridge.log().contains("rules.d/c.yaml:1:3").then_some(()));
    assert_eq!(filters(&bridge), ["a/#", "c/#"]);
    std::fs::remove_file(folder.join("c.yaml")).unwrap();
    std::fs::remove_file(&file).unwrap();
    bridge.wait_alive("they are gone", |bridge| (filters(bridge) == ["a/#"]).then_some(()));
}

#[test]
fn a_configuration_that_came_by_a_pipe_is_not_reloaded() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &body(&[rule("a", "a/#", 1)]));
    let script = "mkfifo pipe; cat bridge.yaml > pipe & exec \"$0\" run -c pipe --watch-config";
    bridge.start_by(["sh", "-c", script].map(str::to_owned).to_vec());
    bridge.start();
    bridge.signal(Signal::HUP);
    bridge.wait_alive("it is refused", |bridge| bridge.log().contains("pipe is not a regular file").then_some(()));
    assert_eq!(filters(&bridge), ["a/#"]);
    assert!(bridge.stop().success());
}

#[test]
fn a_file_that_the_bridge_does_not_use_is_refused() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &body(&[rule("a", "a/#", 1)]));
    // The bridge is given a link; where it leads may change.
    std::fs::create_dir(bridge.path("first")).unwrap();
    std::fs::copy(bridge.config(), bridge.path("first/rules.yaml")).unwrap();
    std::os::unix::fs::symlink("first", bridge.path("now")).unwrap();
    bridge.start_by(["sh", "-c", "exec \"$0\" run -c now/rules.yaml"].map(str::to_owned).to_vec());
    bridge.start();
    let typed = |file: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowbridge"));
        command.args(["reload", "-c", file]).current_dir(bridge.path("")).output().unwrap()
    };
    let said = refused(&typed("bridge.yaml"));
    let names = |name: &str| said.contains(bridge.path(name).to_str().unwrap());
    assert!(names("bridge.yaml") && names("now/rules.yaml") && said.contains("-c /"), "{said}");
    assert_eq!(bridge.status()["config"]["reloads_begun"], 0, "nothing was signalled");
    for file in ["now/rules.yaml", "first/rules.yaml", "./first/../now/rules.yaml"] {
        let output = typed(file);
        assert!(output.status.success(), "{output:?}");
    }
    std::fs::create_dir(bridge.path("second")).unwrap();
    std::fs::rename(bridge.config(), bridge.path("second/rules.yaml")).unwrap();
    std::fs::remove_file(bridge.path("now")).unwrap();
    std::os::unix::fs::symlink("second", bridge.path("now")).unwrap();
    assert!(typed("now/rules.yaml").status.success());
    assert!(refused(&typed("first/rules.yaml")).contains("the bridge runs with"));
}
