//! `mosquitto_sub` as a reader of what the bridge publishes: one line a message.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::mosquitto::append;
use super::process::{Process, program};
use super::publisher::client_id;
use super::wait_for;

/// Reads a topic filter until it goes out of scope.
pub(crate) struct Subscriber {
    folder: TempDir,
    _process: Process,
}

impl Subscriber {
    /// Returns once the broker has granted the subscription. `format` is `mosquitto_sub`'s `-F`, such as `%t %p`.
    pub(crate) fn start(port: u16, filter: &str, format: &str) -> Subscriber {
        // Mosquitto 2.0.11 exceeds the default of 20, which its own client takes for an error.
        let window = ["-D", "connect", "receive-maximum", "5000"];
        Subscriber::with(port, filter, &[&["-V", "5", "-F", format][..], &window].concat())
    }

    /// With these arguments of `mosquitto_sub` besides address, filter and QoS 2.
    pub(crate) fn with(port: u16, filter: &str, arguments: &[&str]) -> Subscriber {
        let folder = TempDir::new().unwrap();
        let log = append(&folder.path().join("log"));
        let child = Command::new("stdbuf")
            .arg("-oL")
            .arg(program("mosquitto_sub"))
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-i", &client_id("subscriber"), "-q", "2", "-d"])
            .args(["-t", filter])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let subscriber = Subscriber { folder, _process: Process::new(child) };
        wait_for("the subscription is granted", || subscriber.log().contains("Subscribed (").then_some(()));
        subscriber
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path()).unwrap_or_default()
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What has come so far, one line a message.
    pub(crate) fn lines(&self) -> Vec<String> {
        let log = self.log();
        // `-d` shows the packets as well.
        let is_packet = |line: &&str| line.starts_with("Client ") || line.starts_with("Subscribed (");
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        whole.lines().filter(|line| !is_packet(line)).map(str::to_owned).collect()
    }

    /// Waits for so many messages at least.
    #[track_caller]
    pub(crate) fn wait_for(&self, count: usize) -> Vec<String> {
        wait_for("the messages come", || Some(self.lines()).filter(|lines| lines.len() >= count))
    }
}
