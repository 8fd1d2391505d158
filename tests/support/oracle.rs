//! What must be true of the rows afterwards.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, types::FromSql};

/// A SQLite file, opened for reading beside the bridge.
pub(crate) fn sqlite(file: &Path) -> Connection {
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    connection.busy_timeout(Duration::from_secs(30)).unwrap();
    connection
}

/// One column of all rows of a query.
pub(crate) fn column<T: FromSql>(file: &Path, query: &str) -> Vec<T> {
    let connection = sqlite(file);
    let mut statement = connection.prepare(query).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// The first column of the first row.
pub(crate) fn value<T: FromSql>(file: &Path, query: &str) -> T {
    sqlite(file).query_row(query, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{query}: {error}"))
}

/// The number of rows, 0 while there is no such table or file.
pub(crate) fn count(file: &Path, table: &str) -> u64 {
    let Ok(connection) = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE) else { return 0 };
    connection.busy_timeout(Duration::from_secs(30)).unwrap();
    connection
        .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0))
        .map_or(0, i64::cast_unsigned)
}

/// How often each expected message is there.
pub(crate) struct Tally {
    missing: Vec<i64>,
    repeated: Vec<i64>,
    unknown: Vec<i64>,
}

impl Tally {
    /// Compares the ids found with the numbers published.
    pub(crate) fn of(found: impl IntoIterator<Item = i64>, published: Range<u64>) -> Tally {
        let mut times: HashMap<i64, u32> = HashMap::new();
        for id in found {
            *times.entry(id).or_default() += 1;
        }
        let expected = published.start.cast_signed()..published.end.cast_signed();
        let mut repeated: Vec<i64> = times.iter().filter(|&(_, &count)| count > 1).map(|(&id, _)| id).collect();
        let mut unknown: Vec<i64> = times.keys().filter(|id| !expected.contains(id)).copied().collect();
        repeated.sort_unstable();
        unknown.sort_unstable();
        Tally { missing: expected.filter(|id| !times.contains_key(id)).collect(), repeated, unknown }
    }

    /// Of column `id` of a SQLite table.
    pub(crate) fn of_sqlite(file: &Path, table: &str, published: Range<u64>) -> Tally {
        Tally::of(column::<i64>(file, &format!("SELECT id FROM {table}")), published)
    }

    #[track_caller]
    pub(crate) fn assert_none_lost(&self, place: &str) {
        assert!(self.missing.is_empty() && self.unknown.is_empty(), "{place}: {self}");
    }

    #[track_caller]
    pub(crate) fn assert_each_once(&self, place: &str) {
        self.assert_none_lost(place);
        assert!(self.repeated.is_empty(), "{place}: {self}");
    }

    /// For what is not promised to arrive.
    #[track_caller]
    pub(crate) fn assert_none_unknown(&self, place: &str) {
        assert!(self.unknown.is_empty(), "{place}: {self}");
    }

    pub(crate) fn repeated(&self) -> usize {
        self.repeated.len()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, ids) in [("missing", &self.missing), ("repeated", &self.repeated), ("unknown", &self.unknown)] {
            let shown = &ids[..ids.len().min(20)];
            write!(f, "{} {what} {shown:?}; ", ids.len())?;
        }
        Ok(())
    }
}
