//! What a run ran on: without it a figure means nothing.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

use super::support::process::program;

#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    memory_mib: u64,
    kernel: String,
    /// Of the place where journal and databases lie.
    filesystem: String,
    /// Work that waited for a CPU before the run: above 0.3, the machine was not quiet.
    load_average_before: f64,
    versions: Vec<String>,
    commit: String,
    optimised: bool,
}

impl Machine {
    /// With the filesystem of `place`.
    pub(crate) fn describe(place: &Path) -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let after = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = after(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
        let first_number = |text: &str| text.split_whitespace().next().and_then(|number| number.parse::<f64>().ok());
        Machine {
            cpu: after(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown CPU".to_owned()),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: first_number(&memory).unwrap_or_default() as u64 / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            filesystem: filesystem(place),
            load_average_before: first_number(&read("/proc/loadavg")).unwrap_or_default(),
            versions: versions(),
            commit: commit(),
            optimised: !cfg!(debug_assertions),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { cpu, cores, memory_mib, kernel, filesystem, load_average_before, versions, commit, .. } = self;
        let versions = versions.join(", ");
        write!(
            out,
            "{cpu}, {cores} cores, {memory_mib} MiB, Linux {kernel}, {filesystem}; load average before \
             {load_average_before}; {versions}; commit {commit}"
        )
    }
}

/// Type and options of the filesystem on which `place` lies.
fn filesystem(place: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let of_line = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        let (mounted_at, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
        place.starts_with(mounted_at).then(|| (mounted_at.len(), format!("{kind} ({options})")))
    };
    let longest = mounts.lines().filter_map(of_line).max_by_key(|(len, _)| *len);
    longest.map_or("unknown filesystem".to_owned(), |(_, text)| text)
}

fn versions() -> Vec<String> {
    let ask = |name: &str, argument: &str, words: usize| {
        let output = Command::new(program(name)).arg(argument).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let first = text.lines().next()?.split_whitespace().take(words).collect::<Vec<_>>().join(" ");
        Some(if first.contains(name) { first } else { format!("{name} {first}") })
    };
    let mut versions = vec![
        format!("rowbridge {}", env!("CARGO_PKG_VERSION")),
        format!("SQLite {} (in rowbridge)", rusqlite::version()),
    ];
    versions.extend(ask("mosquitto", "-h", 3));
    versions.extend(ask("psql", "--version", 3));
    versions.extend(ask("sqlite3", "--version", 1));
    versions
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let is_changed = git(&["status", "--porcelain"]).is_some_and(|changes| !changes.is_empty());
    let name = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    if is_changed { name + " with changes" } else { name }
}
