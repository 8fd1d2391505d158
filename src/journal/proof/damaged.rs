//! A journal that was written without a fault, and then one damage to its files.

use std::collections::BTreeMap;

use super::*;

/// A file's name and bytes.
pub(in crate::journal) type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A journal on a disk, and what it held.
pub(in crate::journal) struct Written {
    pub(in crate::journal) fs: SimFs,
    pub(in crate::journal) config: config::Journal,
    /// What it gives before the damage.
    pub(in crate::journal) entries: Vec<Got>,
    /// The files as they were at some time before.
    pub(in crate::journal) earlier: Files,
    pub(in crate::journal) is_stopped: bool,
    /// The system was started anew since, so that the last write may have been torn.
    pub(in crate::journal) is_rebooted: bool,
}

pub(in crate::journal) fn files(fs: &SimFs) -> Files {
    let paths = fs.files().into_iter().map(|(path, _)| path);
    paths.filter_map(|path| fs.content(&path).map(|bytes| (path, bytes))).collect()
}

/// Several segments of messages, some with QoS 2 marks, releases and gaps; then an orderly stop or a kill.
pub(in crate::journal) fn write(seed: u64, choices: &mut Choices) -> Written {
    let drops = choices.once_in(4);
    let segment_size = choices.one_of(&[512, 1024, 2048, 4096, 16_384, 65_536]);
    let config = config::Journal {
        segment_size,
        max_size: if drops { segment_size * 4 } else { 1024 * 1024 },
        when_full: if drops { WhenFull::DropNewest } else { WhenFull::Pause },
        // Only room that is needed makes a segment go.
        keep: Duration::from_secs(3600),
        ..config()
    };
    let fs = SimFs::new(seed);
    let mut life = Life::begin(&fs, &config);
    let rounds = 1 + choices.below(40);
    let early = choices.below(rounds);
    let (mut number, mut earlier) = (0, files(&fs));
    for round in 0..rounds {
        if round == early {
            earlier = files(&fs);
        }
        for _ in 0..choices.below(6) {
            let id = 1 + choices.below(9) as u16;
            match choices.below(8) {
                0 => drop(life.intake.push_release(id)),
                kind => {
                    let payload = vec![number as u8; choices.below(200) as usize];
                    let payload = [&u64::to_le_bytes(number)[..], &payload].concat();
                    life.intake.push_message(&message(&payload), (kind < 3).then_some((id, number)));
                    number += 1;
                }
            }
        }
        life.intake.submit();
        life.settle();
        if drops && choices.once_in(8) {
            life.handle.set_delivered(0, life.handle.status().next_seq);
            life.let_time_pass();
            life.settle();
        }
    }
    let is_stopped = choices.once_in(2);
    if is_stopped {
        life.handle.stop();
        life.settle();
    }
    let fs = fs.kill();
    let entries = read_all(&Life::begin(&fs.crash(1), &config));
    let is_rebooted = choices.once_in(2);
    let fs = if is_rebooted { fs.crash(2) } else { fs };
    Written { fs, config, entries, earlier, is_stopped, is_rebooted }
}

/// What is done to one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::journal) enum Kind {
    Flip,
    Truncate,
    ZeroSector,
    ZeroPage,
    Delete,
    Swap,
    OlderCopy,
}

pub(in crate::journal) const KINDS: [Kind; 7] =
    [Kind::Flip, Kind::Truncate, Kind::ZeroSector, Kind::ZeroPage, Kind::Delete, Kind::Swap, Kind::OlderCopy];

/// What was done.
#[derive(Debug, Clone)]
pub(in crate::journal) struct Damage {
    pub(in crate::journal) kind: Kind,
    pub(in crate::journal) path: PathBuf,
    /// In which part of the file.
    pub(in crate::journal) place: &'static str,
    pub(in crate::journal) at: usize,
}

/// Does one thing to one file; `None` if it would change nothing.
pub(in crate::journal) fn damage(written: &Written, choices: &mut Choices) -> Option<Damage> {
    let before = files(&written.fs);
    let paths: Vec<&PathBuf> = before.keys().collect();
    // Half of the damage is for one bit of a segment, as all else is found more easily.
    let kind = if choices.once_in(2) { Kind::Flip } else { choices.one_of(&KINDS) };
    if paths.is_empty() {
        // Every file was deleted.
        return None;
    }
    let path = choices.one_of(&paths).clone();
    let bytes = &before[&path];
    let whole = bytes.len() as u64;
    let mut at = choices.below(whole.max(1)) as usize;
    if kind == Kind::Flip && choices.once_in(2) {
        // Records are a small part of a large segment.
        at %= place_end(bytes).max(1);
    }
    let place = place_of(&path, bytes, at);
    match kind {
        Kind::Delete => Fs::remove(&written.fs, &path).ok()?,
        Kind::Swap => {
            let other = choices.one_of(&paths).clone();
            written.fs.put(&path, &before[&other]);
            written.fs.put(&other, bytes);
        }
        Kind::OlderCopy => written.fs.put(&path, written.earlier.get(&path)?),
        Kind::Flip if whole > 0 => {
            let bit = 1 << choices.below(8);
            written.fs.damage(&path, |bytes| bytes[at] ^= bit);
        }
        Kind::Truncate => written.fs.damage(&path, |bytes| bytes.truncate(at)),
        Kind::ZeroSector => written.fs.damage(&path, |bytes| zero(bytes, at, 512)),
        Kind::ZeroPage => written.fs.damage(&path, |bytes| zero(bytes, at, 4096)),
        Kind::Flip => {}
    }
    // As after a power cut: nothing of it is waiting to be synced.
    let _ = Fs::sync_dir(&written.fs, &data_dir().join("journal"));
    (files(&written.fs) != before).then_some(Damage { kind, path, place, at })
}

fn zero(bytes: &mut [u8], at: usize, len: usize) {
    let from = at / len * len;
    let to = (from + len).min(bytes.len());
    bytes[from..to].fill(0);
}

/// Where the records of a segment end, as far as their lengths tell.
fn place_end(bytes: &[u8]) -> usize {
    let mut at = 64;
    while let Some(len) = record_len(bytes, at) {
        at += len;
    }
    at
}

fn record_len(bytes: &[u8], at: usize) -> Option<usize> {
    let fixed = bytes.get(at..at + 20).filter(|_| at + 128 < bytes.len())?;
    let len = u32::from_le_bytes(fixed[4..8].try_into().expect("4 bytes")) as usize;
    (fixed[16] != 0).then(|| (20 + len).next_multiple_of(8))
}

/// Which part of which file a byte is.
fn place_of(path: &Path, bytes: &[u8], at: usize) -> &'static str {
    if segment::base_of(path).is_none() {
        return if path.ends_with("LOCK") { "lock" } else { "id" };
    }
    if at < 64 {
        return "header";
    }
    if at + 128 >= bytes.len() {
        return if at + 64 >= bytes.len() { "copy" } else { "mark" };
    }
    let mut start = 64;
    while let Some(len) = record_len(bytes, start) {
        if at < start + len {
            let body = u32::from_le_bytes(bytes[start + 4..start + 8].try_into().expect("4 bytes")) as usize;
            return match at - start {
                _ if bytes[start + 16] == 5 => "snapshot",
                0..20 => "record_header",
                offset if offset < 20 + body => "body",
                _ => "padding",
            };
        }
        start += len;
    }
    "unused"
}
