//! `rowbridge check`: whether the bridge could run, tested with the broker, the databases and the disk that it would
//! use.
//!
//! Nothing is changed. The broker sees a throw-away client, whose session ends with its connection. Databases are read
//! in transactions that cannot write. Only the journal's directory gets a small temporary file, to measure its disk.
//! The daemon's own code judges the answers of databases and brokers: its session, its description of live tables, its
//! mapper. An unreachable server is a finding, and the other checks still run.

mod broker;
mod created;
mod database;
mod heard;
mod journal;
mod mounts;
mod postgres;
mod promises;
mod publish;
mod queries;
mod silent_journal;
mod sqlite;

pub(super) use broker::forget;
pub use heard::Heard;
pub use promises::promises;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::{Config, DatabaseUrl, Rule};
use crate::sink::SinkError;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// The bridge runs, with less than one might count on.
    Warning,
    /// The bridge, or a rule, does not work.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub level: Level,
    /// As in `database local`, or a key of the configuration.
    pub subject: String,
    pub finding: String,
    /// What to do about it; of every warning and problem.
    pub remedy: Option<String>,
}

impl Finding {
    fn ok(subject: &str, finding: impl Into<String>) -> Finding {
        Finding { level: Level::Ok, subject: subject.to_owned(), finding: finding.into(), remedy: None }
    }

    fn warning(subject: &str, finding: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { level: Level::Warning, remedy: Some(remedy.into()), ..Finding::ok(subject, finding) }
    }

    fn problem(subject: &str, finding: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { level: Level::Problem, remedy: Some(remedy.into()), ..Finding::ok(subject, finding) }
    }

    /// A database's error: its SQL, or its advice, is the remedy.
    fn of_sink(subject: &str, error: &SinkError) -> Finding {
        let (message, sql) = error.message.split_once('\n').unwrap_or((&error.message, ""));
        let code = if message.contains(&error.code) { String::new() } else { format!(" ({})", error.code) };
        let remedy = if sql.is_empty() { error.advice.to_owned() } else { format!("{}\n{sql}", error.advice) };
        Finding::problem(subject, format!("{message}{code}"), remedy)
    }
}

/// What is known of where the bridge runs, and how.
#[derive(Debug, Clone, Default)]
pub struct Circumstances {
    /// Messages per second, for the journal's reserve.
    pub rate: u64,
    /// A folder that is not there, and that systemd makes for the bridge's user at the first start.
    pub awaited: Option<PathBuf>,
}

impl Circumstances {
    /// Whether the path lies in the folder that is made at the first start.
    fn awaits(&self, path: &Path) -> bool {
        self.awaited.as_ref().is_some_and(|folder| path.starts_with(folder))
    }
}

/// Without asking anybody: what contradicts the types that the rules themselves give the columns of tables that they make.
pub fn of_rules(config: &Config) -> Vec<Finding> {
    let of_database = |index| {
        let makes = |rule: &Rule| rule.database == index && rule.create.is_some();
        database::of_rules(config, index, |table| config.rules.iter().any(|rule| makes(rule) && rule.table == *table))
    };
    (0..config.databases.len()).flat_map(of_database).map(|(_, finding)| finding).collect()
}

/// Looks at brokers, databases and the journal's disk. Findings are told as they are found.
pub async fn everything(config: &Config, circumstances: &Circumstances, heard: &Heard, tell: &mut dyn FnMut(Finding)) {
    for finding in journal::look(config, circumstances) {
        tell(finding);
    }
    for url in &config.mqtt.urls {
        for finding in broker::look(config, url, heard).await {
            tell(finding);
        }
    }
    for (index, database) in config.databases.iter().enumerate() {
        let findings = match &database.url {
            DatabaseUrl::Sqlite(path) => sqlite::look(config, index, path, circumstances).await,
            DatabaseUrl::Postgres(url) => postgres::look(config, index, url).await,
        };
        for finding in findings {
            tell(finding);
        }
    }
    for finding in queries::look(config).await {
        tell(finding);
    }
}
