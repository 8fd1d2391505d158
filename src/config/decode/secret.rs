//! Secrets and the files that hold them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::table::Table;
use super::value::{Context, Value};
use crate::config::Secret;

/// A password or token is never longer; a wrong path (a log, a disk) is noticed before it is read whole.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// The value of `key`, or what the file named by `file_key` holds.
pub(super) fn secret(table: &Table<'_>, key: &'static str, file_key: &'static str) -> Option<Secret> {
    text_or_file(table, key, file_key).map(Secret::new)
}

pub(super) fn text_or_file(table: &Table<'_>, key: &'static str, file_key: &'static str) -> Option<String> {
    match (table.get(key), table.get(file_key)) {
        (Some(_), Some(file)) => {
            file.refuse(format!("`{key}` is given too"), format!("one of `{key}` and `{file_key}`"));
            None
        }
        (Some(value), None) => value.text(),
        (None, Some(file)) => read_secret(&file),
        (None, None) => None,
    }
}

/// The path of a file, looked for under `$CREDENTIALS_DIRECTORY` first if it is relative (systemd's LoadCredential).
pub(super) fn resolve(cx: &Context<'_>, name: &Path) -> PathBuf {
    let credential = cx.environment.get("CREDENTIALS_DIRECTORY").map(|directory| Path::new(directory).join(name));
    credential.filter(|path| name.is_relative() && path.exists()).unwrap_or_else(|| name.to_owned())
}

/// The path of a readable file under `key`; that it can be read is checked now rather than at the first connection.
pub(super) fn readable_file(table: &Table<'_>, key: &'static str) -> Option<PathBuf> {
    let value = table.get(key)?;
    let path = resolve(table.cx, Path::new(&value.text()?));
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

fn read_secret(value: &Value<'_>) -> Option<String> {
    let path = resolve(value.cx, Path::new(&value.text()?));
    let refuse = |problem: &str| {
        value.refuse(format!("`{}` {problem}", path.display()), "a readable file that holds the secret alone");
        None
    };
    let mut bytes = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        return refuse(&format!("cannot be read: {error}"));
    }
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return refuse("is larger than 64 KiB");
    }
    let Ok(text) = String::from_utf8(bytes) else { return refuse("is not UTF-8 text") };
    let secret = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if secret.is_empty() {
        return refuse("is empty");
    }
    Some(secret.to_owned())
}
