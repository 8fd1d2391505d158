//! libpq's password file: lines of `host:port:database:user:password`, `*` for any, `\` before `:` and `\`.

use std::path::Path;

/// Whom the password is for.
pub(super) struct Account<'a> {
    pub host: &'a str,
    pub port: u16,
    pub database: &'a str,
    pub user: &'a str,
}

/// The password of the first line that fits.
pub(super) fn find_password(text: &str, account: &Account<'_>) -> Option<String> {
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
    use std::os::unix::fs::PermissionsExt;
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
