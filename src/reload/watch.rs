//! `--watch-config`: notices that the file was changed.
//!
//! By looking, not by inotify: editors and configuration managers replace a file, or a link to a folder above it, and some
//! file systems tell nothing of what another machine writes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::ReloadTrigger;

/// How often the file is looked at. A change is taken up when it looks the same twice: an editor may be at it.
const INTERVAL: Duration = Duration::from_secs(1);

/// What tells that a file may be another: device, inode, size, time of change.
type Stamp = (u64, u64, u64, i64, i64);

/// Looks for ever, and asks for a reload when the file holds something else than before.
pub async fn watch_file(file: PathBuf, trigger: ReloadTrigger) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut stamp, mut content) = look(&file).unzip();
    let mut is_settled = true;
    loop {
        ticks.tick().await;
        // A file that is away for a moment is being replaced.
        let Some(now) = stamp_of(&file) else { continue };
        if stamp != Some(now) {
            (stamp, is_settled) = (Some(now), false);
            continue;
        }
        if is_settled {
            continue;
        }
        is_settled = true;
        let held = look(&file).map(|(_, content)| content);
        if held.is_some() && held != content {
            content = held;
            trigger.ask("the file changed (--watch-config)");
        }
    }
}

fn look(file: &Path) -> Option<(Stamp, u64)> {
    Some((stamp_of(file)?, xxh3_64(&fs::read(file).ok()?)))
}

fn stamp_of(file: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(file).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
}
