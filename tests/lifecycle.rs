//! Starting, stopping, and two of a kind.

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::bridge::{Bridge, readings};
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::oracle::{Tally, sqlite};
use crate::support::publisher::{Load, Publisher, reading};
use crate::support::sized;

#[test]
fn sigterm_and_sigint_end_with_exit_code_0_and_lose_nothing() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let mut bridge = Bridge::new(broker.port(), &readings(2));
    bridge.start();
    let stops = sized(4, 20);
    let count = stops * 500;
    let load = Load::new(broker.port(), 2, count).per_second(1_000).start();
    for stop in 0..stops {
        std::thread::sleep(Duration::from_millis(300));
        bridge.signal(if stop % 2 == 0 { Signal::TERM } else { Signal::INT });
        let status = bridge.wait_ended();
        assert_eq!(status.code(), Some(0), "stop {stop}: {status}");
        bridge.start();
    }
    load.finish();
    bridge.wait_rows("readings", count);
    bridge.wait_drained("local");
    Tally::of_sqlite(&bridge.rows(), "readings", 0..count).assert_each_once("readings");
    assert_eq!(bridge.status()["mqtt"]["sessions_lost"], 0, "the session outlives a stop");
}

/// As the process with the id 1 does, which no signal ends that it does not expect.
#[test]
fn sigterm_and_sigint_while_it_starts_end_it_with_exit_code_0() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    bridge.start();
    assert!(bridge.stop().success());
    // The start reads this file behind the journal, and waits until somebody writes into it.
    let identity = bridge.path("data/identity.json");
    std::fs::remove_file(&identity).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &identity, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    for (count, signal) in [Signal::TERM, Signal::INT].into_iter().enumerate() {
        bridge.spawn();
        let opened = |bridge: &Bridge| bridge.log().matches("journal opened").count();
        bridge.wait_alive("the journal is open", |bridge| (opened(bridge) == count + 2).then_some(()));
        bridge.signal(signal);
        assert_eq!(bridge.wait_ended().code(), Some(0));
        assert_eq!(bridge.log().matches("stopped while it started").count(), count + 1, "{}", bridge.log());
    }
}

#[test]
fn a_stop_with_the_database_away_takes_no_longer_than_the_grace_and_loses_nothing() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let mut bridge = Bridge::new(broker.port(), &format!("shutdown_grace: 2s\n{}", readings(1)));
    bridge.start();
    bridge.wait_drained("local");
    let other = sqlite(&bridge.rows());
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    Load::new(broker.port(), 1, 500).run();
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= 500).then_some(()));
    let begin = Instant::now();
    let status = bridge.stop();
    println!("the stop took {:?}", begin.elapsed());
    assert_eq!(status.code(), Some(0), "{status}");
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    bridge.start();
    bridge.wait_rows("readings", 500);
    bridge.wait_drained("local");
    Tally::of_sqlite(&bridge.rows(), "readings", 0..500).assert_each_once("readings");
}

#[test]
fn a_second_signal_ends_it_at_once_and_nothing_is_lost() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let mut bridge = Bridge::new(broker.port(), &format!("shutdown_grace: 60s\n{}", readings(1)));
    bridge.start();
    bridge.wait_drained("local");
    let other = sqlite(&bridge.rows());
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    Load::new(broker.port(), 1, 300).run();
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= 300).then_some(()));
    bridge.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(300));
    bridge.signal(Signal::TERM);
    bridge.wait_ended();
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    bridge.start();
    bridge.wait_rows("readings", 300);
    bridge.wait_drained("local");
    Tally::of_sqlite(&bridge.rows(), "readings", 0..300).assert_each_once("readings");
}

#[test]
fn a_second_bridge_on_the_same_data_dir_refuses_to_start() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    bridge.start();
    let second = bridge.command(&["run"]);
    let text = String::from_utf8_lossy(&second.stderr).into_owned() + &String::from_utf8_lossy(&second.stdout);
    assert_eq!(second.status.code(), Some(1), "{text}");
    assert!(text.contains("data") && text.to_lowercase().contains("another"), "it says what is in the way: {text}");
    Load::new(broker.port(), 1, 10).run();
    bridge.wait_rows("readings", 10);
}

/// Each would push the other out for ever. The one that was pushed out says so and stays away for a while.
#[test]
fn two_bridges_with_one_client_id_do_not_fight() {
    let broker = Mosquitto::start();
    let keys = "client_id: the-only-one";
    let mut first = Bridge::with_mqtt(broker.port(), keys, &readings(1));
    let mut second = Bridge::with_mqtt(broker.port(), keys, &readings(1));
    first.start();
    second.start();
    // Mosquitto closes the older connection without a word: only the third time in a row can they know.
    let gave_way =
        |bridge: &Bridge| bridge.log().lines().any(|line| line.contains("ERROR") && line.contains("client id"));
    let second_gave_way = first.wait_alive("one of them says so and gives way", |first| {
        if gave_way(&second) { Some(true) } else { gave_way(first).then_some(false) }
    });
    let connections = || broker.log().matches("as the-only-one").count();
    let before = connections();
    assert!(before <= 10, "it was a fight:\n{}", broker.log());
    std::thread::sleep(Duration::from_secs(3));
    assert!(connections() <= before + 1, "it is a fight:\n{}", broker.log());
    let stays = if second_gave_way { &mut first } else { &mut second };
    stays.wait_ready();
    Publisher::new(broker.port()).send(&reading(1).0, reading(1).1);
    stays.wait_rows("readings", 1);
}

/// Two gateways given the same name by mistake: each has a journal, and so an offset row, of its own.
#[test]
fn two_bridges_of_one_name_on_one_database_disturb_each_other_in_nothing() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let named = |file: &str| {
        format!("bridge: the-same\n{}", readings(2).replace("sqlite:rows.db", &format!("sqlite:{file}")))
            .replace("topic: sensors", "topic: $share/pair/sensors")
    };
    let mut first = Bridge::new(broker.port(), &named("rows.db"));
    first.start();
    let mut second = Bridge::new(broker.port(), &named(first.rows().to_str().unwrap()));
    second.start();
    let count = 2_000;
    Load::new(broker.port(), 2, count).run();
    first.wait_rows("readings", count);
    first.wait_drained("local");
    second.wait_drained("local");
    Tally::of_sqlite(&first.rows(), "readings", 0..count).assert_each_once("readings");
    let offsets: i64 = crate::support::oracle::value(
        &first.rows(),
        "SELECT sum(next_seq - 1) FROM rowbridge_offsets WHERE bridge = 'the-same'",
    );
    assert_eq!(offsets, count.cast_signed());
}

#[test]
fn an_interval_of_durability_delivers_only_what_is_on_disk() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let mut bridge = Bridge::new(broker.port(), &format!("journal: {{ durability: 200ms }}\n{}", readings(1)));
    bridge.start();
    let load = Load::new(broker.port(), 1, 1_000).per_second(1_000).start();
    load.wait_until(500);
    bridge.kill();
    bridge.start();
    load.finish();
    // Messages of the last 200 ms before the kill may be lost only to a power cut; a kill -9 leaves the page cache.
    bridge.wait_ids("readings", 1_000);
    Tally::of_sqlite(&bridge.rows(), "readings", 0..1_000).assert_none_lost("readings");
}

/// At each limit something else cannot be opened: the journal, a database, the broker's socket. Whatever it is, nobody is
/// sent to look for room on the disk.
#[test]
fn too_few_file_descriptors_are_told_as_such() {
    let mut told = String::new();
    for limit in 8..=22 {
        let bridge = Bridge::new(1, &readings(1));
        let script = format!("ulimit -n {limit}; exec timeout -s KILL 1 \"$0\" run -c \"$1\"");
        let output = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_rowbridge")])
            .arg(bridge.config())
            .current_dir(bridge.path(""))
            .output()
            .unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!text.contains("room"), "limit {limit}:\n{text}");
        told.push_str(&text);
    }
    assert!(told.contains("the journal in") && told.contains("LimitNOFILE"), "{told}");
    assert!(told.contains("SQLITE_CANTOPEN"), "{told}");
}
