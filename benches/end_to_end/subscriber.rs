//! Those who subscribe behind the same broker: the bridge, and what else people use. All end with this process.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::bench::{Bench, Result};
use super::bridge::{Bridge, Setup};
use super::load::{EVERY_TOPIC, FIRST_NUMBER, PAYLOAD_LEN};
use super::mosquitto::Mosquitto;
use super::publisher::Publisher;
use super::store::{Engine, Question, Reader, Store};
use super::support::process::{Process, program};
use super::usage::ServerMeter;

/// How long a subscriber may take until the first message is through.
const FIRST_WAIT: Duration = Duration::from_secs(20);
/// Until all of the first messages are where they go.
const PROBES_COME: Duration = Duration::from_millis(500);
const PYTHON_SCRIPT: &str = include_str!("peers/python_script.py");
const TELEGRAF: &str = include_str!("peers/telegraf.conf");
const MQ_BRIDGE: &str = include_str!("peers/mq_bridge_route.py");
const TABLE: &str = "CREATE TABLE telemetry (time timestamptz, device text, n bigint, ts timestamptz, temp float8, \
                     hum float8, press float8, volt float8, rssi int, ok bool, mode text)";
/// As mq-bridge can fill it: without the topic, and with the milliseconds as they come.
const TABLE_OF_MQ_BRIDGE: &str = "CREATE TABLE telemetry (time timestamptz DEFAULT now(), device text, n bigint, \
                                  ts bigint, temp float8, hum float8, press float8, volt float8, rssi int, ok bool, \
                                  mode text)";
/// The largest number that a loader has written: it lies in one of the last pages.
const NEWEST: &str = "SELECT coalesce(max(n)::bigint, 0) FROM telemetry WHERE ctid >= \
                      (SELECT format('(%s,0)', greatest(pg_relation_size('telemetry') / 8192 - 200, 0))::tid)";

/// Who subscribes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The bridge with the default configuration.
    Rowbridge(Engine),
    /// With `durability: delivered` into Postgres: like the other programs it acknowledges after the commit and keeps no
    /// journal on a disk.
    Delivered,
    /// `mosquitto_sub -q 1 > file`: no journal, no parsing, no database, no sync.
    MosquittoSub,
    /// `peers/python_script.py`, into Postgres.
    PythonScript,
    /// Telegraf with `peers/telegraf.conf`, into Postgres.
    Telegraf,
    /// mq-bridge with `peers/mq_bridge_route.py`, into Postgres.
    MqBridge,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Rowbridge(Engine::Sqlite) => "rowbridge into SQLite",
            Kind::Rowbridge(Engine::Postgres) => "rowbridge into Postgres",
            Kind::Delivered => "rowbridge into Postgres, delivered",
            Kind::MosquittoSub => "mosquitto_sub > file",
            Kind::PythonScript => "Python: paho and psycopg COPY",
            Kind::Telegraf => "Telegraf into Postgres",
            Kind::MqBridge => "mq-bridge into Postgres",
        }
    }
}

/// A running subscriber.
pub(crate) struct Subscriber {
    process: Running,
    output: Output,
    /// What was there before the measurement.
    before: u64,
    folder: TempDir,
}

enum Running {
    Bridge(Bridge),
    Other(Process),
}

/// Where the messages end up.
enum Output {
    Lines(PathBuf),
    Rows {
        reader: Reader,
        store: Store,
    },
    /// A table that another program fills.
    Table {
        newest: Question,
        store: Store,
    },
}

impl Subscriber {
    pub(crate) fn start(kind: Kind, bench: &Bench, broker: u16) -> Result<Subscriber> {
        let folder = bench.folder()?;
        let log = File::create(folder.path().join("log"))?;
        let mut command = match kind {
            Kind::Rowbridge(engine) => return Subscriber::start_bridge(engine, bench, broker, |_| {}),
            Kind::Delivered => {
                let adjust = |setup: &mut Setup| setup.journal_keys = "durability: delivered".to_owned();
                return Subscriber::start_bridge(Engine::Postgres, bench, broker, adjust);
            }
            Kind::MosquittoSub => {
                let mut command = Command::new(program("mosquitto_sub"));
                command.args(["-h", "127.0.0.1", "-p", &broker.to_string(), "-i", "sub", "-q", "1", "-t", EVERY_TOPIC]);
                command.stdout(File::create(folder.path().join("lines"))?);
                command
            }
            Kind::PythonScript | Kind::MqBridge => {
                let (python, text) = match kind {
                    Kind::MqBridge => (&bench.mq_bridge, MQ_BRIDGE),
                    _ => (&bench.python, PYTHON_SCRIPT),
                };
                let script = folder.path().join("script.py");
                std::fs::write(&script, text)?;
                let mut command = Command::new(python.as_ref().ok_or("no Python")?);
                command.arg(script).arg(broker.to_string()).stdout(log.try_clone()?);
                command
            }
            Kind::Telegraf => {
                let mut command = Command::new(bench.telegraf.as_ref().ok_or("no Telegraf")?);
                command.arg("--config").arg(folder.path().join("telegraf.conf")).stdout(log.try_clone()?);
                command
            }
        };
        let output = match kind {
            Kind::MosquittoSub => Output::Lines(folder.path().join("lines")),
            _ => {
                let store = Store::create(Engine::Postgres, bench, folder.path());
                let Store::Postgres { server, database } = &store else { unreachable!("the engine is Postgres") };
                if kind == Kind::Telegraf {
                    let text = TELEGRAF.replace("BROKER", &broker.to_string()).replace("POSTGRES", &store.url());
                    std::fs::write(folder.path().join("telegraf.conf"), text)?;
                } else {
                    server.psql(database, if kind == Kind::MqBridge { TABLE_OF_MQ_BRIDGE } else { TABLE });
                    command.arg(store.url());
                }
                Output::Table { newest: Question::ask(server, database, NEWEST)?, store }
            }
        };
        bench.settle();
        let child = command.current_dir(folder.path()).stdin(Stdio::null()).stderr(log).spawn()?;
        Ok(Subscriber { process: Running::Other(Process::new(child)), output, before: 0, folder })
    }

    /// The bridge with this adjustment of the default configuration.
    pub(crate) fn start_bridge(
        engine: Engine,
        bench: &Bench,
        broker: u16,
        adjust: impl FnOnce(&mut Setup),
    ) -> Result<Subscriber> {
        let folder = bench.folder()?;
        let store = Store::create(engine, bench, folder.path());
        let reader = store.reader()?;
        let mut setup = Setup::into_store(&store);
        adjust(&mut setup);
        bench.settle();
        let bridge = Bridge::start(bench, folder.path(), broker, &setup)?;
        Ok(Subscriber { process: Running::Bridge(bridge), output: Output::Rows { reader, store }, before: 0, folder })
    }

    /// The bridge, if it is one.
    pub(crate) fn bridge(&self) -> Option<&Bridge> {
        match &self.process {
            Running::Bridge(bridge) => Some(bridge),
            Running::Other(_) => None,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        match &self.process {
            Running::Bridge(bridge) => bridge.pid(),
            Running::Other(process) => process.id(),
        }
    }

    /// Begins to measure the server of the database, where there is one.
    pub(crate) fn server_meter(&self) -> Result<Option<ServerMeter>> {
        let (store, asker) = match &self.output {
            Output::Lines(_) => return Ok(None),
            Output::Rows { reader, store } => (store, reader.process()),
            Output::Table { newest, store } => (store, Some(newest.process())),
        };
        let (Store::Postgres { server, .. }, Some(asker)) = (store, asker) else { return Ok(None) };
        let main = server.main_process().ok_or("Postgres does not run")?;
        Ok(Some(ServerMeter::start(main, asker)?))
    }

    /// How many messages have reached their end since [`Subscriber::connect`]: a committed row, or a line in the file.
    pub(crate) fn taken(&mut self) -> u64 {
        match &mut self.output {
            // One look at the size: a line has its end too.
            Output::Lines(path) => {
                std::fs::metadata(path).map_or(0, |file| file.len() / (PAYLOAD_LEN as u64 + 1)) - self.before
            }
            Output::Rows { reader, .. } => reader.delivered() - self.before,
            Output::Table { newest, .. } => {
                let newest = newest.answer().map_or(0, i64::unsigned_abs);
                (newest + 1).saturating_sub(FIRST_NUMBER)
            }
        }
    }

    /// As [`Subscriber::taken`], but counted one by one.
    pub(crate) fn count(&mut self) -> Result<u64> {
        match &self.output {
            Output::Lines(_) => Ok(self.taken()),
            Output::Rows { store, .. } | Output::Table { store, .. } => Ok(store.rows()? - self.before),
        }
    }

    /// Where the bridge's rows are.
    pub(crate) fn store(&self) -> Option<&Store> {
        match &self.output {
            Output::Rows { store, .. } => Some(store),
            Output::Lines(_) | Output::Table { .. } => None,
        }
    }

    /// What it logged, for a measurement that failed.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// A publisher to it, calibrated, once the first message has come out at the other end.
    pub(crate) fn connect(&mut self, broker: &Mosquitto) -> Result<Publisher> {
        let mut publisher = Publisher::connect(broker.port, broker.pid())?;
        let begun = Instant::now();
        while self.taken() == 0 {
            if begun.elapsed() > FIRST_WAIT {
                return Err(format!("nothing arrives; the log:\n{}", self.log()).into());
            }
            publisher.probe()?;
            std::thread::sleep(Duration::from_millis(50));
        }
        // Of the probes, those before the subscription never come.
        std::thread::sleep(PROBES_COME);
        let calibrated = self.count()? + publisher.calibrate()?;
        while self.count()? < calibrated {
            if begun.elapsed() > FIRST_WAIT {
                return Err(format!("the first messages do not arrive; the log:\n{}", self.log()).into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.before = self.count()?;
        Ok(publisher)
    }
}
