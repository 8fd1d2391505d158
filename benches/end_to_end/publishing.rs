//! Rows of a table to the broker at QoS 1: `publish` of the bridge, against `psql -c 'copy …' | mosquitto_pub -l` and the same
//! with the sqlite3 shell.
//!
//! The bridge is running when one transaction inserts the rows, and its time begins at the end of that transaction; the pipe's
//! begins with its processes. Both end when the broker has acknowledged the last row. A subscriber keeps what comes, and shows
//! afterwards that every row came once.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tempfile::TempDir;

use super::bench::{Bench, Result, wait_until};
use super::bridge::{Bridge, Setup};
use super::mosquitto::Mosquitto;
use super::report::{Figures, Report};
use super::store::{Engine, Store};
use super::support::process::{Process, program};
use super::usage::{Meter, ServerMeter, cpu_seconds, cpu_seconds_of_ended_children};

pub(crate) const NAME: &str = "both ways: rows to MQTT";
/// What the triggers cost those who write.
const INSERTING: &str = "both ways: INSERT of the rows";
/// `mosquitto_pub -l` takes the end of its input for reached when a packet identifier comes back: after 65,535 messages.
const PIPE_ROWS_MAX: u64 = 60_000;
/// Between two questions how far the bridge is.
const ASK: Duration = Duration::from_millis(20);
/// Between two looks at what the subscriber has.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Until `mosquitto_sub` has subscribed. If it had not, rows would be missing.
const SUBSCRIBING: Duration = Duration::from_millis(500);

/// Who brings the rows to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Bridge,
    Pipe,
}

/// What is published of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// The row as JSON, all on one topic: what the pipe can do.
    Rows,
    /// With its offset, on a topic of its device: the default.
    Envelopes,
}

pub(crate) const MEASURED: [(Way, Load); 3] =
    [(Way::Bridge, Load::Rows), (Way::Pipe, Load::Rows), (Way::Bridge, Load::Envelopes)];

impl Way {
    pub(crate) fn subject(self, engine: Engine) -> String {
        match (self, engine) {
            (Way::Bridge, _) => format!("rowbridge from {}", engine.name()),
            (Way::Pipe, Engine::Postgres) => "psql copy into mosquitto_pub -l".to_owned(),
            (Way::Pipe, Engine::Sqlite) => "sqlite3 into mosquitto_pub -l".to_owned(),
        }
    }
}

impl Load {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Load::Rows => "rows, one topic",
            Load::Envelopes => "with offsets, 100 topics",
        }
    }

    fn entry(self) -> &'static str {
        match self {
            Load::Rows => "publish:\n  - { table: telemetry, topic: out/rows, format: row }\n",
            Load::Envelopes => "publish:\n  - { table: telemetry, topic: 'out/{row.device}' }\n",
        }
    }
}

pub(crate) fn measure(
    bench: &Bench,
    engine: Engine,
    way: Way,
    load: Load,
    round: u32,
    report: &mut Report,
) -> Result<()> {
    let rows = bench.sized(200_000, 20_000);
    let place = Place::make(bench, engine)?;
    let (inserting, publishing) = match way {
        Way::Bridge => place.publish(bench, load, rows)?,
        Way::Pipe => place.pipe(bench, rows.min(PIPE_ROWS_MAX))?,
    };
    let triggers = if way == Way::Bridge { "with the triggers of `publish`" } else { "without" };
    if load == Load::Rows {
        report.add(INSERTING, &format!("into {}", engine.name()), triggers, round, inserting);
    }
    report.add(NAME, &way.subject(engine), load.name(), round, publishing);
    Ok(())
}

/// A broker, a subscriber and an empty table.
struct Place {
    store: Store,
    subscriber: Subscriber,
    broker: Mosquitto,
    folder: TempDir,
}

impl Place {
    fn make(bench: &Bench, engine: Engine) -> Result<Place> {
        let folder = bench.folder()?;
        let broker = Mosquitto::start(bench)?;
        let subscriber = Subscriber::start(&folder, broker.port)?;
        let store = Store::create(engine, bench, folder.path());
        let place = Place { store, subscriber, broker, folder };
        place.run(match engine {
            Engine::Postgres => {
                "CREATE TABLE telemetry (n bigint PRIMARY KEY, ts timestamptz, device text, temp float8, hum float8, \
                 press float8, volt float8, rssi int, ok bool, mode text)"
            }
            // The journal mode that the bridge sets stays with the file.
            Engine::Sqlite => {
                "PRAGMA journal_mode = WAL; CREATE TABLE telemetry (n INTEGER PRIMARY KEY, ts TIMESTAMP, device TEXT, \
                 temp DOUBLE, hum DOUBLE, press DOUBLE, volt DOUBLE, rssi INTEGER, ok BOOLEAN, mode TEXT)"
            }
        })?;
        Ok(place)
    }

    fn run(&self, sql: &str) -> Result<()> {
        match &self.store {
            Store::Sqlite(path) => Ok(Connection::open(path)?.execute_batch(sql)?),
            Store::Postgres { server, database } => {
                server.psql(database, sql);
                Ok(())
            }
        }
    }

    /// How many the bridge has made.
    fn triggers(&self) -> Result<u64> {
        match &self.store {
            Store::Sqlite(path) => {
                let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'";
                Ok(Connection::open(path)?.query_row(sql, [], |row| row.get::<_, i64>(0))?.unsigned_abs())
            }
            Store::Postgres { server, database } => {
                Ok(server.psql(database, "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal").parse()?)
            }
        }
    }

    /// One transaction; how long it took.
    fn insert(&self, rows: u64) -> Result<Figures> {
        let sql = match &self.store {
            Store::Postgres { .. } => format!(
                "INSERT INTO telemetry SELECT n, timestamptz '2026-01-01 00:00Z' + n * interval '1 ms', \
                 'device-' || lpad((n % 100)::text, 2, '0'), 10.25 + n % 80, 48.5, 1013.25, 3.301, -(50 + n % 40), true, 'auto' \
                 FROM generate_series(1, {rows}) n"
            ),
            Store::Sqlite(_) => format!(
                "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {rows}) INSERT INTO telemetry \
                 SELECT n, strftime('%Y-%m-%dT%H:%M:%fZ', 1767225600 + n / 1000.0, 'unixepoch'), \
                 printf('device-%02d', n % 100), 10.25 + n % 80, 48.5, 1013.25, 3.301, -(50 + n % 40), 1, 'auto' FROM s"
            ),
        };
        let begun = Instant::now();
        self.run(&sql)?;
        let seconds = begun.elapsed().as_secs_f64();
        let mut figures = Figures::default();
        figures.put("messages_per_second", rows as f64 / seconds);
        figures.put("seconds", seconds);
        Ok(figures)
    }

    fn server_meter(&self) -> Result<Option<ServerMeter>> {
        let Store::Postgres { server, .. } = &self.store else { return Ok(None) };
        let main = server.main_process().ok_or("Postgres does not run")?;
        Ok(Some(ServerMeter::of_all(main)?))
    }

    fn publish(self, bench: &Bench, load: Load, rows: u64) -> Result<(Figures, Figures)> {
        let sections = load.entry().to_owned();
        let setup = Setup { patterns: Vec::new(), sections, ..Setup::into_store(&self.store) };
        let mut bridge = Bridge::start(bench, self.folder.path(), self.broker.port, &setup)?;
        bridge.wait_ready()?;
        wait_until(1, ASK, || {
            bridge.check()?;
            self.triggers()
        })?;
        bench.settle();
        let meter = Meter::start(bridge.pid())?;
        let inserting = self.insert(rows)?;

        let server = self.server_meter()?;
        let broker_before = cpu_seconds(self.broker.pid())?;
        let begun = Instant::now();
        wait_until(rows, ASK, || {
            bridge.check()?;
            let published = bridge.status()?["publish"][0]["published"].as_u64();
            Ok(published.ok_or("the status shows no publication")?)
        })
        .map_err(|error| format!("{error}; the bridge's log:\n{}", bridge.log()))?;
        let mut figures = Figures::default();
        figures.put("messages_per_second", rows as f64 / begun.elapsed().as_secs_f64());
        meter.read(rows, &mut figures)?;
        if let Some(server) = server {
            server.read(rows, &mut figures)?;
        }
        self.put_brokers(broker_before, rows, &mut figures)?;
        self.subscriber.check(rows)?;
        bridge.stop()?;
        Ok((inserting, figures))
    }

    fn pipe(self, bench: &Bench, rows: u64) -> Result<(Figures, Figures)> {
        let inserting = self.insert(rows)?;
        bench.settle();
        let server = self.server_meter()?;
        let broker_before = cpu_seconds(self.broker.pid())?;
        let ended_before = cpu_seconds_of_ended_children()?;
        let begun = Instant::now();
        let mut reader = self.reader()?;
        let rows_out = reader.stdout.take().ok_or("its output is a pipe")?;
        let mut publisher = Command::new(program("mosquitto_pub"))
            .args(["-h", "127.0.0.1", "-p", &self.broker.port.to_string(), "-q", "1", "-t", "out/rows", "-l"])
            .stdin(rows_out)
            .stdout(Stdio::null())
            .spawn()?;
        let (read, published) = (reader.wait()?, publisher.wait()?);
        let seconds = begun.elapsed().as_secs_f64();
        if !read.success() || !published.success() {
            return Err(format!("the pipe failed: {read}, {published}").into());
        }
        let mut figures = Figures::default();
        figures.put("messages_per_second", rows as f64 / seconds);
        let used = cpu_seconds_of_ended_children()? - ended_before;
        figures.put("cpu_us_per_message", used * 1e6 / rows as f64);
        if let Some(server) = server {
            server.read(rows, &mut figures)?;
        }
        self.put_brokers(broker_before, rows, &mut figures)?;
        self.subscriber.check(rows)?;
        Ok((inserting, figures))
    }

    /// The program that writes each row as a line of JSON.
    fn reader(&self) -> Result<Child> {
        let mut command = match &self.store {
            Store::Postgres { server, database } => {
                let mut command = Command::new(program("psql"));
                command.args(["-X", "-q", "-d", &server.url(database)]);
                command.args(["-c", "COPY (SELECT row_to_json(t) FROM telemetry t) TO STDOUT"]);
                command
            }
            Store::Sqlite(path) => {
                let mut command = Command::new(program("sqlite3"));
                command.arg("-readonly").arg(path).arg(
                    "SELECT json_object('n', n, 'ts', ts, 'device', device, 'temp', temp, 'hum', hum, 'press', press, \
                     'volt', volt, 'rssi', rssi, 'ok', json(iif(ok, 'true', 'false')), 'mode', mode) FROM telemetry",
                );
                command
            }
        };
        Ok(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?)
    }

    fn put_brokers(&self, before: f64, rows: u64, figures: &mut Figures) -> Result<()> {
        let used = cpu_seconds(self.broker.pid())? - before;
        figures.put("broker_cpu_us_per_message", used * 1e6 / rows as f64);
        Ok(())
    }
}

/// `mosquitto_sub > file`.
struct Subscriber {
    _process: Process,
    lines: PathBuf,
}

impl Subscriber {
    fn start(folder: &TempDir, broker: u16) -> Result<Subscriber> {
        let lines = folder.path().join("lines");
        let child = Command::new(program("mosquitto_sub"))
            .args(["-h", "127.0.0.1", "-p", &broker.to_string(), "-q", "1", "-t", "out/#"])
            .stdin(Stdio::null())
            .stdout(File::create(&lines)?)
            .spawn()?;
        std::thread::sleep(SUBSCRIBING);
        Ok(Subscriber { _process: Process::new(child), lines })
    }

    /// An error if not every row from 1 on has come, or one has come twice.
    fn check(&self, rows: u64) -> Result<()> {
        let mut text = String::new();
        wait_until(rows, LOOK_AGAIN, || {
            text = std::fs::read_to_string(&self.lines)?;
            Ok(text.bytes().filter(|byte| *byte == b'\n').count() as u64)
        })?;
        let mut seen = vec![false; rows as usize];
        for line in text.lines() {
            let number = line.split_once(r#""n":"#).and_then(|(_, rest)| rest.split(',').next()?.parse::<usize>().ok());
            match number.and_then(|n| n.checked_sub(1)) {
                Some(place) if seen.get(place) == Some(&false) => seen[place] = true,
                _ => return Err(format!("it came twice, or is no row of the table: {line}").into()),
            }
        }
        Ok(())
    }
}
