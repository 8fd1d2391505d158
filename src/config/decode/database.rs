//! The `databases` section.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::table::Table;
use super::value::Value;
use super::{libpq, postgres};
use crate::config::{Batch, Database, DatabaseUrl, Retry};

/// See [`Batch::max_rows`].
const BATCH_ROWS: u64 = 5000;
const BATCH_BYTES: u64 = 8 << 20;
/// Short enough not to be noticed; twenty transactions a second cost a database next to nothing. See [`Batch::max_wait`].
const BATCH_WAIT: Duration = Duration::from_millis(50);
const RETRY_MIN: Duration = Duration::from_millis(200);
/// A database that comes back is noticed within half a minute.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Longer than any batch takes on a healthy database.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// See [`Database::park_after`].
const PARK_AFTER: Duration = Duration::from_secs(30);

/// A name appears in metrics, messages and environment variables.
const NAME_BYTES_MAX: usize = 100;

const URL_FORMS: &str = "sqlite:FILE or postgres://USER@HOST/DATABASE";

/// All databases, in the order of the file.
pub(super) fn decode(root: &Table<'_>) -> Vec<Database> {
    const EXAMPLE: &str =
        "at least one database, such as\n        databases:\n          local:\n            url: sqlite:rowbridge.db";
    let Some(section) = root.get("databases") else {
        root.miss("databases", EXAMPLE);
        return Vec::new();
    };
    let Some(mut entries) = section.entries().map(Iterator::peekable) else {
        section.refuse(format!("found {}", section.shown()), EXAMPLE);
        return Vec::new();
    };
    if entries.peek().is_none() {
        section.refuse("is empty", EXAMPLE);
    }
    let mut places = HashMap::new();
    let mut databases = Vec::new();
    for (name, value) in entries {
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(['\0', '{', '}']) {
            value.refuse("the name is not one", "1 to 100 bytes without braces");
        }
        if name == "mqtt" {
            value.refuse("the name is the broker's in metrics", "any other name");
        }
        let database = decode_one(name, &value);
        if let Some(place) = place_of(&database.url)
            && let Some(other) = places.insert(place, name.to_owned())
        {
            // Both would keep their offset in the same row, and each would skip the other's messages.
            value.refuse(
                format!("is the same database as `{other}`"),
                "each database once; any number of rules may use it",
            );
        }
        databases.push(database);
    }
    databases
}

fn decode_one(name: &str, value: &Value<'_>) -> Database {
    let table = value.table();
    let url = match table.get("url") {
        Some(url) => decode_url(&url, &table),
        None => {
            // A mapping that is none has its finding already.
            if !value.is_scalar() || value.is_null() {
                table.miss("url", URL_FORMS);
            }
            None
        }
    };
    let url = url.unwrap_or_else(|| {
        // Without a valid URL, what belongs to one engine only is accepted, so as not to blame it too.
        for key in ["password", "password_file", "schema", "tls"] {
            table.get(key);
        }
        DatabaseUrl::Sqlite(PathBuf::new())
    });
    let millis = Duration::from_millis;
    let database = Database {
        name: Arc::from(name),
        url,
        batch: batch(table.table("batch")),
        retry: retry(table.table("retry")),
        statement_timeout: table.duration("statement_timeout", STATEMENT_TIMEOUT, millis(100)..=millis(86_400_000)),
        park_after: table.duration("park_after", PARK_AFTER, Duration::ZERO..=millis(86_400_000)),
    };
    table.finish();
    database
}

fn decode_url(value: &Value<'_>, table: &Table<'_>) -> Option<DatabaseUrl> {
    let text = value.text()?;
    if let Some(path) = text.strip_prefix("sqlite:") {
        return sqlite(path, value, table).map(DatabaseUrl::Sqlite);
    }
    if libpq::is_connection(&text) {
        return postgres::decode(&text, value, table).map(|url| DatabaseUrl::Postgres(Box::new(url)));
    }
    let suggestion = meant(&text).filter(|url| is_accepted(url));
    value.refuse_with(
        format!("found {}, which is no database that Rowbridge knows", value.shown()),
        Some(URL_FORMS.to_owned()),
        suggestion.and_then(|url| value.quoting(|| url)),
    );
    None
}

/// The probable intention of such a text.
fn meant(text: &str) -> Option<String> {
    let text = text.strip_prefix("jdbc:").unwrap_or(text);
    let Some((scheme, rest)) = text.split_once(':') else {
        return (text.contains('.') && !text.contains('@')).then(|| format!("sqlite:{text}"));
    };
    let relative = || rest.strip_prefix("//").filter(|path| !path.starts_with('/')).unwrap_or(rest);
    match scheme.to_ascii_lowercase().as_str() {
        "file" | "sqlite" | "sqlite3" => Some(format!("sqlite:{}", relative())),
        "pg" | "pgsql" | "postgre" | "postgres" | "postgresql" | "postgressql" | "timescaledb" | "timescale" => {
            Some(format!("postgres://{}", rest.trim_start_matches('/')))
        }
        _ => None,
    }
}

/// Whether an address that is suggested would be taken.
fn is_accepted(url: &str) -> bool {
    match url.strip_prefix("sqlite:") {
        Some(path) => sqlite_path(path).is_some(),
        None => libpq::parse(url).is_ok_and(|parameters| !parameters.is_empty()),
    }
}

/// `sqlite:rowbridge.db`, `sqlite:/abs`, `sqlite:///abs`.
fn sqlite(path: &str, value: &Value<'_>, table: &Table<'_>) -> Option<PathBuf> {
    for key in ["password", "password_file", "schema", "tls"] {
        if let Some(unfit) = table.get(key) {
            unfit.refuse("means nothing for SQLite", "nothing; leave it out");
        }
    }
    if let Some(relative) = path.strip_prefix("//").filter(|path| !path.starts_with('/')) {
        let accepted = "sqlite:FILE, or sqlite:///ABSOLUTE/FILE with three slashes";
        let suggestion = format!("sqlite:{relative}");
        let suggestion = is_accepted(&suggestion).then_some(suggestion).and_then(|url| value.quoting(|| url));
        value.refuse_with(format!("found {}, with a host", value.shown()), Some(accepted.to_owned()), suggestion);
        return None;
    }
    let accepted = sqlite_path(path);
    if accepted.is_none() {
        let accepted = "sqlite:FILE, a permanent file; it has no parameters";
        value.refuse(format!("found {}", value.shown()), accepted);
    }
    accepted
}

/// The file that follows `sqlite:`.
fn sqlite_path(path: &str) -> Option<PathBuf> {
    let path = match path.strip_prefix("//") {
        Some(absolute) if absolute.starts_with('/') => absolute,
        Some(_) => return None,
        None => path,
    };
    let is_file = !path.is_empty() && path != ":memory:" && !path.contains(['?', '\0']) && !path.ends_with('/');
    is_file.then(|| path.into())
}

fn batch(table: Table<'_>) -> Batch {
    // One batch is held in memory, and the databases each have theirs.
    let batch = Batch {
        max_rows: size(table.integer("max_rows", BATCH_ROWS, 1..=1_000_000)),
        max_bytes: size(table.size("max_bytes", BATCH_BYTES, 1 << 10..=1 << 30)),
        max_wait: table.duration("max_wait", BATCH_WAIT, Duration::ZERO..=Duration::from_secs(600)),
    };
    table.finish();
    batch
}

fn size(number: u64) -> usize {
    number.try_into().unwrap_or(usize::MAX)
}

/// `retry`, of a database or of the broker.
pub(super) fn retry(table: Table<'_>) -> Retry {
    let range = Duration::from_millis(1)..=Duration::from_secs(3600);
    let retry =
        Retry { min: table.duration("min", RETRY_MIN, range.clone()), max: table.duration("max", RETRY_MAX, range) };
    if retry.min > retry.max
        && let Some(value) = table.get("min").or_else(|| table.get("max"))
    {
        value.refuse("min is longer than max", "a min of at most max");
    }
    table.finish();
    retry
}

/// A certificate is of no use without its key, nor the key without it.
pub(super) fn check_certificate_pair(tls: &Table<'_>) {
    match (tls.get("cert_file"), tls.get("key_file")) {
        (Some(cert), None) => cert.refuse("has no `key_file` beside it", "both `cert_file` and `key_file`, or neither"),
        (None, Some(key)) => key.refuse("has no `cert_file` beside it", "both `cert_file` and `key_file`, or neither"),
        _ => {}
    }
}

/// The identity of a database, to compare two; `None` for a URL that could not be parsed.
fn place_of(url: &DatabaseUrl) -> Option<String> {
    match url {
        DatabaseUrl::Sqlite(path) if path.as_os_str().is_empty() => None,
        DatabaseUrl::Sqlite(path) => {
            let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            Some(format!("sqlite {}", canonical(&absolute).display()))
        }
        // Where there are addresses, these are dialled.
        DatabaseUrl::Postgres(url) => Some(format!(
            "postgres {:?} {:?} {:?} {:?}",
            match url.config.get_hostaddrs() {
                [] => format!("{:?}", url.config.get_hosts()),
                addresses => format!("{addresses:?}"),
            },
            url.config.get_ports(),
            url.config.get_dbname().or(url.config.get_user()),
            url.schema
        )),
    }
}

/// Follows links as far as the path exists; the file itself may not exist yet.
fn canonical(path: &Path) -> PathBuf {
    if let Ok(found) = path.canonicalize() {
        return found;
    }
    match (path.parent().map(Path::canonicalize), path.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => path.components().collect(),
    }
}
