//! A disk in memory that loses, tears and refuses unsynced writes, reproducibly for each seed.
//!
//! - [`SimFs::crash`] is a power cut: each 512-byte sector of unsynced writes becomes, on its own, old, new, zeros or
//!   garbage (within the bytes that were written: see the assumption in `journal/mod.rs`); each unsynced create, rename
//!   and removal may or may not have happened; so may an unsynced change of length.
//! - [`SimFs::kill`] is a SIGKILL: everything stays as the process left it, and unsynced writes stay unsynced.
//! - A block may be unreadable ([`SimFs::spoil`]) until it is written as a whole.
//! - A locked file can always be overwritten in memory (`journal/LOCK` records when this assumption does not hold).
//! - A failed sync writes some of its sectors. The others are lost but stay visible, as on Linux.

mod disk;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use disk::{BLOCK_BYTES, Disk, EIO, ENOSPC, Inode, NameChange};

use super::shared::lock;
use super::{Fs, FsFile};

/// What goes wrong at a chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SimFault {
    /// The call fails with EIO. A sync has then lost a part of what it was to write.
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
            boots: 0,
            random: seed,
            calls: 0,
            faults: BTreeMap::new(),
            shows_unsynced: false,
            lies: false,
            failing_reads: 0,
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
        disk.boots += 1;
        SimFs::with(disk)
    }

    /// What a SIGKILL leaves.
    pub fn kill(&self) -> SimFs {
        let mut disk = lock(&self.disk).clone();
        disk.locks.clear();
        disk.faults.clear();
        disk.failing_reads = 0;
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

    /// Whether a failed sync left bytes that are shown and are not on the disk, and no later sync will bring there.
    pub fn shows_unsynced(&self) -> bool {
        lock(&self.disk).shows_unsynced
    }

    /// From now on a sync of a file says that it did what it did not: the negative control of a simulation.
    pub fn lie_about_syncs(&self) {
        lock(&self.disk).lies = true;
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

    /// Makes the block that holds the byte `offset` of a file unreadable.
    pub fn spoil(&self, path: &Path, offset: u64) {
        let mut disk = lock(&self.disk);
        let inode = *disk.names.get(path).expect("the test names a file that exists");
        disk.inodes[inode].unreadable.insert(offset / BLOCK_BYTES);
    }

    /// Makes the next `count` reads fail with EIO.
    pub fn fail_reads(&self, count: u64) {
        lock(&self.disk).failing_reads = count;
    }

    /// Puts a file on the disk, or another in its place, behind everybody's back.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let mut disk = lock(&self.disk);
        let inode = disk.inodes.len();
        disk.inodes.push(Inode { content: bytes.to_vec(), durable: bytes.to_vec(), ..Inode::default() });
        disk.names.insert(path.to_path_buf(), inode);
        disk.durable_names.insert(path.to_path_buf(), inode);
        disk.directories.extend(path.ancestors().skip(1).map(Path::to_path_buf));
    }

    /// A file's bytes, as they are shown.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let disk = lock(&self.disk);
        disk.names.get(path).map(|&inode| disk.inodes[inode].content.clone())
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

    fn boot_id(&self) -> Option<String> {
        Some(format!("{}", lock(&self.disk).boots))
    }

    fn fill_random(&self, bytes: &mut [u8]) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        bytes.iter_mut().for_each(|byte| *byte = disk.random() as u8);
        Ok(())
    }
}

impl FsFile for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = lock(&self.disk);
        if disk.failing_reads > 0 {
            disk.failing_reads -= 1;
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let content = &disk.inodes[self.inode].content;
        let from = (offset as usize).min(content.len());
        let n = disk.inodes[self.inode].readable(from as u64, buf.len().min(content.len() - from))?;
        buf[..n].copy_from_slice(&content[from..from + n]);
        Ok(n)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        // What is overwritten in memory, and is not synced, no disk refuses; unless the system has given it up altogether.
        let fault = if self.locked.is_some() { None } else { disk.call() };
        let len = match fault {
            None => bytes.len(),
            Some(SimFault::Short) => disk.random() as usize % (bytes.len() + 1),
            Some(SimFault::Io) => return Err(io::Error::from_raw_os_error(EIO)),
            Some(SimFault::Full) => return Err(io::Error::from_raw_os_error(ENOSPC)),
        };
        disk.extend(self.inode, offset + len as u64)?;
        let inode = &mut disk.inodes[self.inode];
        inode.remap(offset, offset + len as u64)?;
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
        if disk.lies {
            return result;
        }
        let dirty = std::mem::take(&mut disk.inodes[self.inode].dirty);
        // After a failure the pages count as clean: they are shown, and a later sync does not write them.
        if let Err(error) = result {
            disk.shows_unsynced = true;
            disk.sync_partly(self.inode, dirty);
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

    fn forget_cached(&self) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        let Inode { content, durable, dirty, .. } = &mut disk.inodes[self.inode];
        let mut shown = durable.clone();
        shown.resize(content.len(), 0);
        for range in dirty {
            let range = range.start as usize..range.end as usize;
            shown[range.clone()].copy_from_slice(&content[range]);
        }
        *content = shown;
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
