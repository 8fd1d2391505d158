//! A private HiveMQ Community Edition, as `scripts/fetch-hivemq` has fetched it; stopped and restarted at will.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::mosquitto::append;
use super::process::{Process, program};
use super::{free_port, wait_within};

/// A virtual machine starts slowly where others compute.
const STARTS_WITHIN: Duration = Duration::from_secs(240);

/// The broker. Stopped when it goes out of scope.
pub(crate) struct HiveMq {
    folder: TempDir,
    port: u16,
    process: Option<Process>,
    starts: usize,
}

/// What HiveMq.java says then.
const STARTED: &str = "all of HiveMQ has started";

impl HiveMq {
    /// With a queue so deep that it never drops. `None` if it was not fetched.
    pub(crate) fn start() -> Option<HiveMq> {
        if !fetched().join("classes/HiveMq.class").is_file() {
            return None;
        }
        let mut broker = HiveMq { folder: TempDir::new().unwrap(), port: free_port(), process: None, starts: 0 };
        for name in ["conf", "data", "extensions"] {
            std::fs::create_dir(broker.folder.path().join(name)).unwrap();
        }
        let configuration = format!(
            "<hivemq>
  <listeners>
    <tcp-listener><port>{}</port><bind-address>127.0.0.1</bind-address></tcp-listener>
  </listeners>
  <mqtt><queued-messages><max-queue-size>100000</max-queue-size></queued-messages></mqtt>
  <persistence><mode>file</mode></persistence>
  <anonymous-usage-statistics><enabled>false</enabled></anonymous-usage-statistics>
</hivemq>
",
            broker.port
        );
        std::fs::write(broker.folder.path().join("conf/config.xml"), configuration).unwrap();
        broker.restart();
        Some(broker)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// SIGTERM: sessions and queues are saved.
    pub(crate) fn stop(&mut self) {
        let mut process = self.process.take().expect("the broker runs");
        process.signal(Signal::TERM);
        assert!(process.wait(Duration::from_secs(60)).is_some(), "HiveMQ does not end");
    }

    /// Starts it on the same port and returns once it has begun all its work; it accepts connections earlier.
    pub(crate) fn restart(&mut self) {
        assert!(self.process.is_none(), "the broker runs already");
        let log = append(&self.folder.path().join("log"));
        let fetched = fetched();
        let child = Command::new(program("java"))
            .arg("-Xmx512m")
            .arg("-cp")
            .arg(format!("{0}/lib/*:{0}/classes", fetched.display()))
            .arg("HiveMq")
            .arg(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let process = self.process.insert(Process::new(child));
        let log = self.folder.path().join("log");
        wait_within(STARTS_WITHIN, "HiveMQ has started", || {
            let told = std::fs::read_to_string(&log).unwrap_or_default();
            if let Some(status) = process.ended() {
                panic!("HiveMQ ended with {status}: {told}");
            }
            (told.matches(STARTED).count() > self.starts).then_some(())
        });
        self.starts += 1;
    }
}

fn fetched() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/brokers/hivemq")
}
