//! Kills at random instants under load, with small segments, while Mosquitto is ended and started again, and Postgres
//! with all its sessions killed.
//!
//! A restarted Mosquitto sends messages again whose PUBREL it had sent. What comes twice at QoS 2 must be accounted for by
//! that, one by one, from its log.
//!
//! Mosquitto is ended by SIGTERM: killed, it would lose what it had taken since it last wrote its file, and with it
//! messages that no bridge ever saw.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rowbridge::campaign::Campaign;

use super::kills::database::Engine;
use super::kills::message::message;
use super::kills::random::Random;
use super::kills::round::{Plan, Round, Services};
use crate::support::publisher::{Load, Running};

/// Deaths of one bridge.
const KILLS_PER_ROUND: u64 = 10;

/// Messages per second while the bridge is killed: enough that something is in flight at every instant.
const RATE: u64 = 600;

/// Messages for each kill: the load lasts about as long as the kills.
const MESSAGES_PER_KILL: u64 = 80;

/// Rounds at a time, each with services of its own to kill.
const WORKERS: usize = 2;

#[derive(Default)]
struct Figures {
    kills: AtomicU64,
    broker_restarts: AtomicU64,
    postgres_kills: AtomicU64,
    messages: AtomicU64,
    repeated_at_qos_1: AtomicU64,
    /// At QoS 2, of PUBLISHes that Mosquitto sent again after their PUBREL.
    repeated_by_the_broker: AtomicU64,
}

/// Seeds 1 to 8 are each combination once: engine, quality of service, and whether the services fail too; and so are seeds 9
/// to 16, with a journal in memory.
struct Case {
    plan: Plan,
    services_fail: bool,
}

impl Case {
    fn of(seed: u64, random: &mut Random) -> Case {
        let index = seed - 1;
        let plan = Plan {
            engine: if index.is_multiple_of(2) { Engine::Sqlite } else { Engine::Postgres },
            qos: if (index / 2).is_multiple_of(2) { 2 } else { 1 },
            is_delivered: (index / 8) % 2 == 1,
            segment_kib: [4, 8, 32][random.within(0, 2) as usize],
            journal_kib: 8_192,
            database_keys: ", retry: { min: 50ms, max: 500ms }",
            is_wide: (index / 2 + index / 4) % 2 == 1,
        };
        Case { plan, services_fail: (index / 4 + index) % 2 == 1 }
    }
}

/// Kills the bridge again and again; returns once it has lived through all of it.
fn kill_at_random(services: &mut Services, case: &Case, round: &mut Round, load: &Running, figures: &Figures) {
    for kill in 0..KILLS_PER_ROUND {
        // Sometimes before it is ready again, sometimes in full flow.
        let instant = Duration::from_micros(round.random.within(5_000, 200_000));
        std::thread::sleep(instant);
        // Each service fails once at least.
        if case.services_fail && (kill == 3 || kill == 6 || round.random.once_in(5)) {
            let is_postgres = case.plan.engine == Engine::Postgres && kill % 2 == 0;
            fail_service(services, is_postgres, round, figures);
        }
        round.kill();
        round.spawn(None);
    }
    assert!(load.acknowledged() > 0, "nothing was published while the bridge was killed");
    figures.kills.fetch_add(KILLS_PER_ROUND, Ordering::Relaxed);
}

fn fail_service(services: &mut Services, is_postgres: bool, round: &mut Round, figures: &Figures) {
    let instant = Duration::from_micros(round.random.within(0, 50_000));
    if is_postgres {
        services.postgres.kill();
        std::thread::sleep(instant);
        services.postgres.start_again();
        figures.postgres_kills.fetch_add(1, Ordering::Relaxed);
    } else {
        services.broker.stop();
        std::thread::sleep(instant);
        services.broker.restart();
        figures.broker_restarts.fetch_add(1, Ordering::Relaxed);
    }
}

fn take_round(services: &mut Services, seed: u64, figures: &Figures) {
    let mut random = Random::new(seed);
    let case = Case::of(seed, &mut random);
    let mut round = Round::new(services, &case.plan, random);
    let played = catch_unwind(AssertUnwindSafe(|| {
        round.start();
        let count = KILLS_PER_ROUND * MESSAGES_PER_KILL;
        round.promise.published = 0..count;
        let place = round.promise.place.clone();
        let made = move |id| {
            let (topic, payload) = message(&place, id);
            (topic, payload.into_bytes())
        };
        let load = Load::new(services.broker.port(), case.plan.qos, count).made_by(made).per_second(RATE).start();
        kill_at_random(services, &case, &mut round, &load, figures);
        load.finish();
        figures.messages.fetch_add(count, Ordering::Relaxed);
        let repeated = round.finish_beside(&services.broker);
        let counter = if case.plan.qos == 2 && !case.plan.is_delivered {
            &figures.repeated_by_the_broker
        } else {
            &figures.repeated_at_qos_1
        };
        counter.fetch_add(repeated, Ordering::Relaxed);
    }));
    if let Err(panic) = played {
        println!(
            "FAILED seed {seed}: QoS {} into {:?}, services fail: {}; again with ROWBRIDGE_PROVE_RANDOM_KILLS=1 \
             ROWBRIDGE_PROVE_SEED={seed} cargo test --features fault-injection --test main reliability::random_kills \
             -- --nocapture",
            case.plan.qos, case.plan.engine, case.services_fail
        );
        resume_unwind(panic);
    }
}

#[test]
fn a_bridge_killed_at_random_instants_while_its_services_fail_loses_nothing() {
    let campaign = Mutex::new(Campaign::begin("random_kills", 2));
    let figures = Figures::default();
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let mut services = Services::start_lasting();
                loop {
                    let Some(seed) = campaign.lock().unwrap().next_seed() else { return };
                    take_round(&mut services, seed, &figures);
                }
            });
        }
    });
    let count = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
    campaign.into_inner().unwrap().proved(&[
        ("kills", count(&figures.kills)),
        ("broker_restarts", count(&figures.broker_restarts)),
        ("postgres_kills", count(&figures.postgres_kills)),
        ("messages", count(&figures.messages)),
        ("lost", 0),
        ("repeated_at_qos_2_by_the_broker", count(&figures.repeated_by_the_broker)),
        ("repeated_at_qos_1", count(&figures.repeated_at_qos_1)),
    ]);
}
