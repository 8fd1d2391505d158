//! What a process has used so far, as Linux tells it in `/proc`, and what a disk has written.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::report::Figures;

/// Clock ticks per second of `/proc/PID/stat`: 100 on every Linux, whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;
/// A sector of `/sys/dev/block/*/stat`, whatever the disk's own is.
const SECTOR_BYTES: u64 = 512;

/// CPU of a process from one moment on.
pub(crate) struct Meter {
    pid: u32,
    seconds: f64,
    threads: BTreeMap<String, f64>,
}

impl Meter {
    pub(crate) fn start(pid: u32) -> io::Result<Meter> {
        Ok(Meter { pid, seconds: cpu_seconds(pid)?, threads: cpu_seconds_by_thread(pid)? })
    }

    /// CPU since the start for each of so many messages, by thread too, and the peak RSS.
    pub(crate) fn read(&self, messages: u64, figures: &mut Figures) -> io::Result<()> {
        let per_message = |seconds: f64| seconds * 1e6 / messages as f64;
        figures.put("cpu_us_per_message", per_message(cpu_seconds(self.pid)? - self.seconds));
        figures.put("peak_rss_mib", peak_rss_mib(self.pid)?);
        for (name, seconds) in cpu_seconds_by_thread(self.pid)? {
            let before = self.threads.get(&name).copied().unwrap_or_default();
            figures.put_thread(&name, per_message(seconds - before));
        }
        Ok(())
    }
}

/// CPU of a PostgreSQL server from one moment on: of all its processes, those that have ended too, except for the one
/// that answers the benchmark's own question, if there is one.
pub(crate) struct ServerMeter {
    main: u32,
    asker: Option<u32>,
    seconds: f64,
}

impl ServerMeter {
    pub(crate) fn start(main: u32, asker: u32) -> io::Result<ServerMeter> {
        Ok(ServerMeter { main, asker: Some(asker), seconds: server_cpu_seconds(main, Some(asker))? })
    }

    /// Of all its processes.
    pub(crate) fn of_all(main: u32) -> io::Result<ServerMeter> {
        Ok(ServerMeter { main, asker: None, seconds: server_cpu_seconds(main, None)? })
    }

    /// CPU since the start for each of so many messages; and with what `figures` holds of the program that writes.
    pub(crate) fn read(&self, messages: u64, figures: &mut Figures) -> io::Result<()> {
        let used = server_cpu_seconds(self.main, self.asker)? - self.seconds;
        let per_message = used * 1e6 / messages as f64;
        figures.put("database_cpu_us_per_message", per_message);
        if let Some(own) = figures.get("cpu_us_per_message") {
            figures.put("total_cpu_us_per_message", own + per_message);
        }
        Ok(())
    }
}

/// CPU seconds of a process and of its children but one. Of those that have ended the parent keeps the sum.
fn server_cpu_seconds(main: u32, left_out: Option<u32>) -> io::Result<f64> {
    let left_out = left_out.map(|process| process.to_string());
    let mut seconds = 0.0;
    for child in fs::read_to_string(format!("/proc/{main}/task/{main}/children"))?.split_whitespace() {
        if Some(child) != left_out.as_deref() {
            // It may have ended since the list was read; then it is in the parent's sum, which is read last.
            seconds += cpu_of(&format!("/proc/{child}/stat")).map_or(0.0, |process| process.seconds);
        }
    }
    let main = cpu_of(&format!("/proc/{main}/stat"))?;
    Ok(seconds + main.seconds + main.seconds_of_ended_children)
}

/// CPU seconds of a process, user and system.
pub(crate) fn cpu_seconds(pid: u32) -> io::Result<f64> {
    cpu_of(&format!("/proc/{pid}/stat")).map(|process| process.seconds)
}

/// CPU seconds of this process' children that have ended and were waited for.
pub(crate) fn cpu_seconds_of_ended_children() -> io::Result<f64> {
    cpu_of("/proc/self/stat").map(|process| process.seconds_of_ended_children)
}

fn cpu_seconds_by_thread(pid: u32) -> io::Result<BTreeMap<String, f64>> {
    let mut by_name = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end while the list is read.
        let Ok(thread) = cpu_of(&task?.path().join("stat").display().to_string()) else { continue };
        *by_name.entry(thread.name).or_default() += thread.seconds;
    }
    Ok(by_name)
}

/// The largest resident set so far, in MiB.
pub(crate) fn peak_rss_mib(pid: u32) -> io::Result<f64> {
    status(pid, "VmHWM:")
}

/// The resident set now, in MiB.
pub(crate) fn rss_mib(pid: u32) -> io::Result<f64> {
    status(pid, "VmRSS:")
}

/// Bytes that a process handed to write(2), sockets included.
pub(crate) fn bytes_handed_over(pid: u32) -> io::Result<u64> {
    field(&fs::read_to_string(format!("/proc/{pid}/io"))?, "wchar:")
}

/// Bytes of the pages that a process made dirty: what it sends to the disk.
pub(crate) fn bytes_to_disk(pid: u32) -> io::Result<u64> {
    field(&fs::read_to_string(format!("/proc/{pid}/io"))?, "write_bytes:")
}

/// Bytes that the device below `place` has written, for whomever; `None` if there is no such device.
pub(crate) fn device_bytes(place: &Path) -> Option<u64> {
    let device = fs::metadata(place).ok()?.dev();
    let (major, minor) = (device >> 8 & 0xFFF, device & 0xFF | device >> 12 & 0xFFF00);
    let stat = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
    Some(stat.split_whitespace().nth(6)?.parse::<u64>().ok()? * SECTOR_BYTES)
}

fn status(pid: u32, name: &str) -> io::Result<f64> {
    field(&fs::read_to_string(format!("/proc/{pid}/status"))?, name).map(|kib| kib as f64 / 1024.0)
}

/// What `/proc/PID/stat` tells about a process or a thread.
struct Cpu {
    name: String,
    seconds: f64,
    seconds_of_ended_children: f64,
}

fn cpu_of(path: &str) -> io::Result<Cpu> {
    let stat = fs::read_to_string(path)?;
    // The name stands in parentheses and may itself hold spaces and parentheses.
    let (head, tail) = stat.rsplit_once(')').ok_or_else(|| unexpected(path))?;
    let name = head.split_once('(').ok_or_else(|| unexpected(path))?.1;
    // utime, stime, cutime, cstime.
    let ticks: Vec<u64> = tail.split_whitespace().skip(11).take(4).filter_map(|ticks| ticks.parse().ok()).collect();
    let [user, system, user_of_ended, system_of_ended] = ticks[..] else { return Err(unexpected(path)) };
    Ok(Cpu {
        name: name.to_owned(),
        seconds: (user + system) as f64 / TICKS_PER_SECOND,
        seconds_of_ended_children: (user_of_ended + system_of_ended) as f64 / TICKS_PER_SECOND,
    })
}

fn field(text: &str, name: &str) -> io::Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).ok_or_else(|| unexpected(name))
}

fn unexpected(what: &str) -> io::Error {
    io::Error::other(format!("{what} is not as Linux writes it"))
}
