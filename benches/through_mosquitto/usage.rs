//! What a process has used so far, as Linux tells it in `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::io;

/// Clock ticks per second of `/proc/PID/stat`: 100 on every Linux, whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds of a process, user and system.
pub(super) fn cpu_seconds(pid: u32) -> io::Result<f64> {
    cpu_of(&format!("/proc/{pid}/stat")).map(|(_, seconds)| seconds)
}

/// CPU seconds by thread name.
pub(super) fn cpu_seconds_by_thread(pid: u32) -> io::Result<BTreeMap<String, f64>> {
    let mut by_name = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let (name, seconds) = cpu_of(&task?.path().join("stat").display().to_string())?;
        *by_name.entry(name).or_default() += seconds;
    }
    Ok(by_name)
}

/// The largest resident set so far, in MiB.
pub(super) fn peak_rss_mib(pid: u32) -> io::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    field(&status, "VmHWM:").map(|kib| kib as f64 / 1024.0)
}

/// Bytes that a process handed to write(2), sockets included.
pub(super) fn bytes_written(pid: u32) -> io::Result<u64> {
    field(&fs::read_to_string(format!("/proc/{pid}/io"))?, "wchar:")
}

fn cpu_of(path: &str) -> io::Result<(String, f64)> {
    let stat = fs::read_to_string(path)?;
    // The name stands in parentheses and may itself hold spaces and parentheses.
    let (head, tail) = stat.rsplit_once(')').ok_or_else(|| unexpected(path))?;
    let name = head.split_once('(').ok_or_else(|| unexpected(path))?.1;
    let ticks: Vec<u64> = tail.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse().ok()).collect();
    if ticks.len() != 2 {
        return Err(unexpected(path));
    }
    Ok((name.to_owned(), (ticks[0] + ticks[1]) as f64 / TICKS_PER_SECOND))
}

fn field(text: &str, name: &str) -> io::Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).ok_or_else(|| unexpected(name))
}

fn unexpected(what: &str) -> io::Error {
    io::Error::other(format!("{what} is not as Linux writes it"))
}
