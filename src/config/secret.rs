//! Values that cannot be printed, and the files from which they are read when needed.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A password or token is never longer; a wrong path (a log, a disk) is noticed before it is read whole.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// A password or key: its `Debug` and `Display` show `***`, so that it cannot reach a log, an error or the status page.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: String) -> Secret {
        Secret(value)
    }

    /// The secret itself, for the one place that sends it to the peer.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a secret comes from. One that lies in a file is read there each time it is used and not kept: a password that is
/// changed in its file is the next connection's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    Value(Secret),
    File(SecretFile),
}

/// A file that holds a secret, and no more than a line end behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFile {
    /// The key that names it, for messages.
    key: &'static str,
    /// As the configuration has it.
    named: PathBuf,
    /// The same name under `$CREDENTIALS_DIRECTORY`, which goes first if there is such a file.
    credential: Option<PathBuf>,
}

/// Why a secret could not be read from its file.
#[derive(Debug, Error)]
#[error("`{path}` {problem}")]
pub struct SecretError {
    /// The key that names the file.
    pub key: &'static str,
    pub path: PathBuf,
    problem: String,
}

/// Goes into a header of a request.
const HTTP_TOKEN: &str = "token_file";

/// Also where this user may not look: the error then names the path that is closed to them.
pub(super) fn may_exist(path: &Path) -> bool {
    path.try_exists().unwrap_or(true)
}

impl SecretSource {
    /// Reads the file, if it is one: blocks on the disk.
    pub fn read(&self) -> Result<Secret, SecretError> {
        match self {
            SecretSource::Value(secret) => Ok(secret.clone()),
            SecretSource::File(file) => file.read(),
        }
    }

    /// Whether it is this secret at the moment; a file that cannot be read is not.
    pub(super) fn is(&self, secret: &Secret) -> bool {
        self.read().is_ok_and(|ours| ours == *secret)
    }
}

impl SecretFile {
    pub(super) fn new(key: &'static str, named: PathBuf, credentials_directory: Option<&Path>) -> SecretFile {
        let credential = credentials_directory.filter(|_| named.is_relative()).map(|directory| directory.join(&named));
        SecretFile { key, named, credential }
    }

    /// As the configuration has it.
    pub(super) fn named(&self) -> &Path {
        &self.named
    }

    fn path(&self) -> &Path {
        self.credential.as_deref().filter(|path| may_exist(path)).unwrap_or(&self.named)
    }

    fn read(&self) -> Result<Secret, SecretError> {
        let path = self.path();
        let failed = |problem: String| SecretError { key: self.key, path: path.to_owned(), problem };
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes))
            .map_err(|error| failed(format!("cannot be read: {error}")))?;
        if bytes.len() as u64 > SECRET_BYTES_MAX {
            return Err(failed("is larger than 64 KiB".to_owned()));
        }
        let text = String::from_utf8(bytes).map_err(|_| failed("is not UTF-8 text".to_owned()))?;
        let secret = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
        if secret.is_empty() {
            return Err(failed("is empty".to_owned()));
        }
        if self.key == HTTP_TOKEN && secret.contains(char::is_control) {
            return Err(failed("has a line break or another control character, which no client can send".to_owned()));
        }
        if self.key == HTTP_TOKEN && secret.trim() != secret {
            return Err(failed("begins or ends with a space, which clients do not send".to_owned()));
        }
        Ok(Secret(secret.to_owned()))
    }
}
