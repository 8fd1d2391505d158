//! Four sessions that commit out of order and roll back, while the bridge is killed and the broker restarted: every committed
//! row once by its offset, none of a transaction that was rolled back, each session's rows in its order.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rowbridge::campaign::Campaign;
use serde_json::Value;

use super::{Source, payload, publisher, wait_capturing};
use crate::support::bridge::Bridge;
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::subscriber::Subscriber;

const SESSIONS: u64 = 4;
/// What a shell takes as one argument.
const PIECE_BYTES: usize = 32 << 10;

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
    let is_small = std::env::var_os("ROWBRIDGE_PROVE_PUBLISH").is_none();
    let (rows, kills) = if is_small { (500, 3) } else { (50_000, 12) };
    let (mut published, mut repeated) = (0, 0);
    while let Some(seed) = campaign.next_seed() {
        let folder = tempfile::TempDir::new().unwrap();
        let source = if seed % 2 == 0 { Source::sqlite(folder.path()) } else { Source::postgres() };
        let (kept, again) = self::campaign(&source, rows, kills);
        (published, repeated) = (published + kept, repeated + again);
    }
    campaign.proved(&[("rows", published), ("repeated", repeated)]);
}
