//! Tests the journal's directory: its file system, the time of an fdatasync, and how long an outage it can hold.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::mounts::file_system_of;
use super::{Circumstances, Finding};
use crate::config::{Config, Durability};
use crate::journal::{DIRECTORY, RealFs, inspect};
use crate::remedy;
use crate::tools::live::unique;

/// Enough for a median.
const SYNCS: usize = 11;
const SYNC_BYTES: usize = 4096;

/// A message that waits longer for its acknowledgement makes devices wait, at QoS 1, one after the other.
const SYNC_SLOW: Duration = Duration::from_millis(50);

/// A reading of a sensor with its topic, where no journal tells better.
const MESSAGE_BYTES: u64 = 250;

const SUBJECT: &str = "data_dir";

pub(super) fn look(config: &Config, circumstances: &Circumstances) -> Vec<Finding> {
    if config.journal.durability == Durability::Delivered {
        return in_memory(config);
    }
    if let Some(path) = in_the_way(config) {
        let what = format!("{} is there and is no directory", path.display());
        return vec![Finding::problem(SUBJECT, what, "move it away, or name another data_dir")];
    }
    let place = existing(&config.data_dir);
    let is_there = place == config.data_dir;
    let mut findings = vec![of_file_system(&place)];
    let measured = measure(&place);
    let sync = measured.as_ref().copied().unwrap_or_default();
    match measured {
        Ok(median) if median > SYNC_SLOW => findings.push(Finding::warning(
            SUBJECT,
            format!(
                "an fdatasync takes {median:.1?}: acknowledgements are that slow, and shared by many messages at best"
            ),
            "use a faster disk; an SSD or an industrial SD card needs a few milliseconds",
        )),
        Ok(median) => findings.push(Finding::ok(SUBJECT, format!("an fdatasync takes {median:.1?}"))),
        Err(_) if circumstances.awaits(&config.data_dir) => findings.push(Finding::ok(
            SUBJECT,
            format!("{} is not there; systemd makes it at the first start", config.data_dir.display()),
        )),
        Err(error) => {
            let what = if is_there { "cannot be written" } else { "cannot be made" };
            findings.push(Finding::problem(
                SUBJECT,
                format!("{} {what}: {error}", config.data_dir.display()),
                format!("{}; check as the bridge's user, or as root", remedy::of_file(&error)),
            ));
        }
    }
    findings.extend(room(config, &place));
    findings.push(reserve(config, circumstances.rate, sync));
    findings
}

/// No disk is needed, but one that a journal was left on would be forgotten.
fn in_memory(config: &Config) -> Vec<Finding> {
    let what = format!("the journal lies in memory, and takes {} at most", mib(config.journal.max_size));
    let mut findings = vec![Finding::ok("journal.max_size", what)];
    if let Ok(left) = inspect::status(&RealFs, &config.data_dir)
        && !left.segments.is_empty()
    {
        let dir = config.data_dir.display();
        findings.push(Finding::problem(
            SUBJECT,
            format!("{dir} holds a journal on disk, which is not delivered with journal.durability: delivered"),
            "run with journal.durability: commit until nothing is pending, then remove its folder `journal`",
        ));
    }
    findings
}

/// What is no directory, where the journal's directory or one above it is to be.
fn in_the_way(config: &Config) -> Option<PathBuf> {
    let journal = config.data_dir.join(DIRECTORY);
    let mut taken = journal.ancestors().filter(|path| !path.as_os_str().is_empty() && path.symlink_metadata().is_ok());
    // One that this user may not look at may well be a directory.
    let is_other = |path: &&Path| match fs::metadata(path) {
        Ok(found) => !found.is_dir(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    taken.find(is_other).map(Path::to_owned)
}

/// The directory, or what there is of the way to it.
fn existing(data_dir: &Path) -> PathBuf {
    let there = data_dir.ancestors().find(|path| !path.as_os_str().is_empty() && path.is_dir());
    there.map_or_else(|| PathBuf::from("."), Path::to_owned)
}

fn of_file_system(place: &Path) -> Finding {
    let at = place.display();
    let Some(kind) = file_system_of(place) else {
        return Finding::ok(SUBJECT, format!("{at} lies on a file system that the kernel does not name"));
    };
    let what = format!("{at} lies on {kind}");
    match kind.as_str() {
        "tmpfs" | "ramfs" => Finding::warning(
            SUBJECT,
            format!("{what}, which is memory: a restart of the machine loses what was acknowledged"),
            "set data_dir to a folder on a disk",
        ),
        "overlay" | "aufs" => Finding::warning(
            SUBJECT,
            format!("{what}, a container's own layer: it goes with the container"),
            "mount a volume there (-v rowbridge-data:/var/lib/rowbridge)",
        ),
        "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "fuse.sshfs" => Finding::warning(
            SUBJECT,
            format!("{what}, which is another machine's disk: locks and fdatasync are only as good as that machine's"),
            "set data_dir to a folder on a disk of this machine",
        ),
        _ => Finding::ok(SUBJECT, what),
    }
}

/// The median time of an fdatasync of one block.
fn measure(place: &Path) -> io::Result<Duration> {
    let path = place.join(format!(".rowbridge-check-{}", unique()));
    let file = File::options().write(true).create_new(true).open(&path)?;
    let measured = time_syncs(&file);
    fs::remove_file(&path)?;
    measured
}

fn time_syncs(file: &File) -> io::Result<Duration> {
    // As the journal does: blocks that were written before cost least.
    file.write_all_at(&[0; SYNC_BYTES], 0)?;
    file.sync_all()?;
    let mut times = [Duration::ZERO; SYNCS];
    for (index, time) in times.iter_mut().enumerate() {
        let begin = Instant::now();
        file.write_all_at(&[index as u8; SYNC_BYTES], 0)?;
        file.sync_data()?;
        *time = begin.elapsed();
    }
    times.sort_unstable();
    Ok(times[SYNCS / 2])
}

/// Whether the journal may grow as large as it is allowed to.
fn room(config: &Config, place: &Path) -> Option<Finding> {
    let free = free_bytes(place)?;
    let used = inspect::status(&RealFs, &config.data_dir).map_or(0, |summary| summary.bytes);
    let lacking = config.journal.max_size.saturating_sub(used).checked_sub(free).filter(|lacking| *lacking > 0)?;
    Some(Finding::warning(
        SUBJECT,
        format!("{} are free, {} less than the journal may grow to", mib(free), mib(lacking)),
        "make room, or lower journal.max_size: a full disk stops intake as a full journal does",
    ))
}

/// How long the journal holds what no database takes, and what it writes. `sync` is how long an fdatasync takes.
fn reserve(config: &Config, rate: u64, sync: Duration) -> Finding {
    let measured = message_bytes(config);
    let bytes = measured.unwrap_or(MESSAGE_BYTES);
    let per_second = rate.saturating_mul(bytes).max(1);
    let hours = config.journal.max_size as f64 / per_second as f64 / 3600.0;
    let pause = between_syncs(config.journal.durability, config.journal.sync_interval, sync);
    let gib_per_day = written_per_second(rate, bytes, pause) * 86_400.0 / (1u64 << 30) as f64;
    let source = if measured.is_some() { "as the present ones have" } else { "assumed" };
    let what = format!(
        "at {rate} messages per second of {bytes} bytes ({source}), the journal of {} holds {hours:.1} hours of an outage, \
         and about {gib_per_day:.1} GiB are written to its disk per day",
        mib(config.journal.max_size)
    );
    if hours < 1.0 {
        return Finding::warning(
            "journal.max_size",
            what,
            "raise journal.max_size above the longest outage of a database",
        );
    }
    Finding::ok("journal.max_size", what)
}

/// From one fdatasync to the next while messages come. `interval` is how long a message waits for others before it is synced.
fn between_syncs(durability: Durability, interval: Duration, sync: Duration) -> Duration {
    match durability {
        Durability::Commit | Durability::Delivered => interval + sync,
        Durability::Interval(pause) => pause,
    }
}

/// Bytes that go to the disk: each message and, ahead of it, as many zeros; and the page that each fdatasync, `pause` after the
/// last one, finds begun. Where messages come further apart, that is a page for each.
fn written_per_second(rate: u64, message_bytes: u64, pause: Duration) -> f64 {
    let syncs = (rate as f64).min(pause.as_secs_f64().recip());
    2.0 * rate as f64 * message_bytes as f64 + syncs * SYNC_BYTES as f64
}

/// Bytes per message in the full segments of the journal that is there.
fn message_bytes(config: &Config) -> Option<u64> {
    let summary = inspect::status(&RealFs, &config.data_dir).ok()?;
    let newest = summary.segments.last()?;
    let messages = newest.base.0.checked_sub(summary.oldest_seq.0).filter(|messages| *messages > 0)?;
    Some((summary.bytes.saturating_sub(newest.bytes) / messages).max(1))
}

/// What this user may still write there.
pub(super) fn free_bytes(place: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(place).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

pub(super) fn mib(bytes: u64) -> String {
    match bytes >> 20 {
        0..=10_239 => format!("{} MiB", bytes >> 20),
        mib => format!("{} GiB", mib >> 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // What was measured: docs/benchmarks.md.
    #[test]
    fn a_message_that_comes_alone_costs_a_page_and_many_share_one() {
        let bytes_each = |rate, pause_ms| written_per_second(rate, 250, Duration::from_millis(pause_ms)) / rate as f64;
        assert_eq!(bytes_each(1, 1), 4596.0);
        assert_eq!(bytes_each(100, 1), 4596.0);
        assert_eq!(bytes_each(10_000, 1), 909.6);
        assert_eq!(bytes_each(100, 1_000), 540.96);
        assert_eq!(bytes_each(100, 0), 4596.0);
    }

    #[test]
    fn messages_that_wait_for_each_other_share_an_fdatasync() {
        let ms = Duration::from_millis;
        assert_eq!(between_syncs(Durability::Commit, ms(250), ms(5)), ms(255));
        assert_eq!(between_syncs(Durability::Commit, Duration::ZERO, ms(5)), ms(5));
        assert_eq!(between_syncs(Durability::Interval(ms(100)), Duration::ZERO, ms(5)), ms(100));
    }
}
