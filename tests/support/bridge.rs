//! The real binary as a child process, with a folder, a configuration and an HTTP port of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::http::{Response, Scrape, get};
use super::mosquitto::append;
use super::process::Process;
use super::publisher::client_id;
use super::{free_port, wait_for};

/// Bytes of the log that a failing test shows.
const LOG_TAIL: usize = 12_000;

/// A bridge. Killed when it goes out of scope; shows the end of its log if the test has failed.
pub(crate) struct Bridge {
    folder: TempDir,
    http: u16,
    process: Option<Process>,
    environment: Vec<(String, String)>,
    /// A program, with its arguments, that starts the daemon in its own place.
    wrapper: Vec<String>,
}

/// The rule that most scenarios need: the readings of [`super::publisher::reading`] into a SQLite table.
pub(crate) const READINGS: &str = "
databases:
  local: { url: 'sqlite:rows.db' }
rules:
  - name: readings
    topic: sensors/{site}/{device}/telemetry
    qos: QOS
    table: readings
    create: true
    columns:
      id: { from: payload.id, type: bigint }
      site: topic.site
      device: topic.device
      temp: { from: payload.temp, type: double }
      received: received_at
";

/// [`READINGS`] at a quality of service.
pub(crate) fn readings(qos: u8) -> String {
    READINGS.replace("QOS", &qos.to_string())
}

impl Bridge {
    /// A bridge to the broker at `port`, not yet started. `body` is the configuration without `mqtt`, `data_dir` and
    /// `http`; a relative path in it is relative to the bridge's folder.
    pub(crate) fn new(port: u16, body: &str) -> Bridge {
        Bridge::with_mqtt(port, "", body)
    }

    /// As [`Bridge::new`], with further keys of `mqtt`, as in `version: 3.1.1, receive_maximum: 20`; they may replace
    /// `url` and `client_id`.
    pub(crate) fn with_mqtt(port: u16, keys: &str, body: &str) -> Bridge {
        let mut parts = vec![keys.to_owned()];
        if !keys.contains("url") {
            parts.push(format!("url: 'mqtt://127.0.0.1:{port}'"));
        }
        if !keys.contains("client_id") {
            parts.push(format!("client_id: {}", client_id("bridge")));
        }
        parts.retain(|part| !part.is_empty());
        let mqtt = format!("mqtt: {{ {} }}\n", parts.join(", "));
        let http = free_port();
        let mut bridge = Bridge::bare(&format!("{mqtt}data_dir: data\nhttp: {{ listen: '127.0.0.1:{http}' }}\n{body}"));
        bridge.http = http;
        bridge
    }

    /// With exactly this file, for tests of the configuration itself.
    pub(crate) fn bare(text: &str) -> Bridge {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("bridge.yaml"), text).unwrap();
        Bridge { folder, http: 0, process: None, environment: Vec::new(), wrapper: Vec::new() }
    }

    pub(crate) fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Has the daemon started by `program ARGUMENTS`, which must become it: a tracer that detaches, `env`, `nice`. With an
    /// empty list it is started by itself again.
    pub(crate) fn start_by(&mut self, wrapper: Vec<String>) {
        self.wrapper = wrapper;
    }

    pub(crate) fn unset_environment(&mut self, name: &str) {
        self.environment.retain(|(known, _)| known != name);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("bridge.yaml")
    }

    /// Replaces text in the configuration, which must be there.
    #[track_caller]
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.config()).unwrap();
        assert!(text.contains(from), "the configuration does not contain {from:?}:\n{text}");
        std::fs::write(self.config(), text.replace(from, to)).unwrap();
    }

    /// The default SQLite file of [`READINGS`].
    pub(crate) fn rows(&self) -> PathBuf {
        self.path("rows.db")
    }

    /// Runs `rowbridge ARGUMENTS -c FILE` to its end.
    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        self.prepare(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// Starts the daemon without waiting for anything.
    pub(crate) fn spawn(&mut self) {
        assert!(self.process.is_none(), "the bridge runs already");
        let log = append(&self.path("log"));
        let mut command = self.prepare(&["run"]);
        if let Some((program, arguments)) = self.wrapper.split_first() {
            let inner = std::mem::replace(&mut command, Command::new(program));
            command.args(arguments).arg(inner.get_program()).args(inner.get_args()).current_dir(self.folder.path());
            for (name, value) in inner.get_envs() {
                match value {
                    Some(value) => command.env(name, value),
                    None => command.env_remove(name),
                };
            }
        }
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.process = Some(Process::new(child));
    }

    /// Starts the daemon and returns once it takes messages.
    #[track_caller]
    pub(crate) fn start(&mut self) {
        self.spawn();
        self.wait_ready();
    }

    #[track_caller]
    pub(crate) fn wait_ready(&mut self) {
        self.wait_alive("the bridge becomes ready", |bridge| {
            bridge.get("/readyz").is_some_and(|response| response.status == 200).then_some(())
        });
    }

    /// Asks `question` until it answers, and fails at once if the daemon ends meanwhile.
    #[track_caller]
    pub(crate) fn wait_alive<T>(&mut self, what: &str, mut question: impl FnMut(&Bridge) -> Option<T>) -> T {
        wait_for(what, || {
            let ended = self.process.as_mut().expect("the bridge was started").ended();
            assert!(ended.is_none(), "the bridge ended with {ended:?} while the test waited: {what}");
            question(self)
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().expect("the bridge runs").id()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.take().expect("the bridge runs").kill();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("the bridge runs").signal(signal);
    }

    /// SIGTERM, and the exit status.
    #[track_caller]
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_ended()
    }

    /// The exit status, if it has ended of its own accord since it was started.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.process.as_mut()?.ended()?;
        self.process = None;
        Some(status)
    }

    /// Waits for the end of its own accord.
    #[track_caller]
    pub(crate) fn wait_ended(&mut self) -> ExitStatus {
        let status = self.process.as_mut().expect("the bridge runs").wait(Duration::from_secs(30));
        let status = status.expect("the bridge ends within 30 s");
        self.process = None;
        status
    }

    /// `None` while nobody answers.
    pub(crate) fn get(&self, path: &str) -> Option<Response> {
        get(self.http, path).ok()
    }

    pub(crate) fn http_port(&self) -> u16 {
        self.http
    }

    /// `/status`, or `Null` while nobody answers.
    pub(crate) fn status(&self) -> Value {
        self.get("/status").and_then(|response| serde_json::from_str(&response.body).ok()).unwrap_or(Value::Null)
    }

    #[track_caller]
    pub(crate) fn metrics(&self) -> Scrape {
        Scrape::new(self.get("/metrics").expect("the bridge answers /metrics").body)
    }

    /// How many messages the journal has taken, over all its life.
    pub(crate) fn journaled(&self) -> u64 {
        journaled(self.http)
    }

    /// Waits until that database is connected and holds everything that the journal holds.
    #[track_caller]
    pub(crate) fn wait_drained(&mut self, database: &str) {
        self.wait_alive(&format!("{database} holds everything"), |bridge| {
            let status = bridge.status();
            (status["databases"][database]["pending"] == 0 && status["databases"][database]["connected"] == true)
                .then_some(())
        });
    }

    /// Waits until `expected` rows are in `table` of the SQLite file, however many messages they took.
    #[track_caller]
    pub(crate) fn wait_rows(&mut self, table: &str, expected: u64) {
        let what = format!("{expected} rows in {table}");
        self.wait_alive(&what, |bridge| (super::oracle::count(&bridge.rows(), table) >= expected).then_some(()));
    }

    /// Waits until every number of the range is in column `id` of the SQLite table.
    #[track_caller]
    pub(crate) fn wait_ids(&mut self, table: &str, count: u64) {
        let what = format!("{count} different ids in {table}");
        let distinct = format!("(SELECT DISTINCT id FROM {table})");
        self.wait_alive(&what, |bridge| (super::oracle::count(&bridge.rows(), &distinct) >= count).then_some(()));
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Time from the start of the process to its being ready.
    #[track_caller]
    pub(crate) fn start_timed(&mut self) -> Duration {
        let begin = Instant::now();
        self.spawn();
        while self.get("/readyz").is_none_or(|response| response.status != 200) {
            assert!(begin.elapsed() < super::PATIENCE, "the bridge does not become ready");
            std::thread::sleep(Duration::from_millis(1));
        }
        begin.elapsed()
    }

    pub(crate) fn prepare(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowbridge"));
        for (name, _) in std::env::vars() {
            let ours = name.starts_with("ROWBRIDGE_") || name.starts_with("PG");
            if ours || matches!(name.as_str(), "CREDENTIALS_DIRECTORY" | "STATE_DIRECTORY" | "NOTIFY_SOCKET") {
                command.env_remove(name);
            }
        }
        command.args(arguments).arg("-c").arg(self.config()).current_dir(self.folder.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        if std::thread::panicking() && Path::new(&self.path("log")).exists() {
            let log = self.log();
            let start = (log.len().saturating_sub(LOG_TAIL)..log.len()).find(|&at| log.is_char_boundary(at));
            println!("--- status ---\n{}", self.status());
            println!("--- the end of the bridge's log ---\n{}", &log[start.unwrap_or(0)..]);
        }
    }
}

/// How many messages the bridge at that HTTP port has journaled; 0 while nobody answers.
pub(crate) fn journaled(http: u16) -> u64 {
    let status = get(http, "/status").ok().and_then(|response| serde_json::from_str::<Value>(&response.body).ok());
    status.and_then(|status| status["journal"]["next_seq"].as_u64()).map_or(0, |next| next - 1)
}
