//! A private Mosquitto, with nothing of it on disk.

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::bench::{Bench, Result};
use super::support::free_port;
use super::support::process::{Process, program};

/// How long it may take to start.
const START_WAIT: Duration = Duration::from_secs(10);

/// Mosquitto with its defaults (20 in flight), except that its queue has no end: 2.0.11 was seen to drop messages for a
/// full queue of 1,000 when no more than 200 were under way. The publisher keeps the queue short.
pub(crate) struct Mosquitto {
    process: Process,
    pub(crate) port: u16,
    _folder: TempDir,
}

impl Mosquitto {
    pub(crate) fn start(bench: &Bench) -> Result<Mosquitto> {
        let folder = bench.folder()?;
        let port = free_port();
        let configuration = folder.path().join("mosquitto.conf");
        let lines = [
            &format!("listener {port} 127.0.0.1"),
            "allow_anonymous true",
            "max_queued_messages 0",
            // A log would count as bytes written, by which the publisher paces itself.
            "log_dest none",
        ];
        std::fs::write(&configuration, lines.join("\n") + "\n")?;
        let child = Command::new(program("mosquitto"))
            .arg("-c")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let broker = Mosquitto { process: Process::new(child), port, _folder: folder };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if begun.elapsed() > START_WAIT {
                return Err("Mosquitto does not accept connections".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(broker)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}
