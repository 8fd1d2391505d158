//! The contents of a [`super::SimFs`]: the visible bytes, the bytes that a power cut leaves, and the same for names.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use super::SimFault;

const SECTOR_BYTES: u64 = 512;

/// What the page cache reads at once, and a bad sector therefore costs.
pub(super) const BLOCK_BYTES: u64 = 4096;

/// ENOSPC and EIO, as the operating system numbers them.
pub(super) const ENOSPC: i32 = 28;
pub(super) const EIO: i32 = 5;

#[derive(Clone)]
pub(super) struct Disk {
    pub(super) inodes: Vec<Inode>,
    /// Names as processes see them.
    pub(super) names: BTreeMap<PathBuf, usize>,
    pub(super) durable_names: BTreeMap<PathBuf, usize>,
    /// In the order they were made.
    pub(super) unsynced_names: Vec<NameChange>,
    pub(super) directories: BTreeSet<PathBuf>,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) capacity: u64,
    /// How often it lost power.
    pub(super) boots: u64,
    pub(super) random: u64,
    /// Calls so far that can fail: all but reads.
    pub(super) calls: u64,
    pub(super) faults: BTreeMap<u64, SimFault>,
    pub(super) shows_unsynced: bool,
    pub(super) lies: bool,
    /// So many of the next reads fail.
    pub(super) failing_reads: u64,
}

#[derive(Clone, Default)]
pub(super) struct Inode {
    pub(super) content: Vec<u8>,
    pub(super) durable: Vec<u8>,
    pub(super) dirty: Vec<Range<u64>>,
    /// Numbers of blocks that cannot be read, until they are written as a whole.
    pub(super) unreadable: BTreeSet<u64>,
}

#[derive(Clone)]
pub(super) enum NameChange {
    Created(PathBuf, usize),
    Renamed(PathBuf, PathBuf, usize),
    Removed(PathBuf, usize),
}

impl Disk {
    /// SplitMix64.
    pub(super) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn call(&mut self) -> Option<SimFault> {
        let fault = self.faults.remove(&self.calls);
        self.calls += 1;
        fault
    }

    /// A call that fails as a whole.
    pub(super) fn fallible_call(&mut self) -> io::Result<()> {
        match self.call() {
            None => Ok(()),
            Some(SimFault::Full) => Err(io::Error::from_raw_os_error(ENOSPC)),
            Some(SimFault::Io | SimFault::Short) => Err(io::Error::from_raw_os_error(EIO)),
        }
    }

    pub(super) fn power_cut(&mut self) {
        for change in std::mem::take(&mut self.unsynced_names) {
            if self.random() & 1 == 0 {
                continue;
            }
            let names = &mut self.durable_names;
            match change {
                NameChange::Created(path, inode) => drop(names.insert(path, inode)),
                NameChange::Renamed(from, to, inode) => {
                    names.retain(|path, held| *path != from || *held != inode);
                    names.insert(to, inode);
                }
                NameChange::Removed(path, inode) => names.retain(|name, held| *name != path || *held != inode),
            }
        }
        self.names = self.durable_names.clone();
        for at in 0..self.inodes.len() {
            let mut inode = std::mem::take(&mut self.inodes[at]);
            self.resolve(&mut inode);
            self.inodes[at] = inode;
        }
        self.locks.clear();
        self.faults.clear();
        self.failing_reads = 0;
        self.shows_unsynced = false;
    }

    /// Settles what became of a file's unsynced bytes.
    fn resolve(&mut self, inode: &mut Inode) {
        if self.random() & 1 == 0 {
            inode.durable.resize(inode.content.len(), 0);
        }
        let style = self.random() % 4;
        for range in std::mem::take(&mut inode.dirty) {
            let mut at = range.start;
            while at < range.end {
                let end = (at + 1).next_multiple_of(SECTOR_BYTES).min(range.end);
                // A quarter each of: nothing arrived, everything did, and two of a mixture.
                let fate = if style < 2 { style } else { self.random() % 4 };
                for byte in at as usize..(end as usize).min(inode.durable.len()) {
                    inode.durable[byte] = match fate {
                        0 => inode.durable[byte],
                        1 => inode.content.get(byte).copied().unwrap_or_default(),
                        2 => 0,
                        _ => self.random() as u8,
                    };
                }
                at = end;
            }
        }
        inode.content.clone_from(&inode.durable);
    }

    /// What a failed sync leaves: of each sector that was to be written, the old or the new.
    pub(super) fn sync_partly(&mut self, inode: usize, dirty: Vec<Range<u64>>) {
        for range in dirty {
            let mut at = range.start;
            while at < range.end {
                let end = (at + 1).next_multiple_of(SECTOR_BYTES).min(range.end);
                let arrives = self.random() & 1 == 0;
                let Inode { content, durable, .. } = &mut self.inodes[inode];
                if arrives && end as usize <= content.len() {
                    durable.resize(durable.len().max(end as usize), 0);
                    durable[at as usize..end as usize].copy_from_slice(&content[at as usize..end as usize]);
                }
                at = end;
            }
        }
    }

    fn used(&self) -> u64 {
        self.names.values().map(|&inode| self.inodes[inode].content.len() as u64).sum()
    }

    /// Makes a file at least `len` long.
    pub(super) fn extend(&mut self, inode: usize, len: u64) -> io::Result<()> {
        let grown = len.saturating_sub(self.inodes[inode].content.len() as u64);
        if grown > 0 && self.used() + grown > self.capacity {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        let content = &mut self.inodes[inode].content;
        content.resize(content.len().max(len as usize), 0);
        Ok(())
    }
}

impl Inode {
    /// How many of the `len` bytes at `from` can be read before a bad block; an error if none.
    pub(super) fn readable(&self, from: u64, len: usize) -> io::Result<usize> {
        match self.unreadable.range(from / BLOCK_BYTES..).next() {
            Some(block) if block * BLOCK_BYTES <= from && len > 0 => Err(io::Error::from_raw_os_error(EIO)),
            Some(block) => Ok(len.min((block * BLOCK_BYTES - from) as usize)),
            None => Ok(len),
        }
    }

    /// A block written as a whole gets another place on the disk; a part of one would have to be read first.
    pub(super) fn remap(&mut self, from: u64, to: u64) -> io::Result<()> {
        for block in from / BLOCK_BYTES..to.div_ceil(BLOCK_BYTES) {
            if self.unreadable.contains(&block) {
                if from > block * BLOCK_BYTES || to < (block + 1) * BLOCK_BYTES {
                    return Err(io::Error::from_raw_os_error(EIO));
                }
                self.unreadable.remove(&block);
            }
        }
        Ok(())
    }
}
