//! One run of the bridge: the parts that `app.rs` connects, without its threads.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::sync::watch;

use super::actor::{Actor, Alarm};
use super::database::Server;
use super::messages::PACKET_BYTES_MAX;
use super::random::Random;
use super::sink::SimSink;
use crate::config::{self, Config, Durability, LoadRequest, MqttVersion};
use crate::delivery::{RuleSet, RuleSets, Setup, SharedState, Worker};
use crate::journal::{Journal, JournalHandle, OpenError, SimFs, Step, Writer};
use crate::message::Qos;
use crate::shutdown::{self, ShutdownTrigger};
use crate::source::{self, SourceStatus, Subscriptions, SubscriptionsFile};
use crate::telemetry::Metrics;

/// What the rules subscribe to.
pub(super) const FILTERS: [&str; 2] = ["t/#", "d/#"];

pub(super) struct Process {
    pub(super) number: u64,
    pub(super) handle: JournalHandle<SimFs>,
    pub(super) metrics: Arc<Metrics>,
    /// Once stopped it is gone.
    pub(super) writer: Option<Writer<SimFs>>,
    /// The session first, then each database's worker.
    pub(super) actors: Vec<Actor>,
    stop_source: ShutdownTrigger,
    stop_delivery: ShutdownTrigger,
    plans: watch::Sender<Subscriptions>,
    sets: RuleSets,
}

impl Process {
    pub(super) fn begin(
        number: u64,
        fs: &SimFs,
        config: &Config,
        servers: &[Arc<Mutex<Server>>],
        alarm: &Arc<Alarm>,
    ) -> Result<Process, OpenError> {
        let metrics = Arc::new(Metrics::new());
        let databases = config.databases.len();
        // In memory it is another one each time.
        let journal_fs = if is_delivered(config) { SimFs::new(number) } else { fs.clone() };
        let journal = Journal::open(journal_fs, &config.data_dir, &config.journal, databases, Arc::clone(&metrics))?;
        let (handle, intake, writer) = journal.into_parts();
        let file = SubscriptionsFile::new(fs.clone(), config.data_dir.clone());
        let plan = Subscriptions::plan(config.mqtt.version, &config.rules, file.load());
        let set = RuleSet::new(1, config, plan.identifiers(), plan.retired());
        let (sets, rules) = watch::channel(Arc::new(set));
        let (stop_source, source_shutdown) = shutdown::channel();
        let (stop_delivery, delivery_shutdown) = shutdown::channel();
        let (plan_sender, plan) = watch::channel(plan);
        let session = source::run(
            config.mqtt.clone(),
            plan,
            file,
            intake,
            Arc::new(SourceStatus::default()),
            Arc::clone(&metrics),
            source_shutdown,
        );
        let mut actors = vec![Actor::new(alarm, session)];
        for (index, server) in servers.iter().enumerate() {
            let setup = Setup {
                sink: SimSink::new(server, number, config.rules.iter().any(|rule| rule.routing.is_some())),
                bridge: Arc::clone(&config.bridge),
                database: config.databases[index].clone(),
                index,
                rules: rules.clone(),
                data_dir: config.data_dir.clone(),
                journal: handle.clone(),
                state: Arc::new(SharedState::default()),
                metrics: Arc::clone(&metrics),
                answers: None,
                shutdown: delivery_shutdown.clone(),
            };
            actors.push(Actor::new(alarm, Worker::new(setup).run()));
        }
        let writer = Some(writer);
        Ok(Process { number, handle, metrics, writer, actors, stop_source, stop_delivery, plans: plan_sender, sets })
    }

    /// One turn of the writer; false if there was nothing to do.
    pub(super) fn write(&mut self) -> bool {
        let Some(writer) = &mut self.writer else { return false };
        match writer.step() {
            Step::Worked => true,
            Step::Idle(_) | Step::Blocked(_) => false,
            Step::Stopped => {
                self.writer = None;
                true
            }
        }
    }

    /// What a reload does once the file is found good: the rules first, then what to subscribe to.
    pub(super) fn publish(&self, config: &Config) {
        let version = self.sets.borrow().version + 1;
        let plan = self.plans.borrow().replan(config.mqtt.version, &config.rules);
        self.sets.send_replace(Arc::new(RuleSet::new(version, config, plan.identifiers(), plan.retired())));
        self.plans.send_replace(plan);
    }

    pub(super) fn stop_source(&self) {
        self.stop_source.fire();
    }

    pub(super) fn stop_rest(&self) {
        self.handle.stop();
        self.stop_delivery.fire();
    }

    pub(super) fn is_over(&self) -> bool {
        self.writer.is_none() && self.actors.iter().all(Actor::is_done)
    }

    /// The journal and the session are gone, and the workers do not know it yet.
    pub(super) fn behead(&mut self) {
        self.writer = None;
        self.actors.remove(0);
    }
}

/// A bridge with one or two databases; the second takes the topics under `t/` only. A message gives several rows, in one
/// table or, if it names them, each in another.
fn base_config(databases: usize, names_tables: bool) -> &'static Config {
    static CONFIGS: [OnceLock<Config>; 4] = [const { OnceLock::new() }; 4];
    CONFIGS[databases - 1 + 2 * usize::from(names_tables)].get_or_init(|| {
        let columns = "columns: { seq: journal.seq, n: { from: payload.n, type: bigint, required: true }, \
                       topic: topic, pad: { from: payload.pad, type: text }, part: { from: item, type: bigint }, \
                       extra: { from: payload.extra, type: bigint } }";
        let table = if names_tables { "'t{item}', tables: ['t*']" } else { "t" };
        let several = format!("for_each: payload.parts, table: {table}, mode: upsert, key: [seq, part]");
        let mut text =
            "mqtt: { url: 'mqtt://broker:1883', client_id: sim }\nbridge: sim\ndata_dir: data\ndatabases:\n".to_owned();
        for index in 0..databases {
            text += &format!("  db{index}: {{ url: 'sqlite:db{index}' }}\n");
        }
        text += "rules:\n";
        for (index, topics) in ["['t/#', 'd/#']", "'t/#'"].iter().enumerate().take(databases) {
            text += &format!("  - {{ topic: {topics}, database: db{index}, {several}, {columns} }}\n");
        }
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("bridge.yaml");
        std::fs::write(&file, text).unwrap();
        let request = LoadRequest::from_process(Some(file), Vec::new());
        config::load(&request).unwrap_or_else(|report| panic!("{report}"))
    })
}

/// Whether acknowledgements wait for the databases.
pub(super) fn is_delivered(config: &Config) -> bool {
    config.journal.durability == Durability::Delivered
}

/// The configuration of one world.
pub(super) fn config(random: &mut Random) -> Config {
    let mut config = base_config(if random.once_in(3) { 2 } else { 1 }, random.once_in(2)).clone();
    config.mqtt.version = random.pick(&[MqttVersion::V3, MqttVersion::V5]);
    config.mqtt.max_packet_size = PACKET_BYTES_MAX;
    if random.once_in(4) {
        config.journal.durability = Durability::Delivered;
    }
    config.journal.segment_size = random.pick(&[1024, 4096, 20_000]);
    config.journal.max_size = random.pick(&[12, 200]) * config.journal.segment_size;
    config.journal.sync_interval = Duration::from_millis(random.pick(&[0, 10, 250]));
    config.journal.keep = random.pick(&[Duration::ZERO, Duration::from_secs(20), KEEP_LONG]);
    let qos = random.pick(&[Qos::AtLeastOnce, Qos::ExactlyOnce, Qos::ExactlyOnce]);
    for rule in &mut config.rules {
        Arc::make_mut(rule).qos = qos;
    }
    for database in &mut config.databases {
        database.batch.max_rows = random.pick(&[1, 3, 10, 100]);
        database.batch.max_wait = Duration::from_millis(random.pick(&[0, 5, 1000]));
    }
    config
}

/// Longer than any world lasts: nothing that a database may lack is trimmed, unless room is short.
pub(super) const KEEP_LONG: Duration = Duration::from_secs(30 * 86_400);
