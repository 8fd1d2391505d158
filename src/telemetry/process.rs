//! Figures of the operating system about this process, under the names that every Prometheus client uses.

use std::fmt::Write;

use rustix::time::{ClockId, clock_gettime};

use crate::clock::Timestamp;
use crate::descriptors;

/// Appends the `process_*` metrics in the OpenMetrics format. Figures that the system does not report are left out.
pub(super) fn encode(text: &mut String, started: Timestamp) {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let cpu = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    let limit = descriptors::limit();
    let counts = |count: Option<u64>| count.map(|count| count as f64);
    let metrics = [
        ("process_cpu_seconds", "counter", "CPU time of the process, user and system", Some(cpu)),
        ("process_resident_memory_bytes", "gauge", "Resident memory", counts(resident_bytes())),
        ("process_open_fds", "gauge", "Open file descriptors", counts(descriptors::open())),
        ("process_max_fds", "gauge", "File descriptors that may be open", counts((limit < u64::MAX).then_some(limit))),
        (
            "process_start_time_seconds",
            "gauge",
            "Unix time at which the process started",
            Some(started.as_micros() as f64 / 1e6),
        ),
    ];
    for (name, kind, help, value) in metrics {
        let Some(value) = value else { continue };
        let total = if kind == "counter" { "_total" } else { "" };
        writeln!(text, "# HELP {name} {help}.\n# TYPE {name} {kind}\n{name}{total} {value}")
            .expect("writing to a String cannot fail");
    }
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}
