//! A journal that may not grow any more, with the database away.

use std::time::Duration;

use crate::support::bridge::{Bridge, journaled, readings};
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::oracle::{Tally, column, sqlite};
use crate::support::publisher::{Load, Publisher, reading};

const MIB: u64 = 1024 * 1024;

/// A reading of more than 4 KiB: 4,000 of them are twice what the journal may hold.
fn bulky(id: u64) -> (String, Vec<u8>) {
    let (topic, _) = reading(id);
    (topic, format!(r#"{{"id":{id},"temp":1,"ballast":"{}"}}"#, "x".repeat(4_096)).into_bytes())
}

const COUNT: u64 = 4_000;

fn small_journal(port: u16, when_full: &str) -> Bridge {
    let journal = format!("journal: {{ max_size: 8MiB, segment_size: 1MiB, keep: 0s, when_full: {when_full} }}\n");
    Bridge::new(port, &format!("{journal}{}", readings(1)))
}

#[test]
fn a_full_journal_pauses_loses_nothing_and_resumes_by_itself() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let mut bridge = small_journal(broker.port(), "pause");
    bridge.start();
    Publisher::new(broker.port()).send(&bulky(0).0, bulky(0).1);
    bridge.wait_rows("readings", 1);
    // Somebody else holds the database.
    let other = sqlite(&bridge.rows());
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    Load::new(broker.port(), 1, COUNT - 1).numbered_from(1).made_by(bulky).run();
    bridge.wait_alive("the journal pauses", |bridge| (bridge.status()["journal"]["paused"] == true).then_some(()));
    let status = bridge.status();
    assert!(status["journal"]["bytes"].as_u64().unwrap() <= 8 * MIB, "{status}");
    assert_eq!(status["journal"]["max_bytes"], 8 * MIB, "{status}");
    assert_eq!(status["mqtt"]["connected"], true, "a pause does not cost the connection: {status}");
    assert_ne!(bridge.get("/readyz").unwrap().status, 200, "no messages are being taken");

    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    bridge.wait_ids("readings", COUNT);
    bridge.wait_drained("local");
    Tally::of_sqlite(&bridge.rows(), "readings", 0..COUNT).assert_each_once("readings");
    let status = bridge.status();
    assert_eq!(status["journal"]["paused"], false, "{status}");
    bridge.wait_ready();
}

#[test]
fn a_pause_longer_than_the_keep_alive_does_not_cost_the_connection() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let journal = "journal: { max_size: 1MiB, segment_size: 256KiB, keep: 0s }\n";
    let mut bridge = Bridge::with_mqtt(broker.port(), "keep_alive: 1s", &format!("{journal}{}", readings(1)));
    bridge.start();
    bridge.wait_drained("local");
    let other = sqlite(&bridge.rows());
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let count = 1_000;
    Load::new(broker.port(), 1, count).made_by(bulky).run();
    bridge.wait_alive("the journal pauses", |bridge| (bridge.status()["journal"]["paused"] == true).then_some(()));
    // Mosquitto throws a client out after one and a half keep-alives of silence.
    std::thread::sleep(Duration::from_secs(4));
    let connections =
        broker.log().lines().filter(|line| line.contains("New client") && line.contains("as bridge-")).count();
    assert_eq!(connections, 1, "{}", bridge.log());
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    bridge.wait_ids("readings", count);
    bridge.wait_drained("local");
    Tally::of_sqlite(&bridge.rows(), "readings", 0..count).assert_each_once("readings");
    assert_eq!(bridge.status()["mqtt"]["connected"], true);
}

#[test]
fn a_full_journal_that_may_drop_counts_and_tells_what_it_dropped() {
    for when_full in ["drop_oldest", "drop_newest"] {
        let broker = Mosquitto::with(DEEP_QUEUE);
        let mut bridge = small_journal(broker.port(), when_full);
        bridge.start();
        Publisher::new(broker.port()).send(&bulky(0).0, bulky(0).1);
        bridge.wait_rows("readings", 1);
        let other = sqlite(&bridge.rows());
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let http = bridge.http_port();
        Load::new(broker.port(), 1, COUNT - 1).numbered_from(1).made_by(bulky).run();
        bridge.wait_alive("all messages are received", |bridge| {
            (bridge.metrics().value("rowbridge_messages_received_total", &[("qos", "1")])? >= COUNT as f64)
                .then_some(())
        });
        println!("{when_full}: {} journaled", journaled(http));
        let ready = bridge.get("/readyz").unwrap();
        assert!(ready.status == 503 && ready.body.contains("drops messages"), "{when_full}: {}", ready.body);
        bridge.wait_alive("the age of the oldest message that is kept is known", |bridge| {
            let database = &bridge.status()["databases"]["local"];
            (database["pending"].as_u64()? > 0 && database["oldest_pending_seconds"].as_f64()? > 0.0).then_some(())
        });
        other.execute_batch("ROLLBACK").unwrap();
        drop(other);
        // Lost ranges lie in the journal too, and reach the database as dead letters.
        bridge.wait_alive("every number is given out", |bridge| (bridge.journaled() >= COUNT).then_some(()));
        bridge.wait_drained("local");
        let file = bridge.rows();
        let written = crate::support::oracle::count(&file, "readings");
        let lost = bridge.metrics().value("rowbridge_messages_lost_total", &[]).unwrap() as u64;
        assert!(lost > 0, "{when_full}: twice what fits was sent");
        // A batch that was on its way when its messages were dropped still arrives: those are told lost and are not.
        assert!(written + lost >= COUNT, "{when_full}: {written} rows, {lost} lost");
        assert_eq!(written + missed(&file), COUNT, "{when_full}: every message is a row or in a lost range");
        assert!(bridge.log().lines().any(|line| line.contains("ERROR")), "{when_full}: the loss is told");
        bridge.wait_alive("it is ready again", |bridge| (bridge.get("/readyz")?.status == 200).then_some(()));
        let newest: i64 = crate::support::oracle::value(&file, "SELECT max(id) FROM readings");
        assert_eq!(
            newest == COUNT.cast_signed() - 1,
            when_full == "drop_oldest",
            "{when_full}: {newest} is the newest"
        );
    }
}

/// Messages in the lost ranges that the database was told of.
fn missed(file: &std::path::Path) -> u64 {
    let errors: Vec<String> = column(file, "SELECT error FROM rowbridge_dead_letters WHERE reason = 'lost_range'");
    let ranges = errors.iter().map(|error| {
        let mut numbers = error.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse::<u64>().ok());
        let (first, last) = (numbers.next().unwrap(), numbers.next().unwrap());
        last - first + 1
    });
    ranges.sum()
}
