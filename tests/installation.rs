//! Commands that are typed in another folder and shell than the daemon was started in.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::bridge::{Bridge, readings};
use crate::support::mosquitto::Mosquitto;
use crate::support::postgres::Postgres;
use crate::support::publisher::Publisher;

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Asserts the exit code and that every word is printed.
#[track_caller]
fn assert_says(output: &Output, code: i32, words: &[&str]) {
    let text = text(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "{word} in:\n{text}");
    }
}

/// A command with none of the daemon's variables, in the root folder.
fn elsewhere(bridge: &Bridge, arguments: &[&str]) -> Output {
    let mut command = bridge.prepare(arguments);
    for name in ["BROKER_PASSWORD", "STATE_DIRECTORY", "CREDENTIALS_DIRECTORY"] {
        command.env_remove(name);
    }
    command.current_dir("/").output().unwrap()
}

#[test]
fn commands_work_from_any_folder_without_the_daemons_variables() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::with_mqtt(broker.port(), "username: gw, password: '${BROKER_PASSWORD}'", &readings(1));
    bridge.set_environment("BROKER_PASSWORD", "hunter2");
    bridge.start();
    Publisher::new(broker.port()).send("sensors/a/b/telemetry", "this is no JSON");
    bridge.wait_alive("it is journaled", |bridge| (bridge.journaled() >= 1).then_some(()));
    bridge.wait_drained("local");
    let data = bridge.path("").canonicalize().unwrap().join("data/journal");
    for is_running in [true, false] {
        assert_says(&elsewhere(&bridge, &["status"]), if is_running { 0 } else { 1 }, &["bridge"]);
        assert_says(
            &elsewhere(&bridge, &["journal", "status"]),
            0,
            &[data.to_str().unwrap(), "up to, not including, 2"],
        );
        assert_says(&elsewhere(&bridge, &["journal", "verify"]), 0, &["sound"]);
        assert_says(&elsewhere(&bridge, &["dead-letters", "list"]), 0, &["sensors/a/b/telemetry"]);
        assert_says(&elsewhere(&bridge, &["check", "--offline"]), 0, &[bridge.rows().to_str().unwrap()]);
        let insisting = elsewhere(&bridge, &["check", "--offline", "--secrets"]);
        assert_says(&insisting, 2, &["mqtt.password", "BROKER_PASSWORD is not set"]);
        // What the daemon said of its data directory is true whatever the file says by now.
        if is_running {
            bridge.edit("data_dir: data", "data_dir: moved");
            assert_says(&elsewhere(&bridge, &["journal", "status"]), 0, &[data.to_str().unwrap()]);
            bridge.edit("data_dir: moved", "data_dir: data");
            assert!(bridge.stop().success());
        }
    }
}

/// `token_file` is relative to the bridge's folder, wherever a command is typed.
#[test]
fn commands_that_ask_the_bridge_find_its_token_from_any_folder() {
    let broker = Mosquitto::start();
    for data_dir in ["data", "absolute"] {
        let mut bridge = Bridge::new(broker.port(), &readings(1));
        bridge.edit("http: {", "http: { token_file: token,");
        if data_dir == "absolute" {
            let folder = bridge.path("").display().to_string();
            bridge.edit("data_dir: data", &format!("data_dir: {folder}data"));
            bridge.edit("sqlite:rows.db", &format!("sqlite:{folder}rows.db"));
        }
        std::fs::write(bridge.path("token"), "hunter2hunter2\n").unwrap();
        bridge.start();
        assert_says(&elsewhere(&bridge, &["status", "--json"]), 0, &["\"bridge\""]);
        assert_says(&elsewhere(&bridge, &["tap", "--for", "1s"]), 0, &["following bridge"]);
        assert_says(&elsewhere(&bridge, &["reload"]), 0, &["reloaded"]);
        assert!(bridge.stop().success());
        assert_says(&elsewhere(&bridge, &["status"]), 1, &["no running bridge"]);
        std::fs::remove_file(bridge.path("token")).unwrap();
        assert_says(&elsewhere(&bridge, &["status"]), 2, &["http.token_file: `token` cannot be read"]);
    }
}

#[test]
fn a_mistake_in_the_rules_does_not_keep_a_command_from_the_running_bridge() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    bridge.start();
    bridge.edit("    table: readings\n", "    tabel: readings\n");
    assert_says(&elsewhere(&bridge, &["status"]), 0, &["connected"]);
    assert_says(&elsewhere(&bridge, &["journal", "status"]), 0, &["messages"]);
    assert_says(&elsewhere(&bridge, &["dead-letters", "list"]), 0, &["no dead letters"]);
    assert_says(&elsewhere(&bridge, &["check", "--offline"]), 2, &["rules[0].tabel"]);
}

/// Folders in the places of `/etc` and `/var/lib`, for a process and what it starts: as an installed unit sees them.
struct Machine<'a> {
    folder: &'a Path,
}

impl Machine<'_> {
    /// Starts what follows; it sees this machine's `/etc` and `/var/lib`.
    fn enter(&self, script: &str) -> Vec<String> {
        let as_root = rustix::process::geteuid().is_root();
        let user: &[&str] = if as_root { &[] } else { &["--user", "--map-root-user"] };
        let folder = self.folder.display();
        let script =
            format!("mount --bind '{folder}/etc' /etc && mount --bind '{folder}/lib' /var/lib && cd / && {script}");
        let words = [&["unshare", "--mount"], user, &["sh", "-c", &script]].concat();
        words.into_iter().map(str::to_owned).collect()
    }

    /// Runs `rowbridge ARGUMENTS` as somebody would who has just logged in.
    fn type_in(&self, arguments: &[&str]) -> Output {
        let words = self.enter("exec \"$0\" \"$@\"");
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(env!("CARGO_BIN_EXE_rowbridge")).args(arguments);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).output().unwrap()
    }
}

/// Passwords come by `LoadCredential=`, the state directory by `StateDirectory=`: no login shell has either variable.
#[test]
fn commands_find_what_the_systemd_unit_sets_up() {
    let broker = Mosquitto::start();
    let server = Postgres::shared();
    let folder = tempfile::tempdir().unwrap();
    let machine = Machine { folder: folder.path() };
    for name in ["etc/rowbridge/secrets", "lib/rowbridge", "credentials"] {
        std::fs::create_dir_all(folder.path().join(name)).unwrap();
    }
    let cloud = format!("{{ url: '{}', password_file: postgres }}", server.url(&server.create_database()));
    let body = readings(1)
        .replace("rules:", &format!("  cloud: {cloud}\nrules:"))
        .replace("    qos: 1\n", "    qos: 1\n    database: local\n")
        + "  - { name: kept, topic: kept, database: cloud, table: kept, create: true, columns: { v: { from: payload.v, type: int } } }\n";
    let mut bridge = Bridge::with_mqtt(broker.port(), "username: gw, password_file: mqtt", &body);
    bridge.edit("data_dir: data\n", "");
    std::fs::copy(bridge.config(), folder.path().join("etc/rowbridge/bridge.yaml")).unwrap();
    for name in ["mqtt", "postgres"] {
        std::fs::write(folder.path().join("credentials").join(name), "hunter2\n").unwrap();
    }
    bridge.set_environment("STATE_DIRECTORY", "/var/lib/rowbridge");
    bridge.set_environment("CREDENTIALS_DIRECTORY", folder.path().join("credentials").to_str().unwrap());
    bridge.start_by(machine.enter("cd /var/lib/rowbridge && exec \"$0\" run -c /etc/rowbridge/bridge.yaml"));
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    publisher.send("sensors/a/b/telemetry", "this is no JSON");
    publisher.send("kept", "nor is this");
    bridge.wait_alive("they are journaled", |bridge| (bridge.journaled() >= 2).then_some(()));
    bridge.wait_drained("local");
    bridge.wait_drained("cloud");
    for is_running in [true, false] {
        if !is_running {
            assert!(bridge.stop().success());
            std::fs::rename(folder.path().join("credentials"), folder.path().join("gone")).unwrap();
            assert_says(&machine.type_in(&["dead-letters", "list", "--database", "cloud"]), 2, &["password_file"]);
            for name in ["mqtt", "postgres"] {
                std::fs::write(folder.path().join("etc/rowbridge/secrets").join(name), "hunter2\n").unwrap();
            }
        }
        assert_says(&machine.type_in(&["status"]), if is_running { 0 } else { 1 }, &["bridge"]);
        assert_says(&machine.type_in(&["journal", "status"]), 0, &["/var/lib/rowbridge/journal", "not including, 3"]);
        assert_says(
            &machine.type_in(&["dead-letters", "list"]),
            0,
            &["sensors/a/b/telemetry", "database cloud", "kept"],
        );
        assert_says(&machine.type_in(&["check", "--offline"]), 0, &["/var/lib/rowbridge/rows.db"]);
        assert_says(&machine.type_in(&["check", "--offline", "--secrets"]), 0, &["configuration is right"]);
    }
    // One database needs no secret of another.
    std::fs::remove_dir_all(folder.path().join("etc/rowbridge/secrets")).unwrap();
    assert_says(&machine.type_in(&["dead-letters", "list", "--database", "local"]), 0, &["sensors/a/b/telemetry"]);
    assert_says(&machine.type_in(&["check", "--offline"]), 0, &["configuration is right"]);
    assert_says(
        &machine.type_in(&["check", "--offline", "--secrets"]),
        2,
        &["mqtt.password_file", "cloud.password_file"],
    );
}

/// Before the unit was started once, its folder is not there, and nobody but systemd makes it.
#[test]
fn a_check_before_the_first_start_awaits_the_folder_that_systemd_makes() {
    let broker = Mosquitto::start();
    let folder = tempfile::tempdir().unwrap();
    let machine = Machine { folder: folder.path() };
    for name in ["etc/rowbridge", "lib"] {
        std::fs::create_dir_all(folder.path().join(name)).unwrap();
    }
    let bridge = Bridge::new(broker.port(), &readings(1));
    bridge.edit("data_dir: data\n", "");
    std::fs::copy(bridge.config(), folder.path().join("etc/rowbridge/bridge.yaml")).unwrap();
    let awaited = [
        "/var/lib/rowbridge/rows.db is not there; the first start makes it, and systemd its folder",
        "nothing is wrong",
    ];
    assert_says(&machine.type_in(&["check"]), 0, &awaited);
}
