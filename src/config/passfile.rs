//! libpq's password file: lines of `host:port:database:user:password`, `*` for any, `\` before `:` and `\`.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::Secret;

/// The file, which is read for each connection: a password changed in it is the next one's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passfile {
    pub(super) path: PathBuf,
    /// Somebody named it; `~/.pgpass`, which nobody did, is passed over where it is of no use.
    pub(super) is_named: bool,
    /// Whom it is asked for where the URL names no user.
    pub(super) user: Option<String>,
}

/// Whom the password is for.
#[derive(Clone, Copy)]
pub struct Account<'a> {
    pub host: &'a str,
    pub port: u16,
    pub database: &'a str,
    pub user: &'a str,
}

/// Why a file that was named is of no use.
#[derive(Debug, Error)]
pub enum PassfileError {
    #[error("passfile `{path}` cannot be read: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("passfile `{0}` is passed over, as others can read it: chmod 600")]
    Open(PathBuf),
}

impl Passfile {
    /// The user of the URL, else the one that this process runs as.
    pub fn user<'a>(&'a self, given: Option<&'a str>) -> Option<&'a str> {
        given.or(self.user.as_deref())
    }

    /// The password of the first line that fits; none if there is no such line, or no file. Blocks on the disk.
    pub fn find(&self, account: &Account<'_>) -> Result<Option<Secret>, PassfileError> {
        let failed = |source| PassfileError::Io { path: self.path.clone(), source };
        match std::fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            _ if !self.is_named && !is_private(&self.path) => return Ok(None),
            Err(error) => return Err(failed(error)),
            Ok(_) if !is_private(&self.path) => return Err(PassfileError::Open(self.path.clone())),
            Ok(_) => {}
        }
        match std::fs::read_to_string(&self.path) {
            Ok(text) => Ok(find_password(&text, account).map(Secret::new)),
            Err(_) if !self.is_named => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }
}

fn find_password(text: &str, account: &Account<'_>) -> Option<String> {
    let port = account.port.to_string();
    // libpq writes `localhost` for a Unix socket.
    let host = if account.host.starts_with('/') { "localhost" } else { account.host };
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = split(line);
        let [line_host, line_port, line_database, line_user, password] = fields.as_slice() else { return None };
        let fits = |field: &str, value: &str| field == "*" || field == value;
        (fits(line_host, host)
            && fits(line_port, &port)
            && fits(line_database, account.database)
            && fits(line_user, account.user))
        .then(|| password.clone())
    })
}

/// Whether libpq would read the file: it passes over one that others can read.
pub(super) fn is_private(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o077 == 0)
}

/// The fields of a line, unescaped. The password is the fifth and last.
fn split(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        let (c, ends) = match c {
            '\\' => (chars.next(), false),
            ':' => (None, true),
            other => (Some(other), false),
        };
        if ends {
            fields.push(String::new());
        } else if let (Some(field), Some(c)) = (fields.last_mut(), c) {
            field.push(c);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: Account<'_> = Account { host: "db.example", port: 5432, database: "telemetry", user: "bridge" };

    #[test]
    fn the_first_line_that_fits_gives_the_password() {
        let file = "# comment\nother:5432:telemetry:bridge:no\n*:5432:*:bridge:yes\ndb.example:*:*:*:later\n";
        assert_eq!(find_password(file, &ACCOUNT).as_deref(), Some("yes"));
        assert_eq!(find_password("db.example:5433:*:*:no\nshort:line\n", &ACCOUNT), None);
    }

    #[test]
    fn escapes_stand_for_themselves() {
        assert_eq!(find_password(r"*:*:*:*:a\:b\\c", &ACCOUNT).as_deref(), Some(r"a:b\c"));
    }

    #[test]
    fn a_socket_directory_is_localhost() {
        let account = Account { host: "/var/run/postgresql", ..ACCOUNT };
        assert_eq!(find_password("localhost:*:*:*:x", &account).as_deref(), Some("x"));
    }
}
