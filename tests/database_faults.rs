//! Postgres restarted, connections cut in the midst of things, networks that swallow everything; while the bridge is
//! killed too. The offset in the rows' transaction makes every message count once.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::bridge::Bridge;
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::oracle::Tally;
use crate::support::postgres::Postgres;
use crate::support::proxy::{Mood, Proxy};
use crate::support::publisher::Load;
use crate::support::sized;

const RULES: &str = "
databases:
  cloud:
    url: 'postgres://postgres@127.0.0.1:PORT/DATABASE'
    retry: { min: 50ms, max: 500ms }
    statement_timeout: 5s
rules:
  - name: readings
    topic: sensors/{site}/{device}/telemetry
    qos: 2
    table: readings
    create: true
    columns:
      id: { from: payload.id, type: bigint }
      site: topic.site
      temp: { from: payload.temp, type: double }
";

/// A broker and a Postgres, each behind a faulty network, and the bridge between them.
struct Stage {
    bridge: Bridge,
    broker: Mosquitto,
    to_broker: Proxy,
    postgres: Postgres,
    to_postgres: Proxy,
    database: String,
}

impl Stage {
    fn new() -> Stage {
        let broker = Mosquitto::with(DEEP_QUEUE);
        let postgres = Postgres::start();
        let database = postgres.create_database();
        let (to_broker, to_postgres) = (Proxy::to(broker.port()), Proxy::to(postgres.port()));
        let rules = RULES.replace("PORT", &to_postgres.port().to_string()).replace("DATABASE", &database);
        let mut bridge = Bridge::with_mqtt(to_broker.port(), "keep_alive: 5s, connect_timeout: 2s", &rules);
        bridge.start();
        Stage { bridge, broker, to_broker, postgres, to_postgres, database }
    }

    /// Waits until everything is there, and checks that it is there once.
    #[track_caller]
    fn assert_each_once(&mut self, count: u64) {
        self.bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= count).then_some(()));
        self.bridge.wait_drained("cloud");
        let ids = self.postgres.psql(&self.database, "SELECT id FROM readings");
        Tally::of(ids.lines().map(|id| id.parse().unwrap()), 0..count).assert_each_once("Postgres");
    }
}

/// A number below `limit`, from the operating system.
fn random_below(limit: u64) -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    u64::from_le_bytes(bytes) % limit
}

#[test]
fn the_bridge_is_killed_postgres_restarted_and_connections_cut_and_every_message_counts_once() {
    let mut stage = Stage::new();
    let rounds = sized(5, 30);
    let count = rounds * 1_000;
    let load = Load::new(stage.broker.port(), 2, count).per_second(1_000).start();
    for round in 0..rounds {
        std::thread::sleep(Duration::from_millis(50 + random_below(500)));
        match round % 5 {
            0 => stage.to_postgres.cut_after(random_below(300) as u32),
            1 => stage.postgres.stop_immediately(),
            2 => stage.to_broker.cut_after(random_below(5_000) as u32),
            3 => stage.postgres.kill(),
            _ => stage.to_postgres.cut(),
        }
        std::thread::sleep(Duration::from_millis(random_below(300)));
        stage.bridge.kill();
        stage.bridge.spawn();
        if matches!(round % 5, 1 | 3) {
            stage.postgres.start_again();
        }
        println!("round {} of {rounds}, {} published", round + 1, load.acknowledged());
    }
    load.finish();
    stage.assert_each_once(count);
}

/// The answer to a COMMIT gets lost now and then: whether it was applied, the offset tells.
#[test]
fn a_commit_whose_answer_is_lost_is_not_repeated() {
    let mut stage = Stage::new();
    let cuts = sized(40, 200);
    let count = cuts * 100;
    let load = Load::new(stage.broker.port(), 2, count).per_second(2_000).start();
    for _ in 0..cuts {
        stage.to_postgres.cut_after(1 + random_below(400) as u32);
        std::thread::sleep(Duration::from_millis(50));
    }
    // No limit any more.
    stage.to_postgres.cut_after(u32::MAX);
    load.finish();
    stage.assert_each_once(count);
}

#[test]
fn connections_to_the_broker_cut_within_packets_lose_and_repeat_nothing_at_qos_2() {
    let mut stage = Stage::new();
    let rounds = sized(8, 60);
    let count = rounds * 700;
    let load = Load::new(stage.broker.port(), 2, count).per_second(1_000).start();
    for _ in 0..rounds {
        // Twice within one process, and once more by its end: a fresh process tries again without waiting.
        for _ in 0..2 {
            stage.to_broker.cut_after(1 + random_below(10_000) as u32);
            std::thread::sleep(Duration::from_millis(300));
        }
        stage.bridge.kill();
        stage.bridge.spawn();
    }
    stage.to_broker.cut_after(u32::MAX);
    load.finish();
    stage.assert_each_once(count);
    assert_eq!(stage.bridge.status()["mqtt"]["sessions_lost"], 0);
}

#[test]
fn networks_that_swallow_everything_are_noticed_and_left() {
    let mut stage = Stage::new();
    let count = 2_000;
    let load = Load::new(stage.broker.port(), 2, count).per_second(500).start();
    load.wait_until(200);
    // The answers of Postgres disappear: the statement timeout on our side ends the wait.
    stage.to_postgres.set(Mood::BlackHole);
    stage.bridge.wait_alive("the dead database is noticed", |bridge| {
        (bridge.status()["databases"]["cloud"]["connected"] == false).then_some(())
    });
    stage.to_postgres.set(Mood::Pass);
    stage.to_postgres.cut();
    stage.to_broker.set(Mood::BlackHole);
    stage.bridge.wait_alive("the dead broker is noticed by the keep-alive", |bridge| {
        (bridge.status()["mqtt"]["connected"] == false).then_some(())
    });
    stage.to_broker.set(Mood::Pass);
    stage.to_broker.cut();
    load.finish();
    stage.assert_each_once(count);
}

#[test]
fn a_network_that_holds_everything_for_a_while_costs_nothing() {
    let mut stage = Stage::new();
    let count = 2_000;
    let load = Load::new(stage.broker.port(), 2, count).per_second(1_000).start();
    load.wait_until(300);
    stage.to_postgres.set(Mood::Hold);
    stage.to_broker.set(Mood::Hold);
    std::thread::sleep(Duration::from_secs(1));
    stage.to_postgres.set(Mood::Pass);
    stage.to_broker.set(Mood::Refuse);
    stage.to_broker.cut();
    std::thread::sleep(Duration::from_millis(300));
    stage.to_broker.set(Mood::Pass);
    load.finish();
    stage.assert_each_once(count);
}

#[test]
fn a_stop_in_the_midst_of_a_frozen_postgres_ends_within_the_grace_and_loses_nothing() {
    let mut stage = Stage::new();
    stage.bridge.edit("databases:", "shutdown_grace: 2s\ndatabases:");
    assert!(stage.bridge.stop().success());
    stage.bridge.start();
    Load::new(stage.broker.port(), 2, 300).run();
    stage.postgres.freeze();
    Load::new(stage.broker.port(), 2, 300).numbered_from(300).run();
    stage.bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= 600).then_some(()));
    stage.bridge.signal(Signal::TERM);
    let status = stage.bridge.wait_ended();
    assert_eq!(status.code(), Some(0), "{status}");
    stage.postgres.thaw();
    stage.bridge.start();
    stage.assert_each_once(600);
}

/// An asynchronous replica that is promoted lacks what its primary had not sent it yet: here, an older copy of the
/// data directory is put in the place of the running one.
#[test]
fn a_database_that_is_connected_and_does_not_answer_is_told_and_not_called_ok() {
    let mut stage = Stage::new();
    stage.bridge.edit("    statement_timeout: 5s\n", "");
    assert!(stage.bridge.stop().success());
    stage.bridge.start();
    Load::new(stage.broker.port(), 1, 1).run();
    stage.assert_each_once(1);
    let verdict = |stage: &Stage| String::from_utf8(stage.bridge.command(&["status"]).stdout).unwrap();
    assert!(verdict(&stage).starts_with("ok: "), "{}", verdict(&stage));
    std::thread::scope(|scope| {
        let (postgres, database) = (&stage.postgres, &stage.database);
        let locker = scope.spawn(|| postgres.psql(database, "BEGIN; LOCK TABLE readings; SELECT pg_sleep(20)"));
        crate::support::wait_for("the lock", || {
            let held = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND database <> 0";
            (postgres.psql(database, held) != "0").then_some(())
        });
        Load::new(stage.broker.port(), 1, 1).numbered_from(1).run();
        let said = crate::support::wait_for("it is told", || {
            Some(verdict(&stage)).filter(|text| text.starts_with("database cloud has NOT ANSWERED for "))
        });
        assert!(said.contains("1 message waiting"), "{said}");
        let ready = stage.bridge.get("/readyz").unwrap();
        assert!(ready.status == 200 && ready.body.contains("has not answered since"), "{}", ready.body);
        locker.join().unwrap();
    });
    stage.assert_each_once(2);
    assert!(verdict(&stage).starts_with("ok: "), "{}", verdict(&stage));
}

#[test]
fn an_older_postgres_in_the_place_of_the_old_one_is_given_what_it_lacks_once() {
    let mut stage = Stage::new();
    Load::new(stage.broker.port(), 2, 400).run();
    stage.bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= 400).then_some(()));
    stage.bridge.wait_drained("cloud");
    let data = stage.postgres.data_dir();
    let copy = data.with_file_name("older");
    stage.postgres.stop();
    run("cp", &["-a", data.to_str().unwrap(), copy.to_str().unwrap()]);
    stage.postgres.start_again();

    Load::new(stage.broker.port(), 2, 600).numbered_from(400).run();
    stage.bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= 1_000).then_some(()));
    stage.bridge.wait_drained("cloud");
    stage.postgres.stop_immediately();
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&copy, &data).unwrap();
    stage.postgres.start_again();

    Load::new(stage.broker.port(), 2, 100).numbered_from(1_000).run();
    stage.assert_each_once(1_100);
}

fn run(program: &str, arguments: &[&str]) {
    let status = std::process::Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program}: {status}");
}
