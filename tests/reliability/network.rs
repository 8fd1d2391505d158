//! The network, cut at every byte: of what the bridge and its broker say to each other, and of what it and Postgres say.
//!
//! Each lane is one exchange over one faulty link, with a bridge of its own that lives through all of the lane's faults.
//! A seed names the lane and the turn; the turns of a lane sweep every byte of its exchange, both ways.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rowbridge::campaign::Campaign;

use super::lane::{Exchange, Lane};
use crate::support::bridge::Bridge;
use crate::support::fault::{Fault, Trap, Way};
use crate::support::mosquitto::Mosquitto;
use crate::support::postgres::{Postgres, PostgresOptions};
use crate::support::proxy::Proxy;
use crate::support::publisher::Publisher;
use crate::support::wait_for;

/// In the order in which the seeds go round. Postgres has the longest exchange, so it comes more often.
const LANES: [Exchange; 7] = [
    Exchange::Mqtt { version: "5", qos: 1, tls: false },
    Exchange::Mqtt { version: "5", qos: 2, tls: false },
    Exchange::Mqtt { version: "3.1.1", qos: 1, tls: false },
    Exchange::Mqtt { version: "3.1.1", qos: 2, tls: false },
    Exchange::Mqtt { version: "5", qos: 2, tls: true },
    Exchange::Postgres { tls: false },
    Exchange::Postgres { tls: true },
];
/// Which lane a seed is for.
const ROUND: [usize; 10] = [0, 1, 2, 3, 4, 5, 6, 5, 4, 5];
/// How far the seeds may be given out ahead of the slowest lane: the order of seeds within a lane stays as it is.
const AHEAD: usize = 64;

/// The lane of a seed, and its turn there.
fn turn_of(seed: u64) -> (usize, u64) {
    let (rounds, slot) = (seed / ROUND.len() as u64, (seed % ROUND.len() as u64) as usize);
    let lane = ROUND[slot];
    let per_round = ROUND.iter().filter(|&&other| other == lane).count() as u64;
    let before = ROUND[..slot].iter().filter(|&&other| other == lane).count() as u64;
    (lane, rounds * per_round + before)
}

/// With a certificate, so that both TLS and plain connections are taken.
fn postgres() -> Postgres {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    Postgres::start_with(PostgresOptions {
        fsync: false,
        // Rows are compared in the order in which they lie: nothing may make room among them.
        settings: vec![("ssl".into(), "on".into()), ("autovacuum".into(), "off".into())],
        files: vec![
            ("server.crt".into(), certificate.pem().into_bytes()),
            ("server.key".into(), key.serialize_pem().into_bytes()),
        ],
        ..PostgresOptions::default()
    })
}

#[test]
fn the_network_is_cut_at_every_byte_and_nothing_is_lost_or_twice() {
    let mut campaign = Campaign::begin("cuts", 50);
    let postgres = std::sync::Arc::new(postgres());
    let (mut published, mut repeated, mut repeated_by_the_broker, mut bytes, mut swept) = (0, 0, 0, 0, 0);
    std::thread::scope(|scope| {
        let lanes: Vec<_> = LANES
            .into_iter()
            .map(|exchange| {
                let (sender, seeds) = sync_channel::<u64>(AHEAD);
                let postgres = &postgres;
                let thread = scope.spawn(move || {
                    let mut seed = seeds.recv().ok()?;
                    let mut lane = Lane::open(exchange, postgres);
                    loop {
                        lane.turn(turn_of(seed).1);
                        let Ok(next) = seeds.recv() else { break };
                        seed = next;
                    }
                    let swept = lane.swept();
                    Some((lane.close(), swept))
                });
                (sender, thread)
            })
            .collect();
        while let Some(seed) = campaign.next_seed() {
            // A lane that has failed takes no more; its panic is told below.
            if lanes[turn_of(seed).0].0.send(seed).is_err() {
                break;
            }
        }
        for (exchange, (sender, thread)) in LANES.iter().zip(lanes) {
            drop(sender);
            let Some(((messages, twice), (length, is_swept))) = thread.join().expect("a lane failed, see above") else {
                continue;
            };
            published += messages;
            let is_qos_1 = matches!(exchange, Exchange::Mqtt { qos: 1, .. });
            *if is_qos_1 { &mut repeated } else { &mut repeated_by_the_broker } += twice;
            bytes += length;
            swept += u64::from(is_swept);
        }
    });
    campaign.proved(&[
        ("messages", published),
        ("repeated_at_qos_1", repeated),
        ("repeated_by_the_broker", repeated_by_the_broker),
        ("bytes_of_the_exchanges", bytes),
        ("exchanges_swept_whole", swept),
    ]);
}

/// A gateway loses power in the midst of a transaction: nobody tells the server, whose session holds the offset row. By
/// the usual defaults it would do so for more than two hours, and all that time no batch could be written.
#[test]
fn a_transaction_that_nobody_goes_on_with_is_given_up_by_the_server() {
    const RULES: &str = "
databases:
  it: { url: 'URL?sslmode=disable', retry: { min: 20ms, max: 500ms }, statement_timeout: 1s }
rules:
  - { topic: t, qos: 1, table: rows, create: true, for_each: payload, columns: { id: { from: item, type: bigint } } }
";
    let postgres = Postgres::start_with(PostgresOptions { fsync: false, ..PostgresOptions::default() });
    let database = postgres.create_database();
    let proxy = Proxy::to(postgres.port());
    let broker = Mosquitto::start();
    let url = format!("postgres://postgres@127.0.0.1:{}/{database}", proxy.port());
    let mut bridge = Bridge::new(broker.port(), &RULES.replace("URL", &url));
    let counted = proxy.arm(Trap { way: Way::Down, after: 0, fault: Fault::Nothing });
    bridge.start();
    bridge.wait_drained("it");
    // Without a migration, and up to the end of what precedes the first transaction that writes.
    assert!(bridge.stop().success());
    assert!(counted.passed(Way::Down) > 0);
    let counted = proxy.arm(Trap { way: Way::Down, after: 0, fault: Fault::Nothing });
    bridge.start();
    bridge.wait_drained("it");
    std::thread::sleep(Duration::from_millis(300));
    let before = counted.passed(Way::Down);
    assert!(bridge.stop().success());

    let lasts = Duration::from_secs(3600);
    let armed = proxy.arm(Trap { way: Way::Down, after: before + 1, fault: Fault::BlackHole(lasts) });
    bridge.start();
    bridge.wait_drained("it");
    let mut publisher = Publisher::new(broker.port());
    // Fewer would go in one message with COMMIT.
    let ids: Vec<u64> = (0..100).collect();
    publisher.send("t", format!("{ids:?}"));
    wait_for("the network is gone", || armed.has_fired().then_some(()));
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'";
    wait_for("the server waits", || (postgres.psql(&database, waiting) == "1").then_some(()));
    bridge.kill();
    bridge.start();
    bridge.wait_alive("the message arrives", |_| {
        (postgres.psql(&database, "SELECT count(*) FROM rows") == "100").then_some(())
    });
    bridge.wait_drained("it");
    assert!(postgres.log().contains("idle-in-transaction timeout"), "the server ended the abandoned transaction");
}
