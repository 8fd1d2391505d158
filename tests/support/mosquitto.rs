//! A private Mosquitto: its own folder, its own port, its own configuration; killed and restarted at will.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::File;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::process::{Process, program};
use super::{free_port, wait_for};

/// Enough that the broker never drops for want of queue: for tests about something else.
pub(crate) const DEEP_QUEUE: &str = "max_queued_messages 0\n";

/// Queues and sessions on disk, as on Debian. Saved on every change, so that even SIGKILL loses little.
pub(crate) const PERSISTENT: &str = "persistence true\nautosave_on_changes true\nautosave_interval 1\n";

/// The broker. Stopped when it goes out of scope.
pub(crate) struct Mosquitto {
    folder: TempDir,
    port: u16,
    process: Option<Process>,
}

impl Mosquitto {
    /// With Mosquitto's defaults: 20 in flight, a queue of 1,000, nothing on disk.
    pub(crate) fn start() -> Mosquitto {
        Mosquitto::with("")
    }

    /// With further lines of `mosquitto.conf`, which come before the listener and may hold listeners of their own.
    /// `FOLDER` in them stands for the broker's own folder.
    pub(crate) fn with(lines: &str) -> Mosquitto {
        Mosquitto::with_files(lines, &[])
    }

    /// As [`Mosquitto::with`], with certificates or password files beside it, named `FOLDER/NAME` in the lines.
    pub(crate) fn with_files(lines: &str, files: &[(&str, String)]) -> Mosquitto {
        let mut broker = Mosquitto { folder: TempDir::new().unwrap(), port: free_port(), process: None };
        let folder = broker.folder.path().display().to_string();
        let mut text = lines.replace("FOLDER", &folder);
        if !text.contains("allow_anonymous") {
            text.push_str("allow_anonymous true\n");
        }
        writeln!(text, "persistence_location {folder}/").unwrap();
        // Started by root, Mosquitto would become a user who may not write to the folder.
        // Its log on standard output comes in blocks, in a file line by line.
        writeln!(text, "user root\nlog_type all\nlog_dest file {folder}/log").unwrap();
        writeln!(text, "listener {} 127.0.0.1", broker.port).unwrap();
        std::fs::write(broker.path("mosquitto.conf"), text).unwrap();
        for (name, content) in files {
            std::fs::write(broker.path(name), content).unwrap();
        }
        broker.restart();
        broker
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the broker wrote, for tests about what the bridge sent.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// How often clients whose id begins so were sent a QoS 2 PUBLISH again after its PUBREL and before its PUBCOMP came,
    /// against MQTT. A restarted Mosquitto does so, and a client that does not know yet how it numbers stores the message
    /// again.
    pub(crate) fn published_after_release(&self, client: &str) -> u64 {
        let mut released = HashSet::new();
        let mut count = 0;
        for line in self.log().lines() {
            // The client's name, and the number behind the mark.
            let packet = |what: &str, mark: &str| {
                let (name, rest) = line.split_once(what)?.1.split_once(' ')?;
                let digits = rest.split_once(mark)?.1.split(|c: char| !c.is_ascii_digit()).next()?;
                name.starts_with(client).then(|| (name.to_owned(), digits.to_owned()))
            };
            if let Some(id) = packet("Sending PUBREL to ", "(m") {
                released.insert(id);
            } else if let Some(id) = packet("Received PUBCOMP from ", "(Mid: ") {
                released.remove(&id);
            } else if let Some(id) = packet("Sending PUBLISH to ", "(d1, q2, r0, m") {
                count += u64::from(released.contains(&id));
            }
        }
        count
    }

    /// SIGTERM: with persistence, everything is saved.
    pub(crate) fn stop(&mut self) {
        let mut process = self.process.take().expect("the broker runs");
        process.signal(Signal::TERM);
        assert!(process.wait(Duration::from_secs(20)).is_some(), "Mosquitto does not end");
    }

    /// Has it read its password and access files again.
    pub(crate) fn read_again(&self) {
        self.process.as_ref().expect("the broker runs").signal(Signal::HUP);
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.take().expect("the broker runs").kill();
    }

    /// Starts it on the same port and returns once it accepts.
    pub(crate) fn restart(&mut self) {
        assert!(self.process.is_none(), "the broker runs already");
        let log = append(&self.path("log"));
        let child = Command::new(program("mosquitto"))
            .arg("-c")
            .arg(self.path("mosquitto.conf"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let process = self.process.insert(Process::new(child));
        let port = self.port;
        let log = self.folder.path().join("log");
        wait_for("Mosquitto accepts connections", || {
            if let Some(status) = process.ended() {
                panic!("Mosquitto ended with {status}: {}", std::fs::read_to_string(&log).unwrap_or_default());
            }
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
    }
}

/// A file to write on at its end.
pub(crate) fn append(path: &Path) -> File {
    File::options().create(true).append(true).open(path).unwrap()
}
