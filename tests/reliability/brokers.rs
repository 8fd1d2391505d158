//! Brokers of other makers, each with 20,000 exact messages, while the bridge is killed and the broker ended and started
//! again. Only in the long tiers of `scripts/prove`; a broker that is not there is passed over with a line.
//!
//! What the brokers have of their own: RabbitMQ has no QoS 2, no MQTT 5, ten messages in flight, and ends the connection on
//! a filter that the client may not read; HiveMQ gives every QoS 2 message the same packet identifier. The publisher is
//! idle while the broker is away: what HiveMQ knows of a publisher's unfinished QoS 2 messages is in its memory only.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rowbridge::campaign::Campaign;

use super::kills::random::Random;
use crate::support::PATIENCE;
use crate::support::bridge::Bridge;
use crate::support::hivemq::HiveMq;
use crate::support::oracle::{Tally, column, count, value};
use crate::support::proxy::Proxy;
use crate::support::publisher::{Load, reading};
use crate::support::rabbitmq::RabbitMq;

/// Messages of one round, and in how many parts they come: the broker is restarted after each.
const MESSAGES: u64 = 20_000;
const PARTS: u64 = 5;
/// Enough for many to be in flight at every instant.
const RATE: u64 = 800;
/// Of ten messages this one is not numbered but equal to all others of its kind: they are counted.
const EQUAL: u64 = 3;
const EQUAL_MESSAGES: u64 = MESSAGES / 10;
/// Messages that HiveMQ has in flight to one client.
const IN_FLIGHT: u64 = 50;
/// The second rule's share of the messages: those of one device of fifty.
const DEVICE: u64 = 7;

/// The first two rules' filters overlap. The last one's is one that RabbitMQ's user may not read.
const RULES: &str = "
databases:
  local: { url: 'sqlite:rows.db' }
rules:
  - { name: readings, topic: sensors/+/+/telemetry, qos: QOS, table: readings, create: true, columns: COLUMNS }
  - { name: device, topic: 'sensors/{site}/device7/+', qos: QOS, table: device, create: true, columns: COLUMNS }
  - { name: switch, topic: sensors/+/switch/state, qos: QOS, table: switch, create: true, columns: { state: { from: payload.state, type: text } } }
";
const FORBIDDEN: &str = "
  - { name: forbidden, topic: private/+, qos: QOS, table: forbidden, create: true, columns: COLUMNS }
";
const COLUMNS: &str = "{ id: { from: payload.id, type: bigint }, temp: { from: payload.temp, type: double } }";

enum Broker {
    RabbitMq(RabbitMq),
    HiveMq(HiveMq),
}

/// One way to use one broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Case {
    broker: &'static str,
    version: &'static str,
    qos: u8,
}

const CASES: [Case; 4] = [
    Case { broker: "RabbitMQ", version: "3.1.1", qos: 1 },
    Case { broker: "HiveMQ", version: "5", qos: 2 },
    Case { broker: "HiveMQ", version: "3.1.1", qos: 2 },
    Case { broker: "HiveMQ", version: "5", qos: 1 },
];

#[derive(Default)]
struct Figures {
    messages: u64,
    kills: u64,
    broker_restarts: u64,
    repeated_at_qos_1: u64,
    lost_by_the_broker: u64,
}

impl Broker {
    fn start(case: Case) -> Option<Broker> {
        match case.broker {
            "RabbitMQ" => RabbitMq::start().map(Broker::RabbitMq),
            _ => HiveMq::start().map(Broker::HiveMq),
        }
    }

    fn port(&self) -> u16 {
        match self {
            Broker::RabbitMq(broker) => broker.port(),
            Broker::HiveMq(broker) => broker.port(),
        }
    }

    fn restart(&mut self) {
        match self {
            Broker::RabbitMq(broker) => {
                broker.stop();
                broker.restart();
            }
            Broker::HiveMq(broker) => {
                broker.stop();
                broker.restart();
            }
        }
    }
}

impl Case {
    fn bridge(self, port: u16) -> Bridge {
        let is_rabbitmq = self.broker == "RabbitMQ";
        let user = if is_rabbitmq { ", username: bridge, password: bridge" } else { "" };
        let keys = format!("version: {}, retry: {{ min: 50ms, max: 500ms }}{user}", self.version);
        let rules = format!("{RULES}{}", if is_rabbitmq { FORBIDDEN } else { "" });
        let rules = rules.replace("QOS", &self.qos.to_string()).replace("COLUMNS", COLUMNS);
        Bridge::with_mqtt(port, &keys, &rules)
    }

    /// Publishes everything while bridge and broker go down again and again, and checks what is stored in the end.
    fn take_round(self, broker: &mut Broker, seed: u64, figures: &mut Figures) {
        let mut random = Random::new(seed);
        let proxy = Proxy::to(broker.port());
        proxy.record();
        let mut bridge = self.bridge(proxy.port());
        bridge.start();
        wait_subscribed(&mut bridge);
        for part in 0..PARTS {
            let messages = MESSAGES / PARTS;
            let load = Load::new(broker.port(), self.qos, messages).numbered_from(part * messages).per_second(RATE);
            let load = load.made_by(message).start();
            while !load.is_finished() {
                std::thread::sleep(Duration::from_millis(random.within(20, 900)));
                bridge.kill();
                bridge.spawn();
                figures.kills += 1;
            }
            load.finish();
            broker.restart();
            figures.broker_restarts += 1;
        }
        bridge.wait_ready();
        let unsent = self.wait_readings(&bridge, &proxy);
        if unsent.is_empty() {
            bridge.wait_rows("switch", EQUAL_MESSAGES);
        }
        wait_subscribed(&mut bridge);
        self.assert_stored(&mut bridge, &unsent, figures);
        figures.lost_by_the_broker += unsent.len() as u64;
        figures.messages += MESSAGES;
        assert!(bridge.stop().success());
    }

    /// Waits for every reading. Returns those that the broker has acknowledged to their publisher and never sent to the
    /// bridge; any other that does not come is the bridge's loss.
    fn wait_readings(self, bridge: &Bridge, proxy: &Proxy) -> BTreeSet<u64> {
        let deadline = Instant::now() + PATIENCE;
        while count(&bridge.rows(), "(SELECT DISTINCT id FROM readings)") < MESSAGES - EQUAL_MESSAGES {
            if Instant::now() >= deadline {
                let missing = missing(bridge);
                let is_sent = |id: &u64| proxy.has_heard(format!("\"id\":{id},").as_bytes());
                let (sent, unsent): (BTreeSet<u64>, BTreeSet<u64>) = missing.into_iter().partition(is_sent);
                assert!(
                    sent.is_empty(),
                    "{self:?}: {sent:?} were sent and are not stored, and {unsent:?} were not sent"
                );
                // HiveMQ was seen to lose what it had in flight when it was ended: 50 messages at most.
                assert!(unsent.len() as u64 <= IN_FLIGHT * PARTS, "{self:?}: {unsent:?} were not sent");
                return unsent;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        BTreeSet::new()
    }

    fn assert_stored(self, bridge: &mut Bridge, unsent: &BTreeSet<u64>, figures: &mut Figures) {
        bridge.wait_drained("local");
        let place = format!("{self:?}");
        let ids = |table: &str| column::<i64>(&bridge.rows(), &format!("SELECT id FROM {table}"));
        let unsent = || unsent.iter().map(|id| id.cast_signed());
        // Counted without the equal messages before it, and which of the device's messages it is.
        let readings = Tally::of(
            ids("readings").into_iter().chain(unsent()).map(|id| id - (id + 6) / 10),
            0..MESSAGES - EQUAL_MESSAGES,
        );
        let unsent_of_device = unsent().filter(|id| id % 50 == DEVICE.cast_signed());
        let device = ids("device").into_iter().chain(unsent_of_device).map(|id| {
            assert_eq!(id % 50, DEVICE.cast_signed(), "{place}: {id} is another device's");
            id / 50
        });
        let device = Tally::of(device, 0..MESSAGES / 50);
        let equal = count(&bridge.rows(), "switch");
        // Of those one cannot tell which are missing.
        let is_short = equal < EQUAL_MESSAGES && unsent().next().is_some();
        assert!(
            equal == EQUAL_MESSAGES || self.qos == 1 && equal > EQUAL_MESSAGES || is_short,
            "{place}: {equal} equal messages"
        );
        for tally in [&readings, &device] {
            match self.qos {
                2 => tally.assert_each_once(&place),
                _ => tally.assert_none_lost(&place),
            }
        }
        figures.repeated_at_qos_1 += readings.repeated() as u64;
        let values = "SELECT count(*) FROM readings WHERE temp IS NOT id % 40 + 0.25";
        assert_eq!(value::<i64>(&bridge.rows(), values), 0, "{place}: wrong values");
        let status = bridge.status();
        assert_eq!(status["mqtt"]["sessions_lost"], 0, "{place}: {status}");
    }
}

/// The readings that are not stored.
fn missing(bridge: &Bridge) -> BTreeSet<u64> {
    let stored: BTreeSet<i64> = column(&bridge.rows(), "SELECT id FROM readings").into_iter().collect();
    (0..MESSAGES).filter(|id| id % 10 != EQUAL && !stored.contains(&id.cast_signed())).collect()
}

fn message(number: u64) -> (String, Vec<u8>) {
    match number % 10 {
        EQUAL => ("sensors/hall/switch/state".to_owned(), br#"{"state":"ON"}"#.to_vec()),
        _ => reading(number),
    }
}

/// Every filter is granted, or told as one that the broker will not have.
fn wait_subscribed(bridge: &mut Bridge) {
    bridge.wait_alive("the broker has answered for every filter", |bridge| {
        let status = bridge.status();
        let subscriptions = status["mqtt"]["subscriptions"].as_array()?;
        let is_answered = |known: &serde_json::Value| {
            let is_forbidden = known["filter"].as_str().is_some_and(|filter| filter.starts_with("private/"));
            known["qos_granted"].is_number() != is_forbidden && known["error"].is_string() == is_forbidden
        };
        (!subscriptions.is_empty() && subscriptions.iter().all(is_answered)).then_some(())
    });
}

#[test]
fn other_makers_brokers_lose_nothing_while_they_and_the_bridge_go_down() {
    let mut campaign = Campaign::begin("brokers", 0);
    if campaign.rounds() == 0 {
        println!("brokers: only in the nightly and release tiers of scripts/prove");
        return;
    }
    let mut figures: BTreeMap<Case, Figures> = BTreeMap::new();
    while let Some(seed) = campaign.next_seed() {
        let case = CASES[((seed - 1) % CASES.len() as u64) as usize];
        let Some(mut broker) = Broker::start(case) else {
            println!(
                "SKIPPED {}: it is not installed (scripts/install-tools rabbitmq-server, scripts/fetch-hivemq)",
                case.broker
            );
            continue;
        };
        println!("seed {seed}: {case:?}");
        case.take_round(&mut broker, seed, figures.entry(case).or_default());
    }
    assert!(!figures.is_empty(), "none of the brokers is installed");
    for (case, Figures { messages, kills, broker_restarts, repeated_at_qos_1, lost_by_the_broker }) in &figures {
        println!(
            "{case:?}: {messages} messages, {kills} kills, {broker_restarts} restarts, {repeated_at_qos_1} repeated, \
             {lost_by_the_broker} lost by the broker"
        );
    }
    let sum = |figure: fn(&Figures) -> u64| figures.values().map(figure).sum::<u64>();
    campaign.proved(&[
        ("messages", sum(|figures| figures.messages)),
        ("kills", sum(|figures| figures.kills)),
        ("broker_restarts", sum(|figures| figures.broker_restarts)),
        ("lost", 0),
        ("lost_by_the_broker", sum(|figures| figures.lost_by_the_broker)),
        ("repeated_at_qos_2", 0),
        ("repeated_at_qos_1", sum(|figures| figures.repeated_at_qos_1)),
    ]);
}
