//! What the commands print, with the daemon running and stopped.

use std::io::{BufRead, BufReader, Write};
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::support::bridge::{Bridge, readings};
use crate::support::mosquitto::Mosquitto;
use crate::support::publisher::{Load, Publisher};

#[track_caller]
fn printed(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {text}{error}", output.status);
    text
}

/// A bridge that holds 20 rows and two dead letters.
fn with_dead_letters() -> (Mosquitto, Bridge) {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    bridge.start();
    Load::new(broker.port(), 1, 20).run();
    let mut publisher = Publisher::new(broker.port());
    publisher.send("sensors/a/b/telemetry", "this is no JSON");
    publisher.send("sensors/a/c/telemetry", r#"{"id":"many"}"#);
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= 22).then_some(()));
    bridge.wait_drained("local");
    (broker, bridge)
}

/// Texts of the program and its documents, by file.
fn texts(folder: &std::path::Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let is_text = path
            .extension()
            .is_some_and(|extension| ["rs", "md", "sql", "html"].iter().any(|known| extension == *known));
        if path.is_dir() {
            texts(&path, found);
        } else if is_text {
            found.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Whoever follows an advice must not be told of a command that is not there.
#[test]
fn every_command_that_the_program_or_its_documents_name_exists() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    texts(&root.join("src"), &mut found);
    texts(&root.join("docs"), &mut found);
    found.push(("README.md".to_owned(), std::fs::read_to_string(root.join("README.md")).unwrap()));
    let bridge = Bridge::bare("");
    let mut known = std::collections::BTreeMap::new();
    for (file, text) in &found {
        for mention in text.split("`rowbridge ").skip(1) {
            let command = mention.split(['`', '|', '\n']).next().unwrap();
            let is_word =
                |word: &&str| word.starts_with("--") || word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
            let words: Vec<&str> = command.split(' ').take_while(is_word).collect();
            let (options, commands): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.starts_with("--"));
            let help = known.entry(commands.clone()).or_insert_with(|| {
                let output = bridge.prepare(&[commands.as_slice(), &["--help"]].concat()).output().unwrap();
                output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
            });
            let Some(help) = help else { panic!("{file} names `rowbridge {command}`, which is no command") };
            for option in options {
                assert!(help.contains(option), "{file} names `rowbridge {command}`, which has no {option}");
            }
        }
    }
    assert!(known.len() > 5, "the commands are found in the texts: {known:?}");
}

#[test]
fn dead_letters_are_listed_and_shown() {
    let (_broker, mut bridge) = with_dead_letters();
    for state in ["running", "stopped"] {
        let list = printed(&bridge.command(&["dead-letters", "list"]));
        for word in ["readings", "parse", "value", "sensors/a/b/telemetry", "sensors/a/c/telemetry"] {
            assert!(list.contains(word), "{state}: {word} in:\n{list}");
        }
        let only = printed(&bridge.command(&["dead-letters", "list", "--reason", "parse"]));
        assert!(only.contains("sensors/a/b/telemetry") && !only.contains("sensors/a/c/telemetry"), "{state}:\n{only}");
        let id: i64 = crate::support::oracle::value(
            &bridge.rows(),
            "SELECT id FROM rowbridge_dead_letters WHERE reason = 'parse'",
        );
        let shown = printed(&bridge.command(&["dead-letters", "show", &id.to_string()]));
        assert!(shown.contains("this is no JSON") && shown.contains("parse"), "{state}:\n{shown}");
        if state == "running" {
            assert!(bridge.stop().success());
        }
    }
    let nothing = bridge.command(&["dead-letters", "show", "4711"]);
    assert_eq!(nothing.status.code(), Some(1), "{}", String::from_utf8_lossy(&nothing.stderr));
}

#[test]
fn dead_letters_are_selected_paged_and_deleted() {
    let (_broker, bridge) = with_dead_letters();
    let run = |arguments: &[&str]| bridge.command(&[&["dead-letters"], arguments].concat());
    let lines = |arguments: &[&str]| -> Vec<Value> {
        printed(&run(arguments)).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let connection = rusqlite::Connection::open(bridge.rows()).unwrap();
    let copy = "INSERT INTO rowbridge_dead_letters (bridge, rule, seq, received_at, topic, qos, retain, payload, reason, error,
                    attempts, created_at)
                SELECT bridge, ?1, seq, received_at, topic, qos, retain, payload, ?2, error, attempts, ?3
                FROM rowbridge_dead_letters, json_each(?4) WHERE reason = 'parse' AND rule = 'readings'";
    let numbers = |count: usize| serde_json::to_string(&vec![0; count]).unwrap();
    connection.execute(copy, ("readings", "table", "2020-01-01T00:00:00.000Z", numbers(3))).unwrap();
    connection.execute(copy, ("old", "value", "2020-01-02T00:00:00.000Z", numbers(2_500))).unwrap();

    let page = lines(&["list", "--json", "--rule", "old", "--limit", "2"]);
    assert_eq!(page.len(), 2);
    let id = |letter: &Value| letter["id"].as_i64().unwrap();
    let next = lines(&["list", "--json", "--rule", "old", "--limit", "2", "--before", &id(&page[1]).to_string()]);
    assert_eq!((id(&page[0]), id(&next[0])), (id(&page[1]) + 1, id(&page[1]) - 1));
    assert_eq!(lines(&["list", "--json", "--since", "1h"]).len(), 2, "those of the bridge's own making");
    let parked = lines(&["list", "--json", "--until", "2020-01-02T00:00:00Z"]);
    assert!(parked.len() == 3 && parked.iter().all(|letter| letter["parked"] == true), "{parked:?}");
    let text = printed(&run(&["list", "--rule", "readings", "--reason", "table"]));
    assert!(text.starts_with("parked in database local: 3 messages"), "{text}");
    let text = printed(&run(&["list", "--limit", "1"]));
    assert!(text.contains("2,501 older ones: add --database local --before "), "{text}");

    let refused = |arguments: &[&str], words: &str| {
        let output = run(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(words), "{arguments:?}: {error}");
    };
    refused(&["list", "--rule", "raedings"], "did you mean `readings`?");
    refused(&["list", "--rule", "odl"], "did you mean `old`?");
    refused(&["list", "--database", "locel"], "did you mean `local`?");
    refused(&["delete"], "say which");
    refused(&["delete", "--rule", "old"], "2,500 dead letters for good; give --yes");
    refused(&["delete", "--reason", "table", "--yes"], "add --parked");

    assert_eq!(
        printed(&run(&["delete", "--rule", "old", "--yes"])),
        "2,500 dead letters deleted from database local\n"
    );
    let rest = printed(&run(&["delete", "--all", "--yes"]));
    assert!(
        rest.contains("3 parked messages in database local stay") && rest.contains("2 dead letters deleted"),
        "{rest}"
    );
    let parked = printed(&run(&["delete", &id(&parked[0]).to_string(), "--parked", "--yes"]));
    assert_eq!(parked, "1 dead letter deleted from database local\n");
    assert_eq!(crate::support::oracle::value::<i64>(&bridge.rows(), "SELECT count(*) FROM rowbridge_dead_letters"), 2);
    connection
        .execute("DELETE FROM rowbridge_dead_letters WHERE id = (SELECT max(id) FROM rowbridge_dead_letters)", ())
        .unwrap();
    let rest = printed(&run(&["delete", "--all", "--yes"]));
    assert!(rest.contains("1 parked message in database local stays"), "{rest}");
    let none = bridge.command(&["publish", "remove", "x"]);
    let error = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(error.contains("there is no entry x; no database has one"), "{error}");
    assert_eq!(printed(&run(&["delete", "--since", "1h", "--yes"])), "nothing to delete\n");
    for absent in [&["retry", "99999"][..], &["delete", "99999", "--yes"]] {
        let output = run(absent);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{absent:?}: {error}");
        assert!(error.contains("there is no dead letter 99999 in database local"), "{absent:?}: {error}");
    }
}

#[test]
fn the_journal_is_described_and_verified_with_the_daemon_running_and_stopped() {
    let (_broker, mut bridge) = with_dead_letters();
    for state in ["running", "stopped"] {
        let status = printed(&bridge.command(&["journal", "status"]));
        assert!(status.contains("23"), "{state}: the next sequence number is 23:\n{status}");
        let verified = printed(&bridge.command(&["journal", "verify"]));
        assert!(verified.contains("22"), "{state}: 22 records are good:\n{verified}");
        if state == "running" {
            assert!(bridge.stop().success());
        }
    }
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let dump = bridge.prepare(&["journal", "dump"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    let error = String::from_utf8_lossy(&dump.stderr).into_owned();
    assert_eq!(dump.status.code(), Some(1), "{error}");
    assert!(error.contains("standard output cannot be written"), "{error}");
    // One flipped bit in a record that others follow.
    let segment = std::fs::read_dir(bridge.path("data/journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[2_000] ^= 0x10;
    std::fs::write(&segment, bytes).unwrap();
    let damaged = bridge.command(&["journal", "verify"]);
    let text = String::from_utf8_lossy(&damaged.stdout).into_owned() + &String::from_utf8_lossy(&damaged.stderr);
    assert_eq!(damaged.status.code(), Some(1), "damage is a failure: {text}");
    assert!(text.contains(".seg"), "it says where: {text}");
    assert!(text.contains("DAMAGED: 1 message is lost; the journal holds messages 1 up to"), "and how many: {text}");
    let dump = printed(&bridge.command(&["journal", "dump"]));
    let lost: Value = serde_json::from_str(dump.lines().find(|line| line.contains("lost_from")).expect(&dump)).unwrap();
    assert_eq!(
        lost["lost_to"].as_u64().unwrap() - lost["lost_from"].as_u64().unwrap(),
        1,
        "the end is exclusive: {lost}"
    );
    assert_eq!(lost["messages_lost"], 1, "{lost}");
}

#[test]
fn damage_in_the_journal_is_quarantined_reported_and_the_rest_delivered() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    bridge.start();
    bridge.wait_drained("local");
    let other = crate::support::oracle::sqlite(&bridge.rows());
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    Load::new(broker.port(), 1, 100).run();
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= 100).then_some(()));
    bridge.kill();
    // Which tells damage from a write that a power cut tore.
    let boot = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap();
    let noted = std::fs::read(bridge.path("data/journal/LOCK")).unwrap();
    assert!(noted.starts_with(&[b"boot ", &boot[..]].concat()), "{noted:?}");
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    let segment = bridge.path("data/journal/00000000000000000001.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[2_000] ^= 0x10;
    std::fs::write(&segment, bytes).unwrap();
    bridge.start();
    bridge.wait_rows("readings", 99);
    bridge.wait_drained("local");
    let lost: Vec<String> = crate::support::oracle::column(
        &bridge.rows(),
        "SELECT error FROM rowbridge_dead_letters WHERE reason = 'lost_range'",
    );
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert_eq!(bridge.metrics().value("rowbridge_messages_lost_total", &[]), Some(1.0));
    assert!(bridge.log().lines().any(|line| line.contains("ERROR")), "{}", bridge.log());
}

#[test]
fn status_begins_with_a_verdict() {
    let (broker, mut bridge) = with_dead_letters();
    let json: Value = serde_json::from_str(&printed(&bridge.command(&["status", "--json"]))).unwrap();
    assert_eq!(json["rules"][0]["written"], 20, "{json}");
    assert_eq!(json["mqtt"]["connected"], true, "{json}");
    let text = printed(&bridge.command(&["status"]));
    assert!(text.starts_with("ok: 0/s come from mqtt://127.0.0.1:"), "{text}");
    assert!(text.contains("local") && text.contains("of 1 GiB") && text.contains("dead letters 2"), "{text}");
    drop(broker);
    bridge
        .wait_alive("the broker is missed", |bridge| (!bridge.status()["mqtt"]["last_error"].is_null()).then_some(()));
    let text = printed(&bridge.command(&["status"]));
    assert!(text.starts_with("NOT connected to the broker") && text.contains("start the broker at mqtt://"), "{text}");
    assert!(bridge.stop().success());
    let output = bridge.command(&["status"]);
    assert_eq!(output.status.code(), Some(1), "no daemon answers");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("nothing listens there; start the bridge"), "{error}");
}

#[test]
fn another_program_at_the_address_is_no_bridge() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while request.read_line(&mut line).is_ok_and(|length| length > 2) {
                line.clear();
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{}").unwrap();
        }
    });
    let bridge = Bridge::new(1, &readings(1));
    bridge.edit(&format!("127.0.0.1:{}", bridge.http_port()), &address.to_string());
    for arguments in [&["status"][..], &["status", "--json"], &["tap"], &["reload"]] {
        let output = bridge.command(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), &*output.stdout), (Some(1), &b""[..]), "{arguments:?}: {error}");
        assert!(
            error.contains("no bridge") || error.contains("does not answer as this version"),
            "{arguments:?}: {error}"
        );
    }
}

#[test]
fn a_watched_status_survives_a_restart_of_the_bridge() {
    let (_broker, mut bridge) = with_dead_letters();
    let mut watch = bridge.prepare(&["status", "--watch"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    // Ends with its standard output if it does not survive.
    let mut wait_for = |start: &str| assert!(lines.any(|line| line.starts_with(start)), "{start} is shown");
    wait_for("ok: ");
    bridge.kill();
    wait_for("no running bridge at http://127.0.0.1:");
    bridge.start();
    wait_for("ok: ");
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
fn version_and_help_and_a_wrong_command_have_their_exit_codes() {
    let bridge = Bridge::bare("");
    let run = |arguments: &[&str]| {
        std::process::Command::new(env!("CARGO_BIN_EXE_rowbridge"))
            .args(arguments)
            .current_dir(bridge.path(""))
            .output()
            .unwrap()
    };
    assert!(printed(&run(&["version"])).contains(env!("CARGO_PKG_VERSION")));
    assert!(printed(&run(&["--version"])).contains(env!("CARGO_PKG_VERSION")));
    let help = printed(&run(&["--help"]));
    for command in ["run", "check", "status", "dead-letters", "journal", "version"] {
        assert!(help.contains(command), "{command} in:\n{help}");
    }
    assert_eq!(run(&["runn"]).status.code(), Some(2));
}
