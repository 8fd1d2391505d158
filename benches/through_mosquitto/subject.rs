//! What is measured: a private Mosquitto, and the two that subscribe to it. All end with this process.

use std::fs::File;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

/// How long a program may take to start.
const START_WAIT: Duration = Duration::from_secs(10);
const PROGRAM_PLACES: [&str; 4] = ["/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin"];

const RULE_COLUMNS: &str = "
      time:   received_at
      device: topic.device
      n:      { from: payload.n, type: bigint }
      ts:     { from: payload.ts, time: ms }
      temp:   { from: payload.temp, type: double }
      hum:    { from: payload.hum, type: double }
      press:  { from: payload.press, type: double }
      volt:   { from: payload.volt, type: double }
      rssi:   { from: payload.rssi, type: int }
      ok:     { from: payload.ok, type: bool }
      mode:   { from: payload.mode, type: text }
";

/// A child process that is killed when it goes out of scope.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Mosquitto with its defaults (20 in flight, nothing on disk), except that its queue has no end: 2.0.11 was seen to drop
/// messages for a full queue of 1,000 when no more than 200 were under way. The publisher keeps the queue short.
pub(super) struct Broker {
    running: Running,
    pub(super) port: u16,
    _directory: TempDir,
}

impl Broker {
    pub(super) fn start() -> io::Result<Broker> {
        let directory = scratch()?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let configuration = directory.path().join("mosquitto.conf");
        let lines = [
            &format!("listener {port} 127.0.0.1"),
            "allow_anonymous true",
            "max_queued_messages 0",
            // A log would count as bytes written, by which the publisher paces itself.
            "log_dest none",
        ];
        std::fs::write(&configuration, lines.join("\n") + "\n")?;
        let child = Command::new(program("mosquitto")?)
            .arg("-c")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let broker = Broker { running: Running(child), port, _directory: directory };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if begun.elapsed() > START_WAIT {
                return Err(io::Error::other("Mosquitto does not accept connections"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(broker)
    }

    pub(super) fn pid(&self) -> u32 {
        self.running.0.id()
    }
}

/// Who subscribes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The bridge into SQLite, with the default configuration.
    Rowbridge,
    /// `mosquitto_sub -q 1 > file`: no journal, no parsing, no database, no sync.
    MosquittoSub,
}

impl Kind {
    pub(super) const ALL: [Kind; 2] = [Kind::Rowbridge, Kind::MosquittoSub];

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Rowbridge => "rowbridge",
            Kind::MosquittoSub => "mosquitto_sub",
        }
    }
}

/// A running subscriber.
pub(super) struct Subject {
    running: Running,
    /// Where the messages end up.
    output: Output,
    directory: TempDir,
}

enum Output {
    Lines(PathBuf),
    Rows(PathBuf),
}

impl Subject {
    pub(super) fn start(kind: Kind, rowbridge: &Path, broker: u16) -> io::Result<Subject> {
        let directory = scratch()?;
        let log = File::create(directory.path().join("log"))?;
        let (mut command, output) = match kind {
            Kind::Rowbridge => {
                let configuration = directory.path().join("bridge.yaml");
                std::fs::write(&configuration, bridge_yaml(broker))?;
                let mut command = Command::new(rowbridge);
                command.arg("run").arg("-c").arg(configuration).stdout(log.try_clone()?);
                (command, Output::Rows(directory.path().join("rows.db")))
            }
            Kind::MosquittoSub => {
                let lines = directory.path().join("lines");
                let mut command = Command::new(program("mosquitto_sub")?);
                let port = broker.to_string();
                command.args(["-h", "127.0.0.1", "-p", &port, "-i", "sub", "-q", "1", "-t", "bench/#"]);
                command.stdout(File::create(&lines)?);
                (command, Output::Lines(lines))
            }
        };
        let child = command.current_dir(directory.path()).stdin(Stdio::null()).stderr(log).spawn()?;
        Ok(Subject { running: Running(child), output, directory })
    }

    pub(super) fn pid(&self) -> u32 {
        self.running.0.id()
    }

    /// How many messages have reached their end: a committed row, or a line in the file.
    pub(super) fn taken(&self) -> u64 {
        match &self.output {
            Output::Lines(path) => {
                // One look at the size: a payload has 190 bytes, its line one more.
                std::fs::metadata(path).map_or(0, |metadata| metadata.len() / 191)
            }
            // The table is not there before the bridge is.
            Output::Rows(path) => Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
                .and_then(|database| {
                    database.query_row("SELECT coalesce(max(rowid), 0) FROM telemetry", [], |row| row.get::<_, i64>(0))
                })
                .map_or(0, i64::unsigned_abs),
        }
    }

    /// What it logged, for a measurement that failed.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

fn bridge_yaml(broker: u16) -> String {
    format!(
        "mqtt:\n  url: mqtt://127.0.0.1:{broker}\n  client_id: bridge\n\
         databases:\n  local: {{ url: 'sqlite:rows.db' }}\n\
         rules:\n  - topic: bench/{{site}}/{{device}}/telemetry\n    table: telemetry\n    create: true\n    columns:\
         {RULE_COLUMNS}\nhttp: off\n"
    )
}

/// Under cargo's target directory: on a disk, not in memory.
fn scratch() -> io::Result<TempDir> {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))
}

fn program(name: &str) -> io::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(PROGRAM_PLACES.map(PathBuf::from))
        .map(|place| place.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| io::Error::other(format!("{name} is not installed (Debian: mosquitto, mosquitto-clients)")))
}
