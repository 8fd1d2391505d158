//! The operating system's file system.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, FallocateFlags, FlockOperation};
use rustix::io::Errno;

use super::{Fs, FsFile};

/// The journal holds what devices sent: nobody but the service's user needs to read it, and its group may.
const FILE_MODE: u32 = 0o640;
const DIRECTORY_MODE: u32 = 0o750;

/// A UUID that Linux makes when it starts (random(4)).
const BOOT_ID_PATH: &str = "/proc/sys/kernel/random/boot_id";

/// Bytes written at a time where the file system cannot preallocate.
const ZEROS_LEN: usize = 64 * 1024;

/// The operating system's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealFs;

impl Fs for RealFs {
    type File = File;

    /// Also makes the new directory's own entry durable: a journal in a directory that a power cut removes is gone.
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        std::fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)?;
        for parent in path.ancestors().skip(1).take(2) {
            let is_here = parent.as_os_str().is_empty();
            self.sync_dir(if is_here { Path::new(".") } else { parent })?;
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect()
    }

    fn create_new(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(path)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(path)
    }

    fn open_read(&self, path: &Path) -> io::Result<File> {
        File::open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<File> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(path)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(file)
    }

    fn boot_id(&self) -> Option<String> {
        let id = std::fs::read_to_string(BOOT_ID_PATH).ok()?;
        // It may be hidden behind an empty file.
        Some(id.trim().to_owned()).filter(|id| !id.is_empty())
    }

    fn fill_random(&self, bytes: &mut [u8]) -> io::Result<()> {
        getrandom::fill(bytes).map_err(io::Error::other)
    }
}

impl FsFile for File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buf, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self, FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            // File systems without fallocate (NFS, some FUSE, ZFS): zeros in the file reserve the room as well.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                let zeros = [0; ZEROS_LEN];
                (0..len).step_by(ZEROS_LEN).try_for_each(|offset| {
                    let n = (len - offset).min(ZEROS_LEN as u64) as usize;
                    FileExt::write_all_at(self, &zeros[..n], offset)
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn forget_cached(&self) -> io::Result<()> {
        match rustix::fs::fadvise(self, 0, None, Advice::DontNeed) {
            // It is advice: where the system does not know it, nothing is kept, or nothing can be done.
            Ok(()) | Err(Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}
