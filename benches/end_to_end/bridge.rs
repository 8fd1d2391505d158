//! The bridge under measurement: the release binary, its configuration and its folder.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::bench::{Bench, Result, STALLED};
use super::load;
use super::store::Store;
use super::support::free_port;
use super::support::http::get;
use super::support::process::Process;

/// What is not the default of the configuration.
pub(crate) struct Setup {
    pub(crate) database_url: String,
    /// The rules' topic patterns; all write into one table.
    pub(crate) patterns: Vec<String>,
    pub(crate) qos: u8,
    /// Where the rules write to, and how.
    pub(crate) writing: Writing,
    /// Keys of the database, such as `batch`.
    pub(crate) database_keys: String,
    /// Keys of the journal.
    pub(crate) journal_keys: String,
    /// Further sections of the configuration.
    pub(crate) sections: String,
}

/// The keys of a rule that tell where its rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writing {
    /// One table without a key.
    Insert,
    /// One table, whose key is the message's number.
    Upsert,
    /// The tables of [`load::tables`].
    Template,
}

impl Writing {
    fn keys(self) -> &'static str {
        match self {
            Writing::Insert => "    table: telemetry\n    create: true\n",
            Writing::Upsert => "    table: telemetry\n    create: true\n    mode: upsert\n    key: [n]\n",
            Writing::Template => {
                "    table: 'telemetry_{topic.site}_{topic.line}'\n    tables: ['telemetry_*']\n    create: true\n"
            }
        }
    }

    /// The tables that are written to.
    pub(crate) fn tables(self) -> Vec<String> {
        match self {
            Writing::Insert | Writing::Upsert => vec![load::TABLE.to_owned()],
            Writing::Template => load::tables(),
        }
    }
}

impl Setup {
    /// One rule that takes everything, into `store`, everything else by default.
    pub(crate) fn into_store(store: &Store) -> Setup {
        Setup::into_url(store.url())
    }

    pub(crate) fn into_url(database_url: String) -> Setup {
        Setup {
            database_url,
            patterns: load::patterns(1),
            qos: 1,
            writing: Writing::Insert,
            database_keys: String::new(),
            journal_keys: String::new(),
            sections: String::new(),
        }
    }

    fn yaml(&self, broker: u16, http: u16) -> String {
        let mut yaml = format!(
            "mqtt: {{ url: 'mqtt://127.0.0.1:{broker}', client_id: bridge }}\ndata_dir: data\n\
             http: {{ listen: '127.0.0.1:{http}' }}\n"
        );
        if !self.journal_keys.is_empty() {
            writeln!(yaml, "journal: {{ {} }}", self.journal_keys).expect("a String takes everything");
        }
        let keys = if self.database_keys.is_empty() { String::new() } else { format!(", {}", self.database_keys) };
        writeln!(yaml, "databases:\n  local: {{ url: '{}'{keys} }}\n{}", self.database_url, self.sections)
            .expect("a String takes everything");
        if !self.patterns.is_empty() {
            yaml.push_str("rules:\n");
        }
        for pattern in &self.patterns {
            write!(
                yaml,
                "  - topic: {pattern}\n    qos: {}\n{}    columns:{}",
                self.qos,
                self.writing.keys(),
                load::COLUMNS
            )
            .expect("a String takes everything");
        }
        yaml
    }
}

/// A running bridge. Killed when it goes out of scope.
pub(crate) struct Bridge {
    process: Process,
    http: u16,
    started: Instant,
    log: PathBuf,
}

impl Bridge {
    /// Starts it in `folder`, where its data may lie already.
    pub(crate) fn start(bench: &Bench, folder: &Path, broker: u16, setup: &Setup) -> Result<Bridge> {
        let http = free_port();
        let configuration = folder.join("bridge.yaml");
        std::fs::write(&configuration, setup.yaml(broker, http))?;
        let log = folder.join("log");
        let output = File::create(&log)?;
        let started = Instant::now();
        let child = Command::new(&bench.rowbridge)
            .arg("run")
            .arg("-c")
            .arg(configuration)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        Ok(Bridge { process: Process::new(child), http, started, log })
    }

    /// Waits until it takes messages; how long that took from the start of the process.
    pub(crate) fn wait_ready(&mut self) -> Result<Duration> {
        while get(self.http, "/readyz").map_or(true, |response| response.status != 200) {
            self.check()?;
            if self.started.elapsed() > STALLED {
                return Err(format!("the bridge does not become ready; its log:\n{}", self.log()).into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(self.started.elapsed())
    }

    /// An error if it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.process.ended() {
            Some(status) => Err(format!("the bridge ended with {status}; its log:\n{}", self.log()).into()),
            None => Ok(()),
        }
    }

    /// SIGTERM, and its end.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.process.signal(rustix::process::Signal::TERM);
        self.process.wait(STALLED).ok_or("the bridge does not end")?;
        Ok(())
    }

    /// What `/status` shows.
    pub(crate) fn status(&self) -> Result<serde_json::Value> {
        Ok(serde_json::from_str(&get(self.http, "/status")?.body)?)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}
