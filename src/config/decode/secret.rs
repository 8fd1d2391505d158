//! Secrets and the files that hold them.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::table::Table;
use super::value::Context;
use crate::config::needs::SecretNeed;
use crate::config::secret::may_exist;
use crate::config::{Secret, SecretFile, SecretSource};

/// The value of `key`, or the file named by `file_key`. That it can be read is checked now rather than at the first
/// connection, if the secret is needed; what it holds is not kept.
pub(super) fn secret(table: &Table<'_>, key: &'static str, file_key: &'static str) -> Option<SecretSource> {
    match (table.get(key), table.get(file_key)) {
        (Some(_), Some(file)) => {
            file.refuse(format!("`{key}` is given too"), format!("one of `{key}` and `{file_key}`"));
            None
        }
        (Some(value), None) => value.text().map(Secret::new).map(SecretSource::Value),
        (None, Some(value)) => {
            let directory = table.cx.environment.get("CREDENTIALS_DIRECTORY").map(Path::new);
            let source = SecretSource::File(SecretFile::new(file_key, value.text()?.into(), directory));
            if is_needed(table.cx)
                && let Err(error) = source.read()
            {
                value.refuse(error.to_string(), "a readable file that holds the secret alone");
            }
            Some(source)
        }
        (None, None) => None,
    }
}

/// The path of a file, looked for under `$CREDENTIALS_DIRECTORY` first if it is relative (systemd's LoadCredential).
pub(super) fn resolve(cx: &Context<'_>, name: &Path) -> PathBuf {
    let credential = cx.environment.get("CREDENTIALS_DIRECTORY").map(|directory| Path::new(directory).join(name));
    credential.filter(|path| name.is_relative() && may_exist(path)).unwrap_or_else(|| name.to_owned())
}

/// Whether secrets, and the files of keys and certificates, must be there now.
pub(super) fn is_needed(cx: &Context<'_>) -> bool {
    cx.secrets == SecretNeed::Readable
}

/// The path of a readable file under `key`; that it can be read is checked now rather than at the first connection, if it
/// is needed.
pub(super) fn readable_file(table: &Table<'_>, key: &'static str) -> Option<PathBuf> {
    let value = table.get(key)?;
    let path = resolve(table.cx, Path::new(&value.text()?));
    if !is_needed(table.cx) {
        return Some(path);
    }
    match File::open(&path).and_then(|file| file.metadata()) {
        Ok(metadata) if metadata.is_file() => Some(path),
        Ok(_) => {
            value.refuse(format!("`{}` is not a file", path.display()), "the path of a file");
            None
        }
        Err(error) => {
            value.refuse(format!("`{}` cannot be read: {error}", path.display()), "the path of a readable file");
            None
        }
    }
}
