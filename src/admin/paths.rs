//! The paths of this bridge's files, for commands that run in another directory and shell.

use std::env;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::Config;

/// Absolute paths, as far as they are known. Never what is in the files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Paths {
    /// The configuration file.
    pub config: Option<String>,
    /// Relative paths of the configuration begin here.
    pub working_directory: Option<String>,
    pub data_dir: Option<String>,
    /// systemd's `$STATE_DIRECTORY` and `$CREDENTIALS_DIRECTORY`.
    pub state_directory: Option<String>,
    pub credentials_directory: Option<String>,
}

impl Paths {
    /// Those of this process.
    pub fn of(config: &Config) -> Paths {
        Paths {
            // Links stay: an installation may point them at another directory while the bridge runs.
            config: config.file.as_deref().and_then(|file| std::path::absolute(file).ok()?.to_str().map(str::to_owned)),
            working_directory: env::current_dir().ok().as_deref().and_then(absolute),
            data_dir: absolute(&config.data_dir),
            state_directory: env::var("STATE_DIRECTORY").ok(),
            credentials_directory: env::var("CREDENTIALS_DIRECTORY").ok(),
        }
    }
}

/// Without links, so that two ways to name a file compare equal; `None` for a path that JSON cannot hold.
fn absolute(path: &Path) -> Option<String> {
    let path = path.canonicalize().or_else(|_| std::path::absolute(path)).ok()?;
    path.to_str().map(str::to_owned)
}
