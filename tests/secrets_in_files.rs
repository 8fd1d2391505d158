//! Secrets that change in their files while the bridge runs: the next connection is made with what is there then.

use std::path::Path;
use std::process::Command;

use crate::support::bridge::{Bridge, readings};
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::oracle::Tally;
use crate::support::postgres::{Postgres, PostgresOptions};
use crate::support::process::program;
use crate::support::publisher::{Publisher, reading};

/// Has Mosquitto's password file hold this one account.
fn allow(file: &Path, user: &str, password: &str) {
    let made = Command::new(program("mosquitto_passwd")).args(["-c", "-b"]).arg(file).args([user, password]).status();
    assert!(made.unwrap().success());
}

/// A broker that asks those for a password who give a user name; the publishers give none.
fn broker_of(accounts: &Path) -> Mosquitto {
    Mosquitto::with(&format!("allow_anonymous true\npassword_file {}\n{DEEP_QUEUE}", accounts.display()))
}

fn send(port: u16, ids: std::ops::Range<u64>) {
    let mut publisher = Publisher::new(port);
    ids.for_each(|id| publisher.send(&reading(id).0, reading(id).1));
}

#[track_caller]
fn wait_error(bridge: &mut Bridge, words: &[&str]) {
    bridge.wait_alive(&format!("the refusal says {words:?}"), |bridge| {
        let error = bridge.status()["mqtt"]["last_error"].as_str().unwrap_or_default().to_owned();
        words.iter().all(|word| error.contains(word)).then_some(())
    });
}

#[test]
fn a_brokers_rotated_user_and_password_are_used_at_the_next_connect() {
    let folder = tempfile::tempdir().unwrap();
    let accounts = folder.path().join("accounts");
    allow(&accounts, "first", "first-secret");
    let mut broker = broker_of(&accounts);
    let keys = "username_file: user, password_file: pass, retry: { max: 300ms }";
    let mut bridge = Bridge::with_mqtt(broker.port(), keys, &readings(1));
    std::fs::write(bridge.path("user"), "first\n").unwrap();
    std::fs::write(bridge.path("pass"), "first-secret\n").unwrap();
    bridge.start();
    send(broker.port(), 0..10);
    bridge.wait_rows("readings", 10);

    allow(&accounts, "second", "second-secret");
    broker.kill();
    // The files are on their way.
    std::fs::remove_file(bridge.path("pass")).unwrap();
    broker.restart();
    wait_error(&mut bridge, &["mqtt.password_file", "pass", "No such file"]);
    std::fs::write(bridge.path("pass"), "").unwrap();
    wait_error(&mut bridge, &["mqtt.password_file", "is empty"]);
    std::fs::write(bridge.path("pass"), "second-secret\n").unwrap();
    std::fs::write(bridge.path("user"), "second\n").unwrap();
    bridge.wait_ready();
    send(broker.port(), 10..20);
    bridge.wait_ids("readings", 20);
    let log = bridge.log();
    assert!(!log.contains("first-secret") && !log.contains("second-secret"), "{log}");
}

#[test]
fn a_rotated_database_password_is_used_at_the_next_connect() {
    let server = Postgres::start_with(PostgresOptions {
        fsync: false,
        hba: vec!["host all bridge 127.0.0.1/32 scram-sha-256".into()],
        ..PostgresOptions::default()
    });
    server.psql("postgres", "CREATE ROLE bridge LOGIN SUPERUSER PASSWORD 'first-secret'");
    for in_passfile in [false, true] {
        let name = server.create_database();
        let broker = Mosquitto::with(DEEP_QUEUE);
        let keys = if in_passfile { "" } else { "password_file: pass, " };
        let body = readings(1).replace(
            "local: { url: 'sqlite:rows.db' }",
            &format!(
                "local: {{ url: 'postgres://bridge@127.0.0.1:{}/{name}', {keys}retry: {{ max: 300ms }} }}",
                server.port()
            ),
        );
        let mut bridge = Bridge::new(broker.port(), &body);
        let file = bridge.path("pass");
        let write = |password: &str| {
            use std::os::unix::fs::PermissionsExt;
            let text = if in_passfile { format!("*:*:*:bridge:{password}\n") } else { format!("{password}\n") };
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        };
        if in_passfile {
            bridge.set_environment("PGPASSFILE", file.to_str().unwrap());
        }
        server.psql("postgres", "ALTER ROLE bridge PASSWORD 'first-secret'");
        write("first-secret");
        bridge.start();
        send(broker.port(), 0..10);
        bridge.wait_drained("local");

        server.psql("postgres", "ALTER ROLE bridge PASSWORD 'second-secret'");
        server.psql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'bridge'");
        send(broker.port(), 10..20);
        bridge.wait_alive("the old password is refused", |bridge| {
            bridge.status()["databases"]["local"]["last_error"].as_str()?.contains("28P01").then_some(())
        });
        if !in_passfile {
            std::fs::remove_file(&file).unwrap();
            bridge.wait_alive("the missing file is told", |bridge| {
                let error = bridge.status()["databases"]["local"]["last_error"].as_str()?.to_owned();
                (error.contains("password_file") && error.contains("No such file")).then_some(())
            });
        }
        write("second-secret");
        bridge.wait_drained("local");
        assert_eq!(server.psql(&name, "SELECT count(*), count(DISTINCT id) FROM readings"), "20|20");
        assert!(!bridge.log().contains("-secret"), "{}", bridge.log());
    }
}

#[test]
fn a_command_with_a_password_in_a_file_that_is_missing_names_the_file() {
    let bridge = Bridge::with_mqtt(1, "password_file: nowhere", &readings(1));
    for arguments in [&["check", "--offline", "--secrets"][..], &["run"]] {
        let output = bridge.command(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("mqtt.password_file") && text.contains("`nowhere` cannot be read"), "{text}");
    }
    let output = bridge.command(&["check", "--offline"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Rows are there once each, whatever was rotated meanwhile.
#[test]
fn a_name_under_the_credentials_directory_is_read_there_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let (accounts, credentials) = (folder.path().join("accounts"), folder.path().join("credentials"));
    std::fs::create_dir(&credentials).unwrap();
    allow(&accounts, "bridge", "first-secret");
    let mut broker = broker_of(&accounts);
    let keys = "username: bridge, password_file: mqtt, retry: { max: 300ms }";
    let mut bridge = Bridge::with_mqtt(broker.port(), keys, &readings(1));
    bridge.set_environment("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap());
    std::fs::write(credentials.join("mqtt"), "first-secret\n").unwrap();
    bridge.start();
    send(broker.port(), 0..10);
    bridge.wait_rows("readings", 10);
    allow(&accounts, "bridge", "second-secret");
    std::fs::write(credentials.join("mqtt"), "second-secret\n").unwrap();
    broker.kill();
    broker.restart();
    bridge.wait_ready();
    send(broker.port(), 10..20);
    bridge.wait_ids("readings", 20);
    Tally::of_sqlite(&bridge.rows(), "readings", 0..20).assert_each_once("readings");
}
