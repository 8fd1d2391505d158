//! `journal/LOCK`: keeps a second process out, and names the boot of the system in which the journal was last open.
//!
//! After a reboot the last write may be torn anywhere, as its sectors reach the disk in any order, and so it may after a
//! write or fsync that failed. Without either, a killed process leaves whole what it wrote, but for the end of the write
//! it was in: any other damage is damage. The name is not synced: if a power cut takes it, it is not the new boot's
//! either.

use std::io;
use std::path::Path;

use super::fs::read_full;
use super::{Fs, FsFile};

const NAME: &str = "LOCK";

/// Bytes of it that are looked at: more than any boot's name has.
const NOTE_LEN: u64 = 64;

/// Takes the lock, which lives as long as the file; `WouldBlock` if another process holds it.
pub(super) fn take<F: Fs>(fs: &F, dir: &Path) -> io::Result<F::File> {
    fs.lock(&dir.join(NAME))
}

/// Whether the last write may be torn in the middle.
pub(super) fn may_be_torn(fs: &impl Fs, dir: &Path) -> bool {
    let Some(boot) = fs.boot_id() else { return true };
    let mut noted = [0; NOTE_LEN as usize];
    let read = fs.open_read(&dir.join(NAME)).and_then(|file| read_full(&file, &mut noted, 0));
    read.is_err() || !noted.starts_with(boot.as_bytes())
}

/// To be called when nothing in the journal is torn any more. A disk that does not take it costs evidence only: the next
/// start then believes in a reboot. What else may lie in the file is not overwritten.
pub(super) fn note_boot<F: Fs>(fs: &F, lock_file: &F::File) {
    if let Some(boot) = fs.boot_id()
        && lock_file.len().is_ok_and(|len| len <= NOTE_LEN)
    {
        let _ = lock_file.write_all_at(boot.as_bytes(), 0);
    }
}

/// To be called before the journal may become torn though the system stays up.
pub(super) fn forget_boot(lock_file: &impl FsFile) -> io::Result<()> {
    match lock_file.len()? {
        1..=NOTE_LEN => lock_file.write_all_at(b"-", 0),
        // Nothing is noted, and on a full disk there may be no room to write even this.
        _ => Ok(()),
    }
}
