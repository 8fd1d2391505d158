//! A disk in memory that loses, tears and refuses what was not synced, the same way for the same seed.
//!
//! - [`SimFs::crash`] is a power cut: each 512-byte sector of unsynced writes becomes, on its own, old, new, zeros or
//!   garbage (within the bytes that were written: see the assumption in `journal/mod.rs`); each unsynced create, rename
//!   and removal may or may not have happened; so may an unsynced change of length.
//! - [`SimFs::kill`] is a SIGKILL: everything is as the process left it, and as unsynced as it was.
//! - A failed sync loses what it was to write but goes on showing it, as Linux does.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::shared::lock;
use super::{Fs, FsFile};

const SECTOR_BYTES: u64 = 512;

/// ENOSPC and EIO, as the operating system numbers them.
const ENOSPC: i32 = 28;
const EIO: i32 = 5;

/// What goes wrong at a chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SimFault {
    /// The call fails with EIO. A sync has then lost what it was to write.
    Io,
    /// The call fails with ENOSPC.
    Full,
    /// A write writes a part and fails; any other call fails with EIO.
    Short,
}

/// A simulated file system; clones share the disk.
#[derive(Clone)]
pub struct SimFs {
    disk: Arc<Mutex<Disk>>,
}

/// An open file of a [`SimFs`].
pub struct SimFile {
    disk: Arc<Mutex<Disk>>,
    inode: usize,
    locked: Option<PathBuf>,
}

#[derive(Clone)]
struct Disk {
    inodes: Vec<Inode>,
    /// Names as processes see them.
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// In the order they were made.
    unsynced_names: Vec<NameChange>,
    directories: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    capacity: u64,
    random: u64,
    /// Calls so far that can fail: all but reads.
    calls: u64,
    faults: BTreeMap<u64, SimFault>,
    shows_unsynced: bool,
}

#[derive(Clone, Default)]
struct Inode {
    content: Vec<u8>,
    durable: Vec<u8>,
    dirty: Vec<Range<u64>>,
}

#[derive(Clone)]
enum NameChange {
    Created(PathBuf, usize),
    Renamed(PathBuf, PathBuf, usize),
    Removed(PathBuf, usize),
}

impl SimFs {
    /// An empty disk; ids, salts and tears follow from `seed`.
    pub fn new(seed: u64) -> SimFs {
        SimFs::with(Disk {
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            directories: BTreeSet::new(),
            locks: BTreeSet::new(),
            capacity: u64::MAX,
            random: seed,
            calls: 0,
            faults: BTreeMap::new(),
            shows_unsynced: false,
        })
    }

    fn with(disk: Disk) -> SimFs {
        SimFs { disk: Arc::new(Mutex::new(disk)) }
    }

    /// What a power cut leaves. The old disk goes on existing for whoever still writes to it.
    pub fn crash(&self, seed: u64) -> SimFs {
        let mut disk = lock(&self.disk).clone();
        disk.random ^= seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        disk.power_cut();
        SimFs::with(disk)
    }

    /// What a SIGKILL leaves.
    pub fn kill(&self) -> SimFs {
        let mut disk = lock(&self.disk).clone();
        disk.locks.clear();
        disk.faults.clear();
        SimFs::with(disk)
    }

    /// Makes the `after`-th call from now on fail; 0 is the next.
    pub fn fail_call(&self, after: u64, fault: SimFault) {
        let mut disk = lock(&self.disk);
        let call = disk.calls + after;
        disk.faults.insert(call, fault);
    }

    /// Calls so far that can fail.
    pub fn calls(&self) -> u64 {
        lock(&self.disk).calls
    }

    /// Faults that have not come to pass yet.
    pub fn faults_left(&self) -> usize {
        lock(&self.disk).faults.len()
    }

    /// Whether a failed sync left bytes that are shown and are not on the disk, and no later sync will bring there. A
    /// process started on them after a [`SimFs::kill`] cannot know.
    pub fn shows_unsynced(&self) -> bool {
        lock(&self.disk).shows_unsynced
    }

    /// Bytes that all files together may have.
    pub fn set_capacity(&self, bytes: u64) {
        lock(&self.disk).capacity = bytes;
    }

    /// All files with their lengths.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let disk = lock(&self.disk);
        disk.names.iter().map(|(path, &inode)| (path.clone(), disk.inodes[inode].content.len() as u64)).collect()
    }

    /// Changes bytes on the disk, behind everybody's back.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut disk = lock(&self.disk);
        let inode = *disk.names.get(path).expect("the test names a file that exists");
        let inode = &mut disk.inodes[inode];
        change(&mut inode.content);
        inode.durable.clone_from(&inode.content);
        inode.dirty.clear();
    }
}

impl Disk {
    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn call(&mut self) -> Option<SimFault> {
        let fault = self.faults.remove(&self.calls);
        self.calls += 1;
        fault
    }

    /// A call that fails as a whole.
    fn fallible_call(&mut self) -> io::Result<()> {
        match self.call() {
            None => Ok(()),
            Some(SimFault::Full) => Err(io::Error::from_raw_os_error(ENOSPC)),
            Some(SimFault::Io | SimFault::Short) => Err(io::Error::from_raw_os_error(EIO)),
        }
    }

    fn power_cut(&mut self) {
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

    fn used(&self) -> u64 {
        self.names.values().map(|&inode| self.inodes[inode].content.len() as u64).sum()
    }

    /// Makes a file at least `len` long.
    fn extend(&mut self, inode: usize, len: u64) -> io::Result<()> {
        let grown = len.saturating_sub(self.inodes[inode].content.len() as u64);
        if grown > 0 && self.used() + grown > self.capacity {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        let content = &mut self.inodes[inode].content;
        content.resize(content.len().max(len as usize), 0);
        Ok(())
    }
}

impl SimFs {
    fn file(&self, inode: usize) -> SimFile {
        SimFile { disk: Arc::clone(&self.disk), inode, locked: None }
    }
}

impl Fs for SimFs {
    type File = SimFile;

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        disk.fallible_call()?;
        disk.directories.extend(path.ancestors().map(Path::to_path_buf));
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let disk = lock(&self.disk);
        if !disk.directories.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let names = disk.names.keys().chain(&disk.directories);
        Ok(names.filter(|name| name.parent() == Some(path)).cloned().collect())
    }

    fn create_new(&self, path: &Path) -> io::Result<SimFile> {
        let mut disk = lock(&self.disk);
        disk.fallible_call()?;
        if disk.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = disk.inodes.len();
        disk.inodes.push(Inode::default());
        disk.names.insert(path.to_path_buf(), inode);
        disk.unsynced_names.push(NameChange::Created(path.to_path_buf(), inode));
        Ok(self.file(inode))
    }

    fn open(&self, path: &Path) -> io::Result<SimFile> {
        let inode = lock(&self.disk).names.get(path).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(inode))
    }

    fn open_read(&self, path: &Path) -> io::Result<SimFile> {
        self.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        disk.fallible_call()?;
        let inode = disk.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        disk.names.insert(to.to_path_buf(), inode);
        disk.unsynced_names.push(NameChange::Renamed(from.to_path_buf(), to.to_path_buf(), inode));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        disk.fallible_call()?;
        let inode = disk.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        disk.unsynced_names.push(NameChange::Removed(path.to_path_buf(), inode));
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        disk.fallible_call()?;
        let is_here = |name: &Path| name.parent() == Some(path);
        let Disk { unsynced_names, names, durable_names, .. } = &mut *disk;
        unsynced_names.retain(|change| match change {
            NameChange::Created(name, _) | NameChange::Removed(name, _) => !is_here(name),
            NameChange::Renamed(from, to, _) => !is_here(from) || !is_here(to),
        });
        durable_names.retain(|name, _| !is_here(name));
        durable_names
            .extend(names.iter().filter(|(name, _)| is_here(name)).map(|(name, inode)| (name.clone(), *inode)));
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<SimFile> {
        let mut disk = lock(&self.disk);
        if !disk.locks.insert(path.to_path_buf()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let inode = disk.names.get(path).copied().unwrap_or(disk.inodes.len());
        if inode == disk.inodes.len() {
            disk.inodes.push(Inode::default());
            disk.names.insert(path.to_path_buf(), inode);
            disk.durable_names.insert(path.to_path_buf(), inode);
        }
        Ok(SimFile { disk: Arc::clone(&self.disk), inode, locked: Some(path.to_path_buf()) })
    }

    fn fill_random(&self, bytes: &mut [u8]) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        bytes.iter_mut().for_each(|byte| *byte = disk.random() as u8);
        Ok(())
    }
}

impl FsFile for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let disk = lock(&self.disk);
        let content = &disk.inodes[self.inode].content;
        let from = (offset as usize).min(content.len());
        let n = buf.len().min(content.len() - from);
        buf[..n].copy_from_slice(&content[from..from + n]);
        Ok(n)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        let fault = disk.call();
        let len = match fault {
            None => bytes.len(),
            Some(SimFault::Short) => disk.random() as usize % (bytes.len() + 1),
            Some(SimFault::Io) => return Err(io::Error::from_raw_os_error(EIO)),
            Some(SimFault::Full) => return Err(io::Error::from_raw_os_error(ENOSPC)),
        };
        disk.extend(self.inode, offset + len as u64)?;
        let inode = &mut disk.inodes[self.inode];
        inode.content[offset as usize..offset as usize + len].copy_from_slice(&bytes[..len]);
        inode.dirty.push(offset..offset + len as u64);
        fault.map_or(Ok(()), |_| Err(io::Error::from_raw_os_error(EIO)))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        disk.fallible_call()?;
        disk.extend(self.inode, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        let result = disk.fallible_call();
        let dirty = std::mem::take(&mut disk.inodes[self.inode].dirty);
        // After a failure the pages count as clean: they are shown, and a later sync does not write them.
        if let Err(error) = result {
            disk.shows_unsynced = true;
            return Err(error);
        }
        let Inode { content, durable, .. } = &mut disk.inodes[self.inode];
        durable.resize(content.len(), 0);
        for range in dirty {
            let range = range.start as usize..range.end as usize;
            durable[range.clone()].copy_from_slice(&content[range]);
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.disk).inodes[self.inode].content.len() as u64)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        if let Some(path) = &self.locked {
            lock(&self.disk).locks.remove(path);
        }
    }
}
