//! `journal/LOCK`: keeps a second process out, and records what can have happened to the end of the last write.
//!
//! After a power cut, or after a failed write or fsync, the last write may be torn anywhere, because its sectors reach
//! the disk in any order. Without these events a killed process leaves its writes complete, except for the end of the
//! last one. Any other incomplete bytes are damage. So the file names the boot of the system in which the journal was
//! last open and no write failed.
//!
//! ```text
//! boot 1b4e28ba-2fa1-11d2-883f-0016d3cca427     or, after a failure:  failed [SALT of the segment] [its durable length]
//! commit                                        or interval: acknowledged before it is durable
//! ```
//! This assumes that the disk stays attached. If a disk is removed and attached again without a reboot, a torn write is
//! not recognised, and the damage in it counts as a loss.

use std::io;
use std::path::Path;

use super::fs::read_full;
use super::{Fs, FsFile};
use crate::config::Durability;

const NAME: &str = "LOCK";

/// The note's length, always: what is overwritten is overwritten as a whole, within one sector.
const NOTE_LEN: usize = 128;

/// What is known of the end of the newest segment besides its bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Evidence {
    /// The last write is what it was when it was made: nothing can have torn it but in its end.
    pub(super) is_untorn: bool,
    /// Messages were acknowledged before they were durable.
    pub(super) is_early: bool,
    /// Of the segment with this salt so many bytes were durable.
    pub(super) durable: Option<(u64, u64)>,
}

impl Evidence {
    /// How much of the segment with this salt was durable, as far as this says.
    pub(super) fn durable_len(&self, salt: u64) -> u64 {
        self.durable.filter(|&(of, _)| of == salt).map_or(0, |(_, len)| len)
    }
}

/// Takes the lock, which lives as long as the file; `WouldBlock` if another process holds it.
pub(super) fn take<F: Fs>(fs: &F, dir: &Path) -> io::Result<F::File> {
    fs.lock(&dir.join(NAME))
}

/// A note that is missing, unreadable or of another kind says nothing.
pub(super) fn evidence(fs: &impl Fs, dir: &Path) -> Evidence {
    let mut noted = [0; NOTE_LEN];
    let read = fs.open_read(&dir.join(NAME)).and_then(|file| read_full(&file, &mut noted, 0));
    let text = str::from_utf8(&noted).unwrap_or_default();
    let Some((end, mode)) = text.split_once('\n').filter(|_| read.is_ok()) else { return Evidence::default() };
    let is_early = mode.trim_end() == "interval";
    let (is_untorn, durable) = match end.split_once(' ') {
        Some(("boot", boot)) => (fs.boot_id().is_some_and(|now| now == boot), None),
        Some(("failed", rest)) => (false, rest.split_once(' ').and_then(parse_durable)),
        _ => (false, None),
    };
    Evidence { is_untorn, is_early, durable }
}

fn parse_durable((salt, len): (&str, &str)) -> Option<(u64, u64)> {
    Some((u64::from_str_radix(salt, 16).ok()?, len.parse().ok()?))
}

/// To be called when nothing in the journal is torn any more. A disk that does not take it costs evidence only.
pub(super) fn note_boot<F: Fs>(fs: &F, file: &F::File, durability: Durability) {
    let Some(boot) = fs.boot_id() else { return };
    if write(file, &format!("boot {boot}"), durability).is_ok() {
        // A disk that is moved to another machine and back must not bring back the older name.
        let _ = file.sync_data();
    }
}

/// To be called before the journal may become torn though the system stays up. `durable` is the segment's salt and how
/// much of it is on the disk, where that is known.
pub(super) fn forget_boot(file: &impl FsFile, durable: Option<(u64, u64)>, durability: Durability) -> io::Result<()> {
    let durable = durable.map(|(salt, len)| format!("{salt:016x} {len}")).unwrap_or_default();
    write(file, &format!("failed {durable}"), durability)
}

fn write(file: &impl FsFile, end: &str, durability: Durability) -> io::Result<()> {
    let mode = if durability == Durability::Commit { "commit" } else { "interval" };
    let note = format!("{end}\n{mode}");
    // Any other content of the file must not be overwritten.
    match file.len()? {
        len if len <= NOTE_LEN as u64 => file.write_all_at(format!("{note:<0$}\n", NOTE_LEN - 1).as_bytes(), 0),
        _ => Ok(()),
    }
}
