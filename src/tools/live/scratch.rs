//! A temporary directory for a command, readable by this user alone.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// What helps where no temporary folder can be made.
pub(in crate::tools) const SCRATCH_REMEDY: &str = "set TMPDIR to a folder that takes files";

/// Removed with everything in it when dropped.
pub(in crate::tools) struct Scratch(PathBuf);

impl Scratch {
    /// The error says which folder takes none and why; see [`SCRATCH_REMEDY`].
    pub(in crate::tools) fn new() -> Result<Scratch, String> {
        Scratch::within(places())
    }

    /// In the first of these folders that takes one; the error is that of the very first.
    fn within(places: impl IntoIterator<Item = PathBuf>) -> Result<Scratch, String> {
        let name = format!("rowbridge-{}", unique());
        let mut first = None;
        for place in places {
            let path = place.join(&name);
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Scratch(path)),
                Err(error) => first
                    .get_or_insert_with(|| format!("no temporary folder can be made in {}: {error}", place.display())),
            };
        }
        Err(first.unwrap_or_default())
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

/// Where temporary files may go: a container whose file system is read-only often has the last ones alone.
fn places() -> impl Iterator<Item = PathBuf> {
    let state = std::env::var("STATE_DIRECTORY").unwrap_or_default();
    let state = state.split(':').next().filter(|state| !state.is_empty()).map(PathBuf::from);
    [std::env::temp_dir(), PathBuf::from("/dev/shm")].into_iter().chain(state)
}

/// A part of a name that nobody else has.
pub(in crate::tools) fn unique() -> String {
    let random = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
    format!("{random:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_takes_nothing_is_passed_over_and_named_if_no_other_does() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let scratch = Scratch::within([missing.clone(), folder.path().to_owned()]).unwrap();
        assert!(scratch.path().starts_with(folder.path()) && scratch.path().is_dir());
        let path = scratch.path().to_owned();
        drop(scratch);
        assert!(!path.exists());
        let error = Scratch::within([missing.clone(), missing.join("again")]).map(drop).unwrap_err();
        assert!(error.starts_with(&format!("no temporary folder can be made in {}: ", missing.display())), "{error}");
    }
}
