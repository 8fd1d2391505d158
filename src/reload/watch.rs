//! `--watch-config`: notices that bridge.yaml, or a file of its `rules_from`, was changed, added or removed.
//!
//! The files are polled instead of watched by inotify. Editors and configuration managers replace a file, or a link to
//! a directory above it, and some file systems do not report the writes of another machine.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use xxhash_rust::xxh3::Xxh3Default;

use super::ReloadTrigger;
use crate::config::{self, LoadRequest, RuleFiles};

/// How often the files are looked at. A change is taken up when they look the same twice: an editor may be at it.
const INTERVAL: Duration = Duration::from_secs(1);

/// The attributes that show a changed file: device, inode, size, time of change.
type Stamp = (u64, u64, u64, i64, i64);

/// Looks for ever, and asks for a reload when the files hold something else than before.
pub async fn watch_files(request: LoadRequest, trigger: ReloadTrigger) {
    let Some(file) = request.file.clone().filter(|file| !is_pipe(file)) else { return };
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut watched = Watched { rules: config::rule_files(&request), request, file };
    let mut stamps = watched.stamps();
    let mut content = stamps.as_deref().map(content_of);
    let mut is_settled = true;
    loop {
        ticks.tick().await;
        // A file that is away for a moment is being replaced.
        let Some(mut now) = watched.stamps() else { continue };
        if stamps.as_ref() != Some(&now) {
            if stamps.as_ref().and_then(|stamps| stamps.first()) != now.first() {
                watched.rules = config::rule_files(&watched.request);
                let Some(others) = watched.stamps() else { continue };
                now = others;
            }
            (stamps, is_settled) = (Some(now), false);
            continue;
        }
        if is_settled {
            continue;
        }
        is_settled = true;
        let held = content_of(&now);
        if content != Some(held) {
            content = Some(held);
            trigger.ask("the file changed (--watch-config)");
        }
    }
}

struct Watched {
    request: LoadRequest,
    /// bridge.yaml.
    file: PathBuf,
    /// As bridge.yaml names them.
    rules: RuleFiles,
}

impl Watched {
    /// Of all files that there are, bridge.yaml first; `None` while that one is away.
    fn stamps(&self) -> Option<Vec<(PathBuf, Stamp)>> {
        let own = (self.file.clone(), stamp_of(&self.file)?);
        let others = self.rules.list().into_iter().filter_map(|file| stamp_of(&file).map(|stamp| (file, stamp)));
        Some(std::iter::once(own).chain(others).collect())
    }
}

/// A hash of what the files are called and hold.
fn content_of(files: &[(PathBuf, Stamp)]) -> u64 {
    let mut hash = Xxh3Default::new();
    for (file, _) in files {
        let content = fs::read(file).unwrap_or_default();
        for part in [file.as_os_str().as_encoded_bytes(), &content] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    hash.digest()
}

/// Whether there is something other than a regular file, which is read once: reading it again may wait for ever.
pub(super) fn is_pipe(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

fn stamp_of(file: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(file).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
}
