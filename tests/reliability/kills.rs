//! The kill matrix: the bridge dies by SIGKILL at every named point, at both qualities of service that promise
//! something, into both databases; and is started again, and nothing is lost, nothing comes twice that must not.

pub(crate) mod database;
pub(crate) mod message;
pub(crate) mod random;
pub(crate) mod round;
mod scenarios;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rowbridge::campaign::Campaign;
use rowbridge::crash_point::{CrashPoint, POINTS};

use self::database::Engine;
use self::random::Random;
use self::round::{Plan, Round, Services};
use self::scenarios::Scenario;

/// Rounds at a time: most of a round is waiting for disks and processes.
const WORKERS: usize = 3;

/// Of a journal in memory.
const DELIVERED_ROUNDS: u64 = 12;

/// QoS 1 and 2, SQLite and Postgres.
const VARIANTS: u64 = 4;

/// What a seed stands for: seeds 1 to `POINTS * VARIANTS` are each combination once, the first `POINTS` of them each
/// point once.
struct Case {
    point: &'static CrashPoint,
    variant: u64,
    plan: Plan,
    /// `name:passage:cut`.
    at: String,
}

impl Case {
    fn of(seed: u64, random: &mut Random) -> Case {
        let (index, turn) = ((seed - 1) as usize % POINTS.len(), (seed - 1) / POINTS.len() as u64);
        let point = &POINTS[index];
        let variant = (turn + index as u64) % VARIANTS;
        let engine = match point.name.split_once('.') {
            Some(("sqlite", _)) => Engine::Sqlite,
            Some(("postgres", _)) => Engine::Postgres,
            // Both bits change from one point to the next, so that neighbours meet different ones.
            _ if variant.is_multiple_of(2) => Engine::Sqlite,
            _ => Engine::Postgres,
        };
        let qos = if variant / 2 == 0 { 2 } else { 1 };
        let (segment_kib, journal_kib) = match point.name {
            name if name.starts_with("journal.trim.") => (4, 24),
            name if name.starts_with("journal.segment.") => (4, 8_192),
            name if name.starts_with("journal.quarantine.") || name == "journal.recovery.mended" => (64, 8_192),
            _ => ([4, 8, 16, 64][(random.next() % 4) as usize], 8_192),
        };
        let is_in_small_batches = point.name == "delivery.relocating" || point.name.contains(".series.");
        let database_keys = match Scenario::of(point.name, variant) {
            Scenario::Parked => ", batch: { max_rows: 5 }, park_after: 100ms, retry: { min: 10ms, max: 50ms }",
            _ if is_in_small_batches => ", batch: { max_rows: 5 }",
            _ => "",
        };
        // These points are of a COPY.
        let is_wide = point.name.starts_with("postgres.") && !point.name.contains(".at_once.");
        let at = format!("{}:{}:{}", point.name, random.within(1, point.passages), random.within(0, 6));
        Case {
            point,
            variant,
            plan: Plan { engine, qos, is_delivered: false, segment_kib, journal_kib, database_keys, is_wide },
            at,
        }
    }
}

/// Points of the journal's disk and of a journal that outlives its process, and scenarios that need one.
fn needs_a_disk(point: &CrashPoint) -> bool {
    let of_the_disk = ["recovery.", "quarantine.", "headless.", "trim.", "boot."];
    point.name.strip_prefix("journal.").is_some_and(|name| of_the_disk.iter().any(|front| name.starts_with(front)))
        || ["delivery.relocating", "stop.grace_over", "stop.second_signal"].contains(&point.name)
}

/// As [`Case::of`] over the other points, with `journal.durability: delivered`.
fn delivered_case(seed: u64, random: &mut Random) -> Case {
    // Those of `Case::of` that do not need a disk, in their order; a step of 29 meets all kinds of points early.
    let seeds: Vec<u64> = (1..=POINTS.len() as u64 * VARIANTS)
        .filter(|seed| !needs_a_disk(&POINTS[(seed - 1) as usize % POINTS.len()]))
        .collect();
    let mut case = Case::of(seeds[(seed * 29) as usize % seeds.len()], random);
    case.plan.is_delivered = true;
    case
}

#[derive(Default)]
struct Figures {
    kills: AtomicU64,
    messages: AtomicU64,
    repeated_at_qos_1: AtomicU64,
    /// At QoS 2, of PUBLISHes that Mosquitto sent again after their PUBREL.
    repeated_by_the_broker: AtomicU64,
    sqlite: AtomicU64,
    postgres: AtomicU64,
    failed: AtomicBool,
}

/// One death and what came of it.
fn take_round(services: &Services, campaign: &str, case: fn(u64, &mut Random) -> Case, seed: u64, figures: &Figures) {
    let mut random = Random::new(seed);
    let case = case(seed, &mut random);
    let told = format!(
        "seed {seed}: crash point {} at QoS {} into {:?}; again with \
         ROWBRIDGE_PROVE_{}=1 ROWBRIDGE_PROVE_SEED={seed} cargo test --features fault-injection --test main \
         reliability::kills:: -- --nocapture",
        case.at,
        case.plan.qos,
        case.plan.engine,
        campaign.to_uppercase()
    );
    let mut round = Round::new(services, &case.plan, random);
    let played = catch_unwind(AssertUnwindSafe(|| {
        Scenario::of(case.point.name, case.variant).play(&mut round, &case.at);
        round.finish_beside(&services.broker)
    }));
    match played {
        Ok(repeated) => {
            // Repetitions after a crash are the rule without a journal that outlives it.
            let is_qos_2 = case.plan.qos == 2 && !case.plan.is_delivered;
            let counter = if is_qos_2 { &figures.repeated_by_the_broker } else { &figures.repeated_at_qos_1 };
            counter.fetch_add(repeated, Ordering::Relaxed);
            figures.kills.fetch_add(round.kills, Ordering::Relaxed);
            figures.messages.fetch_add(round.promise.published.end, Ordering::Relaxed);
            let engine = if case.plan.engine == Engine::Sqlite { &figures.sqlite } else { &figures.postgres };
            engine.fetch_add(1, Ordering::Relaxed);
        }
        Err(panic) => {
            println!("FAILED {told}\n--- the bridge's log ---\n{}", round.bridge.log());
            figures.failed.store(true, Ordering::Relaxed);
            resume_unwind(panic);
        }
    }
}

/// Plays rounds of one kind, [`WORKERS`] at a time.
fn play(name: &'static str, quick: u64, case: fn(u64, &mut Random) -> Case) {
    let services = Services::start();
    let campaign = Mutex::new(Campaign::begin(name, quick));
    let figures = Figures::default();
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let Some(seed) = campaign.lock().unwrap().next_seed() else { return };
                    take_round(&services, name, case, seed, &figures);
                    // Once one has failed, the others end with their rounds.
                    if figures.failed.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
    });
    let count = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
    let campaign = campaign.into_inner().unwrap();
    let points = campaign.rounds().min(POINTS.len() as u64);
    campaign.proved(&[
        ("points", points),
        ("kills", count(&figures.kills)),
        ("messages", count(&figures.messages)),
        ("rounds_sqlite", count(&figures.sqlite)),
        ("rounds_postgres", count(&figures.postgres)),
        ("lost", 0),
        ("repeated_at_qos_2_by_the_broker", count(&figures.repeated_by_the_broker)),
        ("repeated_at_qos_1", count(&figures.repeated_at_qos_1)),
    ]);
}

#[test]
fn a_bridge_killed_at_any_named_point_loses_nothing_and_repeats_only_what_the_broker_does() {
    play("kills", POINTS.len() as u64, Case::of);
}

/// A journal in memory goes with the process.
#[test]
fn a_bridge_whose_acknowledgements_wait_for_the_database_loses_nothing_with_its_journal() {
    play("delivered_kills", DELIVERED_ROUNDS, delivered_case);
}
