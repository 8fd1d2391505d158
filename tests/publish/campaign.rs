//! Four sessions that commit out of order and roll back, while the bridge is killed and the broker restarted: every committed
//! row once by its offset, none of a transaction that was rolled back, each session's rows in its order. And a table's rows that
//! are there before, while others write.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rowbridge::campaign::Campaign;
use serde_json::Value;

use super::{Source, both, payload, publisher, wait_capturing};
use crate::support::bridge::Bridge;
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::subscriber::Subscriber;

const SESSIONS: u64 = 4;
/// What a shell takes as one argument.
const PIECE_BYTES: usize = 32 << 10;

/// As a part of the normal tests.
fn is_small() -> bool {
    std::env::var_os("ROWBRIDGE_PROVE_PUBLISH").is_none()
}

/// A session's statements in pieces: transactions of one to twenty rows, every fifth of which is rolled back. `n` grows.
fn session(session: u64, rows: u64, is_sqlite: bool) -> (Vec<String>, u64) {
    let (mut pieces, mut n, mut kept, mut turn) = (vec![String::new()], 0, 0, session);
    while n < rows {
        turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let size = 1 + (turn >> 33) % 20;
        let is_rolled_back = (turn >> 40).is_multiple_of(5);
        if pieces.last().is_some_and(|piece| piece.len() > PIECE_BYTES) {
            pieces.push(String::new());
        }
        let script = pieces.last_mut().expect("there is one");
        *script += if is_sqlite { "BEGIN IMMEDIATE;\n" } else { "BEGIN;\n" };
        for place in 0..size {
            let state = if is_rolled_back { "gone" } else { "kept" };
            let _ = writeln!(script, "INSERT INTO t VALUES ({session}, {n}, '{state}');");
            // Others commit in between.
            if place == size / 2 && !is_sqlite {
                let _ = writeln!(script, "SELECT pg_sleep(0.00{});", (turn >> 45) % 8);
            }
            n += 1;
        }
        *script += if is_rolled_back { "ROLLBACK;\n" } else { "COMMIT;\n" };
        kept += if is_rolled_back { 0 } else { size };
    }
    (pieces, kept)
}

/// A reader whose session outlives the broker's restarts.
fn reader(broker: &Mosquitto) -> Subscriber {
    Subscriber::with(broker.port(), "t", &["-V", "311", "-c", "-F", "%p"])
}

/// The rows by their offsets; fails if an offset was given to two rows.
fn by_offset(lines: &[String]) -> BTreeMap<u64, (u64, u64)> {
    let mut rows = BTreeMap::new();
    for line in lines {
        let message = payload(line);
        let data = &message["data"];
        assert_eq!(data["state"], "kept", "a row of a transaction that was rolled back: {line}");
        let number = |value: &Value| value.as_u64().unwrap();
        let row = (number(&data["session"]), number(&data["n"]));
        let known = rows.insert(number(&message["offset"]["offset"]), row);
        assert!(known.is_none_or(|known| known == row), "{known:?} came again under another offset: {line}");
    }
    rows
}

/// Every row that is in the table, once, and in the order of its session.
#[track_caller]
pub(super) fn assert_all_in_order(source: &Source, lines: &[String], kept: u64) {
    let rows = by_offset(lines);
    let place = source.url();
    assert_eq!(source.number("SELECT count(*) FROM t"), kept as i64, "{place}");
    assert_eq!(rows.len() as u64, kept, "{place}");
    assert!(rows.keys().copied().eq(1..=kept), "offsets have gaps, {place}");
    let mut last = BTreeMap::new();
    for (offset, (session, n)) in rows {
        let before = last.insert(session, n);
        assert!(before.is_none_or(|before| before < n), "session {session}: {n} at {offset} after {before:?}, {place}");
    }
}

fn campaign(source: &Source, rows_per_session: u64, kills: usize) -> (u64, u64) {
    // Saved when it is stopped.
    let mut broker = Mosquitto::with(&format!("persistence true\n{DEEP_QUEUE}"));
    source.run("CREATE TABLE t (session integer, n integer, state text)");
    let subscriber = reader(&broker);
    let mut bridge: Bridge = publisher(&broker, source, "  - table: t\n    topic: t\n");
    bridge.start();
    wait_capturing(&mut bridge, source, 1);
    let scripts: Vec<(Vec<String>, u64)> =
        (0..SESSIONS).map(|number| session(number, rows_per_session, source.is_sqlite())).collect();
    let kept: u64 = scripts.iter().map(|(_, kept)| kept).sum();
    std::thread::scope(|scope| {
        for (pieces, _) in &scripts {
            scope.spawn(|| pieces.iter().for_each(|piece| drop(source.run(piece))));
        }
        for turn in 1..=kills {
            let due = kept as usize * turn / (kills + 1);
            subscriber.wait_for(due);
            bridge.kill();
            if turn % 2 == 0 {
                broker.stop();
                broker.restart();
            }
            bridge.start();
        }
    });
    bridge.wait_alive("all is finished", |_| {
        (source.number("SELECT count(*) FROM rowbridge_changes") == 0).then_some(())
    });
    let lines = crate::support::wait_for("all rows came", || {
        let lines = subscriber.lines();
        (lines.len() as u64 >= kept && by_offset(&lines).len() as u64 >= kept).then_some(lines)
    });
    assert_all_in_order(source, &lines, kept);
    (kept, lines.len() as u64 - kept)
}

#[test]
fn rows_of_four_sessions_come_once_by_offset_in_their_order_however_often_the_bridge_is_killed() {
    let mut campaign = Campaign::begin("publish", 2);
    let (rows, kills) = if is_small() { (500, 3) } else { (50_000, 12) };
    let (mut published, mut repeated) = (0, 0);
    while let Some(seed) = campaign.next_seed() {
        let folder = tempfile::TempDir::new().unwrap();
        let source = if seed % 2 == 0 { Source::sqlite(folder.path()) } else { Source::postgres() };
        let (kept, again) = self::campaign(&source, rows, kills);
        (published, repeated) = (published + kept, repeated + again);
    }
    campaign.proved(&[("rows", published), ("repeated", repeated)]);
}

/// Inserts rows, 20 in a transaction, until there are many or it is told to stop. How many there are.
fn write_meanwhile(source: &Source, writer: u64, is_over: &AtomicBool) -> u64 {
    let mut written = 0;
    while written < 20_000 && !is_over.load(Ordering::Relaxed) {
        let mut script = String::new();
        for first in (written + 1..=written + 100).step_by(20) {
            script += "BEGIN;";
            for n in first..first + 20 {
                let _ = write!(script, "INSERT INTO t VALUES ({writer}, {n});");
            }
            script += "COMMIT;";
        }
        source.run(&script);
        written += 100;
    }
    written
}

#[test]
fn rows_that_are_there_come_first_while_others_write_and_none_is_missed_or_repeated() {
    const WRITERS: u64 = 2;
    let there: u64 = if is_small() { 5_000 } else { 100_000 };
    both(|source| {
        let begun = Instant::now();
        let broker = Mosquitto::with(DEEP_QUEUE);
        let numbers = match source {
            Source::Sqlite(_) => {
                format!(
                    "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {there}) SELECT 0, n FROM s"
                )
            }
            Source::Postgres(..) => format!("SELECT 0, n FROM generate_series(1, {there}) n"),
        };
        source.run(&format!(
            "CREATE TABLE t (writer integer, n integer, PRIMARY KEY (writer, n)); INSERT INTO t {numbers}"
        ));
        let subscriber = Subscriber::start(broker.port(), "t", "%p");
        let entry = "  - table: t\n    topic: t\n    start: existing\n    format: '[.offset, .row.writer, .row.n]'\n";
        let mut bridge = publisher(&broker, &source, entry);
        let published = |bridge: &Bridge| bridge.status()["publish"][0]["published"].as_u64();
        let is_over = AtomicBool::new(false);
        let written: Vec<u64> = std::thread::scope(|scope| {
            let (source, is_over) = (&source, &is_over);
            let writers = (1..=WRITERS).map(|writer| scope.spawn(move || write_meanwhile(source, writer, is_over)));
            let writers: Vec<_> = writers.collect();
            bridge.start();
            bridge
                .wait_alive("half of them are published", |bridge| published(bridge).filter(|rows| *rows > there / 2));
            is_over.store(true, Ordering::Relaxed);
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        assert!(written.iter().all(|rows| *rows > 0), "{written:?}");
        let total = there + written.iter().sum::<u64>();
        assert_eq!(source.number("SELECT count(*) FROM t"), total as i64);
        bridge.wait_alive("all are published", |bridge| published(bridge).filter(|rows| *rows >= total));
        let mut seen = [0; 1 + WRITERS as usize];
        for (index, line) in subscriber.wait_for(total as usize).iter().enumerate() {
            let (offset, writer, n): (usize, usize, u64) = serde_json::from_str(line).unwrap();
            assert_eq!(offset, index + 1, "{line}, {}", source.url());
            assert_eq!(n, seen[writer] + 1, "{line} out of turn, {}", source.url());
            assert!(writer == 0 || seen[0] == there, "{line} came before all that was there, {}", source.url());
            seen[writer] = n;
        }
        assert_eq!((seen[0], &seen[1..]), (there, &written[..]), "{}", source.url());
        println!("{there} rows and {written:?} beside them: {:?}, {}", begun.elapsed(), source.url());
    });
}
