//! A temporary directory for a command, readable by this user alone.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Removed with everything in it when dropped.
pub(in crate::tools) struct Scratch(PathBuf);

impl Scratch {
    pub(in crate::tools) fn new() -> io::Result<Scratch> {
        let path = std::env::temp_dir().join(format!("rowbridge-{}", unique()));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Scratch(path))
    }

    pub(in crate::tools) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A failure leaves a few empty tables in the system's directory for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A part of a name that nobody else has.
pub(in crate::tools) fn unique() -> String {
    let random = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
    format!("{random:016x}")
}
