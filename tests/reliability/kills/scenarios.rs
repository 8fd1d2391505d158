//! What must happen around a bridge so that it comes to a crash point.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use super::round::{Round, Seen};
use crate::support::{wait_for, wait_within};

/// A segment's last bytes: its mark and the copy of its header.
const TRAILER_LEN: usize = 128;

/// Messages of a round before and after the death.
const BEFORE: u64 = 160;
const AFTER: u64 = 60;

/// How long a death may take that is certain to come.
const DEATH_PATIENCE: Duration = Duration::from_secs(20);

/// Points that every start passes: a restart sometimes meets a death of its own.
const ON_EVERY_START: [&str; 5] =
    ["delivery.contact.made", "source.connecting", "file.unnamed", "source.half_sent", "source.sent"];

/// So many backlogs are built up before a bridge.
const BACKLOGS: u64 = 30;

/// A bridge that lives gets one message at a time, so that points which need many turns are reached.
const TRICKLE: u64 = 150;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scenario {
    /// Dies on its first start or under load.
    Flow,
    /// As `Flow`, with the broker's session lost just before, while acknowledgements were outstanding.
    SessionLost,
    /// Dies in the recovery of a journal whose end is torn.
    TornEnd,
    /// Dies in the recovery of a journal that is damaged in its middle.
    Damaged,
    /// Dies in the recovery of a journal whose newest segment has no readable header.
    Headless,
    /// Dies while segments are removed; later the journal is full, and the database does not answer.
    Full,
    /// Dies while it catches up with what waited for the database.
    CatchUp,
    /// Dies while its table is bad, or while what was parked goes in.
    Parked,
    /// Two processes deliver the same journal.
    SecondInstance,
    /// SIGTERM under load.
    Stop,
    /// SIGTERM while the database does not answer.
    StopHeldUp,
    /// The same, and a second SIGTERM.
    StopTwice,
}

impl Scenario {
    pub(super) fn of(point: &str, variant: u64) -> Scenario {
        match point {
            "journal.recovery.half_zeroed" | "journal.recovery.zeroed" | "journal.recovery.synced" => Scenario::TornEnd,
            "journal.recovery.mended" => Scenario::Damaged,
            _ if point.starts_with("journal.headless.") => Scenario::Headless,
            _ if point.starts_with("journal.trim.") => Scenario::Full,
            "delivery.relocating" => Scenario::SecondInstance,
            "delivery.parking" => Scenario::Parked,
            _ if point.starts_with("delivery.replay.") => Scenario::Parked,
            "stop.grace_over" => Scenario::StopHeldUp,
            "stop.second_signal" => Scenario::StopTwice,
            _ if point.contains(".series.") => Scenario::CatchUp,
            _ if point.starts_with("journal.quarantine.") => Scenario::Damaged,
            _ if point.starts_with("stop.") => Scenario::Stop,
            "source.session.clearing" | "source.session.cleared" | "source.suback.unread" | "source.subscribed"
                if variant == 1 || variant == 2 =>
            {
                Scenario::SessionLost
            }
            _ => Scenario::Flow,
        }
    }

    /// Brings the bridge to its death at `point` and to life again, with more to do.
    pub(super) fn play(self, round: &mut Round, point: &str) {
        match self {
            Scenario::Flow => flow(round, point),
            Scenario::SessionLost => session_lost(round, point),
            Scenario::TornEnd => torn_end(round, point),
            Scenario::Damaged => damaged(round, point),
            Scenario::Headless => headless(round, point),
            Scenario::Full => full(round, point),
            Scenario::CatchUp => catch_up(round, point),
            Scenario::Parked => parked(round, point),
            Scenario::SecondInstance => second_instance(round, point),
            Scenario::Stop => stop(round, point),
            Scenario::StopHeldUp | Scenario::StopTwice => stop_held_up(round, point, self == Scenario::StopTwice),
        }
        round.publish_until_dead(AFTER, None);
    }
}

fn flow(round: &mut Round, point: &str) {
    round.spawn(Some(point));
    if round.wait_ready_or_dead(Some(point)) == Seen::Died {
        // A first start that got no further: from here on there is a session.
        start_again(round);
        round.publish_until_dead(BEFORE, None);
        return;
    }
    let mut seen = round.publish_until_dead(BEFORE, Some(point));
    let mut left = TRICKLE;
    while seen == Seen::Ready {
        assert!(left > 0, "the bridge never came to its crash point");
        left -= 1;
        round.publish(1);
        std::thread::sleep(Duration::from_millis(10));
        seen = round.publish_until_dead(0, Some(point));
        if round.has_died_at(Some(point)) {
            seen = Seen::Died;
        }
    }
    start_again(round);
}

/// Starts the bridge, which may die again on its way.
fn start_again(round: &mut Round) {
    while round.random.once_in(3) {
        let point = ON_EVERY_START[round.random.within(0, 4) as usize];
        round.spawn(Some(point));
        wait_dead(round, point);
    }
    round.start();
}

fn session_lost(round: &mut Round, point: &str) {
    round.start();
    round.publish_until_dead(BEFORE / 2, None);
    round.kill();
    round.discard_session();
    die_on_start(round, point);
    round.start();
}

fn torn_end(round: &mut Round, point: &str) {
    round.start();
    round.publish_until_dead(BEFORE / 2, None);
    round.kill();
    while !tear_end(round) {
        round.start();
        round.publish_until_dead(1, None);
        round.kill();
    }
    die_on_start(round, point);
    // In the recovery from a recovery; where there is no room for more, what was torn before has not been cleared.
    if round.random.once_in(2) {
        tear_end(round);
        die_on_start(round, point);
    }
    round.start();
}

fn damaged(round: &mut Round, point: &str) {
    round.start();
    round.publish_until_dead(BEFORE / 2, None);
    // What is damaged must have been delivered, or it would be lost indeed.
    round.wait_drained();
    round.kill();
    damage_middle(round);
    die_on_start(round, point);
    // What was not mended yet is found again.
    if point.starts_with("journal.quarantine") && round.random.once_in(2) {
        let (name, _) = point.split_once(':').unwrap_or((point, ""));
        // A copy that is there is not made a second time.
        let next = if name == "journal.quarantine.kept" { name } else { "journal.quarantine.unnamed" };
        die_on_start(round, next);
    }
    round.start();
}

fn headless(round: &mut Round, point: &str) {
    round.start();
    // A segment without a readable header is told as the loss of one message at least: one that holds nothing but releases
    // of QoS 2 would be told as a loss that is none.
    loop {
        round.publish_until_dead(BEFORE / 2, None);
        // Whatever the segment holds must have been delivered, or it would be lost indeed.
        round.wait_drained();
        if round.newest_segment_holds_messages() {
            break;
        }
    }
    round.kill();
    let (file, _) = newest_segment(round);
    // The header and its copy at the end.
    let size = file.metadata().unwrap().len();
    file.write_all_at(&[0xA5; 256], 0).unwrap();
    file.write_all_at(&[0xA5; TRAILER_LEN], size - TRAILER_LEN as u64).unwrap();
    round.promise.is_renumbered = true;
    die_on_start(round, point);
    round.start();
}

fn full(round: &mut Round, point: &str) {
    flow(round, point);
    let database = Arc::clone(&round.database);
    let lock = database.lock();
    round.publish_until_dead(BEFORE, None);
    wait_for("the journal is full", || (round.bridge.status()["journal"]["paused"] == true).then_some(()));
    round.kill();
    round.spawn(None);
    wait_for("the journal is full again", || (round.bridge.status()["journal"]["paused"] == true).then_some(()));
    drop(lock);
    round.wait_ready_or_dead(None);
}

/// Starts the bridge to die before it takes messages.
fn die_on_start(round: &mut Round, point: &str) {
    round.spawn(Some(point));
    assert_eq!(round.wait_ready_or_dead(Some(point)), Seen::Died, "the bridge never came to its crash point");
}

/// Puts behind the journal's end what a write that a power cut interrupted leaves: bytes that are no record. `false` if the
/// newest segment is full.
fn tear_end(round: &mut Round) -> bool {
    let (file, end) = newest_segment(round);
    let begin = end.next_multiple_of(8);
    let records_end = file.metadata().unwrap().len() - TRAILER_LEN as u64;
    let len = round.random.within(1, 1_500).min(records_end - begin);
    let torn: Vec<u8> = (0..len).map(|_| round.random.within(1, 255) as u8).collect();
    file.write_all_at(&torn, begin).unwrap();
    len > 0
}

fn damage_middle(round: &mut Round) {
    let (file, end) = newest_segment(round);
    let at = end / 2 + round.random.within(0, 64);
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

/// The newest segment, and where its last record ends, but for zeros.
fn newest_segment(round: &Round) -> (File, u64) {
    let path = round.newest_segment();
    let bytes = std::fs::read(&path).unwrap();
    let records = &bytes[..bytes.len() - TRAILER_LEN];
    let end = records.iter().rposition(|&byte| byte != 0).map_or(0, |last| last as u64 + 1);
    (File::options().read(true).write(true).open(path).unwrap(), end)
}

/// Again and again, as a refused row makes the bridge write batch by batch for a while.
fn catch_up(round: &mut Round, point: &str) {
    let database = Arc::clone(&round.database);
    round.spawn(Some(point));
    round.wait_ready_or_dead(Some(point));
    for _ in 0..BACKLOGS {
        let lock = database.lock();
        let seen = round.publish_until_dead(BEFORE / 4, Some(point));
        drop(lock);
        if seen == Seen::Died || round.has_written_or_died(point) == Seen::Died {
            round.start();
            return;
        }
    }
    panic!("the bridge never came to its crash point");
}

/// The table is away for a while, longer than the database is held for it.
fn parked(round: &mut Round, point: &str) {
    let database = Arc::clone(&round.database);
    round.spawn(Some(point));
    round.wait_ready_or_dead(Some(point));
    round.publish_until_dead(BEFORE / 4, Some(point));
    database.take_table_away();
    let mut seen = Seen::Ready;
    while seen == Seen::Ready && round.bridge.status()["databases"]["target"]["parked"][0].is_null() {
        seen = round.publish_until_dead(1, Some(point));
    }
    if seen == Seen::Ready {
        seen = round.publish_until_dead(BEFORE, Some(point));
    }
    database.put_table_back();
    let mut left = TRICKLE;
    while seen == Seen::Ready {
        assert!(left > 0, "the bridge never came to its crash point");
        left -= 1;
        seen = round.publish_until_dead(1, Some(point));
        std::thread::sleep(Duration::from_millis(20));
    }
    start_again(round);
}

/// Both instances read the same offset and try to move it; one of them finds that it moved.
fn second_instance(round: &mut Round, point: &str) {
    let database = Arc::clone(&round.database);
    round.start();
    round.publish_until_dead(BEFORE / 4, None);
    round.wait_drained();
    let lock = database.lock();
    round.publish_until_dead(BEFORE / 4, None);
    round.wait_journaled();
    round.kill();
    let mut second = round.second_instance();
    round.spawn(Some(point));
    second.set_environment("ROWBRIDGE_CRASH_AT", point);
    second.spawn();
    for bridge in [&round.bridge, &second] {
        wait_for("the instance has read the offset", || {
            (bridge.status()["databases"]["target"]["connected"] == true).then_some(())
        });
    }
    // Both gather their first batch and wait for the lock with it.
    std::thread::sleep(Duration::from_millis(200));
    drop(lock);
    let first_died = wait_for("an instance finds the offset moved", || {
        if round.has_died_at(Some(point)) {
            return Some(true);
        }
        second.ended().map(|_| false)
    });
    if first_died {
        round.start();
        round.wait_drained();
        second.kill();
    } else {
        assert!(second.log().contains("crash point delivery.relocating"), "the second instance ended by itself");
        round.kills += 1;
        // The one that was not refused has its crash point still before it.
        round.kill();
        round.start();
    }
}

fn stop(round: &mut Round, point: &str) {
    round.spawn(Some(point));
    round.wait_ready_or_dead(Some(point));
    round.publish_until_dead(BEFORE / 2, Some(point));
    round.publish_burst();
    round.bridge.signal(Signal::TERM);
    wait_dead(round, point);
    round.start();
}

fn stop_held_up(round: &mut Round, point: &str, twice: bool) {
    let database = Arc::clone(&round.database);
    round.spawn(Some(point));
    round.wait_ready_or_dead(Some(point));
    round.publish_until_dead(BEFORE / 2, Some(point));
    let lock = database.lock();
    round.publish_until_dead(BEFORE / 4, Some(point));
    round.wait_journaled();
    round.bridge.signal(Signal::TERM);
    if twice {
        std::thread::sleep(Duration::from_millis(100));
        round.bridge.signal(Signal::TERM);
    }
    wait_dead(round, point);
    drop(lock);
    round.start();
}

fn wait_dead(round: &mut Round, point: &str) {
    wait_within(DEATH_PATIENCE, &format!("the bridge dies at {point}"), || {
        round.has_died_at(Some(point)).then_some(())
    });
}
