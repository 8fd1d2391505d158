//! Keeps a copy of damaged bytes for a person to inspect, before the journal continues without them.
//!
//! `journal/quarantine/{segment}-{offset}-{len}` holds the bytes `offset..offset+len` of the segment. The damage
//! determines the name, so a second attempt after a crash, or by a second reader, writes the same file again. Only one
//! caller may run at a time: within a running journal `Shared::quarantining` ensures this.

use std::io;
use std::path::{Path, PathBuf};

use super::fs::{read_around, remove_if_there};
use super::segment::name_of;
use super::{Fs, FsFile};

const DIRECTORY: &str = "quarantine";
const COPY_BYTES: usize = 64 * 1024;

/// Copies a byte range of a segment, durably. A copy that is there already is complete.
pub(super) fn keep_range<F: Fs>(
    fs: &F,
    dir: &Path,
    segment: &Path,
    file: &F::File,
    offset: u64,
    len: u64,
) -> io::Result<PathBuf> {
    let folder = folder(fs, dir)?;
    let path = folder.join(format!("{}-{offset}-{len}", name_of(segment)));
    if fs.list(&folder)?.contains(&path) {
        return Ok(path);
    }
    let unfinished = path.with_extension("tmp");
    remove_if_there(fs, &unfinished)?;
    let copy = fs.create_new(&unfinished)?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut done = 0;
    while done < len {
        let want = (len - done).min(COPY_BYTES as u64) as usize;
        // Where the damage is that nothing can be read, zeros stand in the copy.
        let n = read_around(file, &mut buffer[..want], offset + done, |_| {});
        if n == 0 {
            break;
        }
        crash_point!("journal.quarantine.half_copied", copy.write_all_at(&buffer[..n / 2], done));
        copy.write_all_at(&buffer[..n], done)?;
        done += n as u64;
    }
    copy.sync_data()?;
    crash_point!("journal.quarantine.unnamed");
    fs.rename(&unfinished, &path)?;
    fs.sync_dir(&folder)?;
    Ok(path)
}

/// Moves a whole segment, durably.
pub(super) fn keep_segment<F: Fs>(fs: &F, dir: &Path, segment: &Path) -> io::Result<PathBuf> {
    let folder = folder(fs, dir)?;
    let path = folder.join(name_of(segment));
    fs.rename(segment, &path)?;
    crash_point!("journal.headless.unsynced");
    fs.sync_dir(&folder)?;
    fs.sync_dir(dir)?;
    Ok(path)
}

fn folder<F: Fs>(fs: &F, dir: &Path) -> io::Result<PathBuf> {
    let folder = dir.join(DIRECTORY);
    fs.create_dir_all(&folder)?;
    fs.sync_dir(dir)?;
    Ok(folder)
}
