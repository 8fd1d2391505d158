//! Everything at once, for as long as one likes: a load of every kind into SQLite and Postgres, and faults of all kinds.
//!
//! A round is a second. Its seed says what the load does and which fault happens.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rowbridge::campaign::Campaign;
use rustix::process::Signal;

use super::dice::Dice;
use super::soak_stage::{JOURNAL_BYTES_MAX, SEGMENT_BYTES, Stage};
use super::vitals::Vitals;
use crate::support::fault::{Fault, Trap, Way};
use crate::support::oracle::sqlite;
use crate::support::proxy::{Mood, Proxy};

/// What the last third's median may lie above the first's: two databases gather batches of 8 MiB at most each, twice
/// while one is encoded, and the allocator keeps what it had; whether the largest batch came early is chance.
const RESIDENT_SLACK_BYTES: u64 = 40 << 20;
/// Besides its segments the journal has one spare one, and one that is being made.
const JOURNAL_SLACK_BYTES: u64 = 2 * SEGMENT_BYTES;

type Happen = fn(&mut Stage, &mut Dice);

/// The things that go wrong, by the number that the seed draws.
const FAULTS: [(&str, Happen); 18] = [
    ("broker_link_cut", |stage, _| stage.to_broker.cut()),
    ("postgres_link_cut", |stage, _| stage.to_postgres.cut()),
    ("broker_link_cut_at_a_byte", |stage, dice| stage.to_broker.cut_after(1 + dice.below(20_000) as u32)),
    ("postgres_link_cut_at_a_byte", |stage, dice| stage.to_postgres.cut_after(1 + dice.below(2_000) as u32)),
    ("broker_link_trapped", |stage, dice| trap(&stage.to_broker, 2_000, dice)),
    ("postgres_link_trapped", |stage, dice| trap(&stage.to_postgres, 40_000, dice)),
    ("broker_link_held", |stage, dice| mood(&stage.to_broker, Mood::Hold, dice.below(1_500))),
    ("postgres_link_held", |stage, dice| mood(&stage.to_postgres, Mood::Hold, dice.below(1_500))),
    ("broker_link_black_hole", |stage, dice| black_hole(&stage.to_broker, dice)),
    ("postgres_link_black_hole", |stage, dice| black_hole(&stage.to_postgres, dice)),
    ("broker_refuses", |stage, dice| {
        stage.to_broker.set(Mood::Refuse);
        stage.to_broker.cut();
        sleep(Duration::from_millis(dice.below(1_000)));
        stage.to_broker.set(Mood::Pass);
    }),
    ("bridge_killed", |stage, dice| {
        stage.bridge.kill();
        sleep(Duration::from_millis(dice.below(300)));
        stage.bridge.spawn();
    }),
    ("bridge_stopped", |stage, _| {
        let status = stage.bridge.stop();
        assert!(status.success(), "SIGTERM ends with {status}");
        stage.bridge.spawn();
    }),
    ("bridge_paused", |stage, dice| {
        stage.bridge.signal(Signal::STOP);
        sleep(Duration::from_millis(dice.below(3_000)));
        stage.bridge.signal(Signal::CONT);
    }),
    ("broker_restarted", |stage, dice| {
        stage.broker.stop();
        sleep(Duration::from_millis(dice.below(500)));
        stage.broker.restart();
    }),
    ("postgres_restarted", |stage, dice| {
        if dice.once_in(2) {
            stage.postgres.stop()
        } else {
            stage.postgres.stop_immediately()
        }
        sleep(Duration::from_millis(dice.below(4_000)));
        stage.postgres.start_again();
    }),
    ("postgres_table_changed", |stage, dice| {
        let changes = [("RENAME COLUMN value TO away", "RENAME COLUMN away TO value"), ("RENAME TO away", "")];
        let (change, back) = changes[dice.below(2) as usize];
        let alter = |table: &str, how: &str| format!("SET lock_timeout = '5s'; ALTER TABLE {table} {how}");
        if stage.postgres.try_psql(&stage.database, &alter("q1", change)).status.success() {
            sleep(Duration::from_millis(500 + dice.below(2_000)));
            let undo = if back.is_empty() { alter("away", "RENAME TO q1") } else { alter("q1", back) };
            stage.postgres.psql(&stage.database, &undo);
        }
    }),
    ("sqlite_locked_or_table_gone", |stage, dice| {
        let connection = sqlite(&stage.bridge.rows());
        if dice.once_in(2) {
            connection.execute_batch("BEGIN IMMEDIATE").unwrap();
            sleep(Duration::from_millis(dice.below(2_000)));
            connection.execute_batch("ROLLBACK").unwrap();
        } else {
            connection.execute_batch("ALTER TABLE q2 RENAME TO away").unwrap();
            sleep(Duration::from_millis(dice.below(2_000)));
            connection.execute_batch("ALTER TABLE away RENAME TO q2").unwrap();
        }
    }),
];

fn mood(proxy: &Proxy, mood: Mood, millis: u64) {
    proxy.set(mood);
    sleep(Duration::from_millis(millis));
    proxy.set(Mood::Pass);
}

/// Past the keep-alive at times, and at times shorter: then what was swallowed is a gap that only a cut ends.
fn black_hole(proxy: &Proxy, dice: &mut Dice) {
    mood(proxy, Mood::BlackHole, dice.below(8_000));
    proxy.cut();
}

/// The next connection meets a fault at a byte of its first ones.
fn trap(proxy: &Proxy, bytes: u64, dice: &mut Dice) {
    let pause = Duration::from_millis(dice.below(1_000));
    let faults = [
        Fault::Reset,
        Fault::HalfClose,
        Fault::HoldThenReset(pause),
        Fault::Split,
        Fault::Strand(pause),
        Fault::BlackHole(Duration::from_secs(10)),
    ];
    let fault = faults[dice.below(faults.len() as u64) as usize];
    // A CONNECT that arrives late is another client to the broker: see `cut`.
    let least = if matches!(fault, Fault::Strand(_)) { 100 } else { 0 };
    let way = if dice.once_in(2) || least > 0 { Way::Up } else { Way::Down };
    proxy.arm(Trap { way, after: least + dice.below(bytes), fault });
    proxy.cut();
}

/// What this second's load is.
fn load(stage: &mut Stage, dice: &mut Dice) {
    match dice.below(10) {
        0..=1 => {}
        2 => stage.load(400 + dice.below(800)),
        _ => stage.load(20 + dice.below(60)),
    }
    if dice.once_in(3) {
        stage.retain();
    }
}

#[test]
fn a_soak_of_faults_of_all_kinds_loses_nothing_repeats_nothing_and_grows_nothing() {
    let mut campaign = Campaign::begin("soak", 10);
    let mut stage = Stage::open();
    let mut vitals = Vitals::default();
    let mut happened: BTreeMap<&str, u64> = BTreeMap::new();
    let (begin, mut second, mut fullest) = (Instant::now(), 0, 0);
    while let Some(seed) = campaign.next_seed() {
        let mut dice = Dice::new(seed);
        load(&mut stage, &mut dice);
        // A fault may last longer than its second; the seconds that it took pass without one.
        if begin.elapsed() <= Duration::from_secs(second + 1) && !dice.once_in(3) {
            let (name, happen) = FAULTS[dice.below(FAULTS.len() as u64) as usize];
            println!("second {second}, seed {seed}: {name}; {} published", stage.published());
            happen(&mut stage, &mut dice);
            *happened.entry(name).or_default() += 1;
        }
        second += 1;
        sleep((begin + Duration::from_secs(second)).saturating_duration_since(Instant::now()));
        vitals.sample(&stage.bridge);
        let bytes = stage.bridge.status()["journal"]["bytes"].as_u64().unwrap_or(0);
        assert!(bytes <= JOURNAL_BYTES_MAX + JOURNAL_SLACK_BYTES, "seed {seed}: the journal has {bytes} bytes");
        fullest = fullest.max(bytes);
    }
    // No limit any more.
    stage.to_broker.cut_after(u32::MAX);
    stage.to_postgres.cut_after(u32::MAX);
    let figures = stage.assert_whole();
    assert!(!happened.is_empty(), "no fault happened");
    println!("{}", vitals.assert_flat_within("the bridge", RESIDENT_SLACK_BYTES));
    println!("faults: {happened:?}");
    campaign.proved(&[
        ("faults", happened.values().sum()),
        ("kinds", happened.len() as u64),
        ("published", stage.published()),
        ("journaled", figures.records),
        ("repeated_at_qos_1", figures.repeated),
        ("dead_letters", figures.dead_letters),
        ("journal_bytes_max", fullest),
    ]);
}
