//! One bridge with its database and a publisher, and the questions asked of them.

use std::os::unix::process::ExitStatusExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::database::{Database, Engine, SHARED_DATABASE, fillers};
use super::message::{Promise, check, distinct, message};
use super::random::Random;
use crate::support::bridge::Bridge;
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto, PERSISTENT};
use crate::support::mqtt::{Connection, Outgoing, Version, release};
use crate::support::postgres::{Postgres, PostgresOptions};
use crate::support::publisher::client_id;
use crate::support::{PATIENCE, wait_for};

const VARIABLE: &str = "ROWBRIDGE_CRASH_AT";

/// Messages in one burst at most: Mosquitto takes 20 unfinished ones of QoS 2 from a client.
const BURST_MAX: u64 = 20;

/// Between two looks at a bridge that is about to do something.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What all rounds share.
pub(crate) struct Services {
    pub(crate) broker: Mosquitto,
    pub(crate) postgres: Arc<Postgres>,
}

impl Services {
    pub(crate) fn start() -> Services {
        Services::with("")
    }

    /// Services that keep everything when they are ended and started again.
    pub(crate) fn start_lasting() -> Services {
        Services::with(PERSISTENT)
    }

    fn with(lines: &str) -> Services {
        // A process that is killed takes nothing of the file cache with it, so syncs would prove nothing.
        let postgres = Postgres::start_with(PostgresOptions { fsync: false, ..PostgresOptions::default() });
        postgres.psql("postgres", &format!("CREATE DATABASE {SHARED_DATABASE}"));
        Services { broker: Mosquitto::with(&format!("{DEEP_QUEUE}{lines}")), postgres: Arc::new(postgres) }
    }
}

/// What a round is about.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) engine: Engine,
    pub(crate) qos: u8,
    /// `journal.durability: delivered`.
    pub(crate) is_delivered: bool,
    pub(crate) segment_kib: u64,
    pub(crate) journal_kib: u64,
    /// Keys of the database beside its address.
    pub(crate) database_keys: &'static str,
    /// Rows of so many columns that on Postgres they go by COPY, however few they are.
    pub(crate) is_wide: bool,
}

/// A bridge on its way, and what it was given.
pub(crate) struct Round {
    pub(crate) bridge: Bridge,
    pub(crate) database: Arc<Database>,
    pub(crate) promise: Promise,
    pub(crate) random: Random,
    client_id: String,
    broker: u16,
    configuration: String,
    publisher: Option<Connection>,
    /// Deaths by SIGKILL, our own and those at crash points.
    pub(crate) kills: u64,
}

/// What a bridge was seen to do first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    Died,
    Ready,
}

impl Round {
    pub(crate) fn new(services: &Services, plan: &Plan, random: Random) -> Round {
        let client_id = client_id("kill");
        let place = format!("kills/{client_id}");
        let Plan { qos, segment_kib, journal_kib, database_keys, .. } = plan;
        let fillers: String = fillers(plan.is_wide).map(|name| format!(", {name}: journal.seq")).collect();
        let durability = if plan.is_delivered { "delivered" } else { "commit" };
        let configuration = format!(
            "bridge: {client_id}
shutdown_grace: 1s
journal: {{ durability: {durability}, segment_size: {segment_kib}KiB, max_size: {journal_kib}KiB, keep: 0s }}
databases:
  target: {{ ADDRESS{database_keys} }}
rules:
  - name: readings
    topic: {place}/{{device}}
    qos: {qos}
    table: readings
    columns: {{ seq: journal.seq, id: payload.id, device: topic.device, temp: payload.temp{fillers} }}
"
        );
        // A SQLite file lies in the bridge's own folder, which is not there yet.
        let keys = format!("client_id: {client_id}");
        let bridge = Bridge::with_mqtt(services.broker.port(), &keys, &configuration);
        let database = match plan.engine {
            Engine::Sqlite => Database::Sqlite { file: bridge.rows() },
            Engine::Postgres => {
                let schema = client_id.replace('-', "_");
                Database::Postgres { server: Arc::clone(&services.postgres), schema }
            }
        };
        database.prepare(plan.is_wide);
        bridge.edit("ADDRESS", &database.entry());
        let configuration = configuration.replace("ADDRESS", &database.entry());
        Round {
            bridge,
            database: Arc::new(database),
            promise: Promise {
                place,
                published: 0..0,
                qos: plan.qos,
                lost_by_broker_below: 0,
                repeats_excused: 0,
                is_renumbered: plan.is_delivered,
                forgets_qos_2: plan.is_delivered,
            },
            random,
            client_id,
            broker: services.broker.port(),
            configuration,
            publisher: None,
            kills: 0,
        }
    }

    /// A second instance: another process with this one's configuration and a copy of its data, which no broker feeds.
    pub(crate) fn second_instance(&self) -> Bridge {
        // Nobody listens on port 1.
        let second = Bridge::with_mqtt(1, &format!("client_id: {}", self.client_id), &self.configuration);
        copy_folder(&self.bridge.path("data"), &second.path("data"));
        second
    }

    /// Starts the bridge, to die at `point` (`name:passage:cut`) if one is given.
    pub(crate) fn spawn(&mut self, point: Option<&str>) {
        self.bridge.unset_environment(VARIABLE);
        if let Some(point) = point {
            self.bridge.set_environment(VARIABLE, point);
        }
        self.bridge.spawn();
    }

    /// SIGKILL from outside.
    pub(crate) fn kill(&mut self) {
        self.bridge.kill();
        self.kills += 1;
    }

    /// Waits until the bridge takes messages or has died at `point`.
    pub(crate) fn wait_ready_or_dead(&mut self, point: Option<&str>) -> Seen {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.has_died_at(point) {
                return Seen::Died;
            }
            if self.bridge.get("/readyz").is_some_and(|answer| answer.status == 200) {
                return Seen::Ready;
            }
            assert!(Instant::now() < deadline, "the bridge neither becomes ready nor dies");
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Starts the bridge without a crash point and waits until it takes messages.
    pub(crate) fn start(&mut self) {
        self.spawn(None);
        self.wait_ready_or_dead(None);
    }

    /// Whether the bridge has died, which it may do by SIGKILL and at `point` only.
    pub(crate) fn has_died_at(&mut self, point: Option<&str>) -> bool {
        let Some(status) = self.bridge.ended() else { return false };
        let Some(point) = point else { panic!("the bridge ended with {status} and nobody killed it") };
        let name = point.split(':').next().unwrap_or_default();
        let log = self.bridge.log();
        let told = log.lines().rfind(|line| line.starts_with("crash point "));
        assert_eq!(
            (status.signal(), told),
            (Some(Signal::KILL.as_raw()), Some(format!("crash point {name}").as_str())),
            "the bridge did not die by SIGKILL at its crash point"
        );
        self.kills += 1;
        true
    }

    /// Publishes a burst and returns once the broker has it.
    pub(crate) fn publish_burst(&mut self) {
        let count = if self.random.once_in(3) { 1 } else { self.random.within(2, BURST_MAX) };
        self.publish(count);
    }

    /// Publishes `count` messages, at most [`BURST_MAX`].
    pub(crate) fn publish(&mut self, count: u64) {
        let qos = self.promise.qos;
        let first = self.promise.published.end;
        let publisher = self.publisher.get_or_insert_with(|| {
            Connection::open(self.broker, Version::V3, &format!("{}-publisher", self.client_id), true).unwrap()
        });
        let mut bytes = Vec::new();
        for (id, packet_id) in (first..first + count).zip(1..) {
            let (topic, payload) = message(&self.promise.place, id);
            let outgoing = Outgoing { topic, payload: payload.into_bytes(), qos, ..Outgoing::default() };
            bytes.extend(publisher.publish_packet(&outgoing, packet_id, false));
        }
        publisher.send(&bytes).unwrap();
        let mut open = count;
        while open > 0 {
            let packet = publisher.receive(PATIENCE).unwrap().expect("the broker acknowledges");
            match packet.first {
                0x50 => publisher.send(&release(packet.id())).unwrap(),
                0x40 | 0x70 => open -= 1,
                other => panic!("unexpected packet {other:#x}"),
            }
        }
        self.promise.published.end += count;
    }

    /// A short silence, or none.
    pub(crate) fn pause(&mut self) {
        let micros = self.random.within(0, 6_000);
        std::thread::sleep(Duration::from_micros(micros));
    }

    /// Bursts and pauses, `count` messages at least, unless the bridge dies at `point` before.
    pub(crate) fn publish_until_dead(&mut self, count: u64, point: Option<&str>) -> Seen {
        let end = self.promise.published.end + count;
        while self.promise.published.end < end {
            self.publish_burst();
            self.pause();
            if self.has_died_at(point) {
                return Seen::Died;
            }
        }
        Seen::Ready
    }

    /// Waits until nothing waits for the database, or the bridge dies at its point.
    pub(crate) fn has_written_or_died(&mut self, point: &str) -> Seen {
        wait_for("the bridge catches up or dies", || {
            if self.has_died_at(Some(point)) {
                return Some(Seen::Died);
            }
            let status: Value = serde_json::from_str(&self.bridge.get("/status")?.body).ok()?;
            (status["databases"]["target"]["pending"] == 0).then_some(Seen::Ready)
        })
    }

    /// Waits until the database holds all that was published, and the bridge says so.
    pub(crate) fn wait_drained(&mut self) {
        let wanted = (self.promise.published.end - self.promise.lost_by_broker_below) as usize;
        let mut distinct_found = 0;
        let begun = Instant::now();
        loop {
            assert!(!self.has_died_at(None));
            let status = self.bridge.status();
            let target = &status["databases"]["target"];
            if target["pending"] == 0 && target["connected"] == true {
                distinct_found = distinct(&self.database.found(), &self.promise);
                if distinct_found >= wanted {
                    self.check_status(&status);
                    return;
                }
            }
            assert!(
                begun.elapsed() < PATIENCE / 3,
                "the database holds {distinct_found} of {wanted} messages and nothing more comes: {status}"
            );
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Closed accounting.
    fn check_status(&self, status: &Value) {
        let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("no number in {status}"));
        let target = &status["databases"]["target"];
        let (end, next_seq) = (number(&status["journal"]["next_seq"]), number(&target["next_seq"]));
        assert_eq!(end, next_seq + number(&target["pending"]), "journal and database do not add up: {status}");
        let rule = &status["rules"][0];
        let outcomes = ["written", "filtered", "dead_lettered", "dropped"].iter().map(|name| number(&rule[name]));
        assert_eq!(number(&rule["matched"]), outcomes.sum::<u64>(), "the rule does not add up: {status}");
        assert_eq!(number(&status["unmatched"]), 0, "messages fell beside the rule: {status}");
        assert_eq!(status["databases"]["target"]["held"], Value::Null, "{status}");
    }

    /// Stops the bridge in order and checks the database; returns how many messages came twice.
    pub(crate) fn finish(&mut self) -> u64 {
        self.wait_drained();
        let status = self.bridge.stop();
        assert!(status.success(), "the bridge stopped with {status}");
        check(&self.database.found(), &self.promise)
    }

    /// As [`Round::finish`]; at QoS 2, what Mosquitto repeated against MQTT may be there twice, once for each time that its
    /// log shows. It does so when it was restarted, or when reconnects follow each other quickly.
    pub(crate) fn finish_beside(&mut self, broker: &Mosquitto) -> u64 {
        self.wait_drained();
        let found = self.database.found();
        if self.promise.qos == 2 && found.kept.len() > distinct(&found, &self.promise) {
            self.promise.repeats_excused = broker.published_after_release(&self.client_id);
        }
        self.finish()
    }

    /// The broker forgets this client's session, as one does whose state is lost. The bridge must be away.
    pub(crate) fn discard_session(&mut self) {
        let connection = Connection::open(self.broker, Version::V3, &self.client_id, true).unwrap();
        drop(connection);
        self.promise.lost_by_broker_below = self.promise.published.end;
    }

    /// The journal's newest segment.
    pub(crate) fn newest_segment(&self) -> std::path::PathBuf {
        let folder = std::fs::read_dir(self.bridge.path("data/journal")).unwrap();
        let segments = folder.map(|entry| entry.unwrap().path());
        segments.filter(|path| path.extension().is_some_and(|extension| extension == "seg")).max().unwrap()
    }

    /// Whether the newest segment holds any of the messages that the journal has.
    pub(crate) fn newest_segment_holds_messages(&self) -> bool {
        let path = self.newest_segment();
        let base: u64 = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok()).unwrap();
        self.bridge.status()["journal"]["next_seq"].as_u64().unwrap() > base
    }

    /// Waits until the journal has taken all that was published.
    pub(crate) fn wait_journaled(&self) {
        wait_for("everything is in the journal", || {
            (self.bridge.journaled() >= self.promise.published.end).then_some(())
        });
    }
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}
