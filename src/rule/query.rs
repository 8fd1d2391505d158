//! The statement of a query: read-only, with a bind `:name` for each parameter, or `?` for each value of a list.
//!
//! The checks here are not the only protection: the database runs the statement in a transaction that cannot write. See
//! [`super::Statement`] for the definition of a bind.

use std::ops::Range;
use std::sync::Arc;

use super::statement::{BINDS_ARE_NAMES, Scan, Scanner, StatementError};

/// As much as a request may have.
const BYTES_MAX: usize = 64 << 10;

/// Parameters of one statement. Weighed against the 65,535 of Postgres and the 32,766 of SQLite; nobody writes more by hand.
const BINDS_MAX: usize = 1_000;

/// What a statement that reads begins with.
const BEGINNINGS: [&str; 4] = ["select", "with", "values", "table"];

const FORMS: &str = "one statement that begins with select, with, values or table, with a bind such as :device for each \
                     parameter";

/// A statement whose text was scanned.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QueryStatement {
    /// Without what follows the statement.
    text: Box<str>,
    /// Each once, in the order in which they first come; empty where binds are question marks.
    binds: Box<[Arc<str>]>,
    /// Where in the text binds stand, and which one each is.
    places: Box<[(Range<usize>, usize)]>,
}

impl QueryStatement {
    /// With `:name` binds.
    pub fn parse(text: &str, is_sqlite: bool) -> Result<QueryStatement, StatementError> {
        let text = checked(text)?;
        let scan = Scanner::of(text, is_sqlite).run().map_err(|fault| error(fault.problem))?;
        let mut binds: Vec<Arc<str>> = Vec::new();
        let mut places = Vec::with_capacity(scan.binds.len());
        for place in &scan.binds {
            let name = &text[place.start + 1..place.end];
            let known = binds.iter().position(|bind| **bind == *name);
            places.push((place.clone(), known.unwrap_or(binds.len())));
            if known.is_none() {
                binds.push(name.into());
            }
        }
        QueryStatement::of(text, &scan, binds, places)
    }

    /// With `?` for each parameter, in order. If it takes none, `?` is what it is to the database.
    pub fn parse_marks(text: &str, is_sqlite: bool, takes_parameters: bool) -> Result<QueryStatement, StatementError> {
        let text = checked(text)?;
        let scan = match takes_parameters {
            true => Scanner::with_marks(text, is_sqlite).run(),
            false => Scanner::of(text, is_sqlite).run(),
        };
        let scan = scan.map_err(|fault| {
            let words = "parameters are written ?, and their values stand in \"p\"";
            error(fault.problem.replace(BINDS_ARE_NAMES, words))
        })?;
        // In the second case a name behind a colon is no bind of anybody's.
        let places: Vec<_> = match takes_parameters {
            true => scan.binds.iter().cloned().enumerate().map(|(index, place)| (place, index)).collect(),
            false if scan.binds.is_empty() => Vec::new(),
            false => return Err(error("has a bind `:name`; parameters are written ?".to_owned())),
        };
        QueryStatement::of(text, &scan, Vec::new(), places)
    }

    fn of(
        text: &str,
        scan: &Scan,
        binds: Vec<Arc<str>>,
        places: Vec<(Range<usize>, usize)>,
    ) -> Result<QueryStatement, StatementError> {
        match scan.beginning.as_deref() {
            Some(word) if BEGINNINGS.contains(&word) => {}
            Some(_) => return Err(error("is no statement that only reads".to_owned())),
            None => return Err(error("begins with no word of SQL".to_owned())),
        }
        if places.len() > BINDS_MAX {
            return Err(error(format!("has {} binds, and a query has at most {BINDS_MAX}", places.len())));
        }
        let text = text[..scan.end].trim_end().into();
        Ok(QueryStatement { text, binds: binds.into(), places: places.into() })
    }

    /// The names of the binds, each once, in the order in which they first come.
    pub fn binds(&self) -> &[Arc<str>] {
        &self.binds
    }

    /// How many different parameters it takes.
    pub fn parameter_count(&self) -> usize {
        self.places.iter().map(|(_, bind)| bind + 1).max().unwrap_or(0)
    }

    /// The text with a prefix and a number from 1 in place of each bind: `$1` or `?1`.
    pub fn numbered(&self, prefix: char) -> String {
        let (mut sql, mut copied) = (String::with_capacity(self.text.len()), 0);
        for (place, bind) in &self.places {
            sql.push_str(&self.text[copied..place.start]);
            sql.push(prefix);
            sql.push_str(&(bind + 1).to_string());
            copied = place.end;
        }
        sql.push_str(&self.text[copied..]);
        sql
    }
}

fn error(problem: String) -> StatementError {
    StatementError { problem, accepted: FORMS }
}

fn checked(text: &str) -> Result<&str, StatementError> {
    let text = text.trim();
    if text.len() > BYTES_MAX {
        return Err(error(format!("is {} bytes long, and a query has at most {BYTES_MAX}", text.len())));
    }
    if text.contains('\0') {
        return Err(error("has a NUL character in it".to_owned()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds_are_numbered_by_their_names() {
        let query =
            QueryStatement::parse("select ':x', a::int from t where b = :b and (c = :c or d = :b) -- :d\n;", false);
        let query = query.unwrap();
        assert_eq!(query.binds().iter().map(|bind| &**bind).collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(query.parameter_count(), 2);
        let expected = "select ':x', a::int from t where b = $1 and (c = $2 or d = $1) -- :d";
        assert_eq!(query.numbered('$'), expected);
    }

    #[test]
    fn question_marks_are_binds_where_parameters_come_in_a_list() {
        let query = QueryStatement::parse_marks("select '?', a from t where b = ? and c > ?", true, true).unwrap();
        assert_eq!(query.numbered('?'), "select '?', a from t where b = ?1 and c > ?2");
        assert_eq!(query.parameter_count(), 2);
        let operator = QueryStatement::parse_marks("select j ? 'a' from t", false, false).unwrap();
        assert_eq!(operator.numbered('$'), "select j ? 'a' from t");
    }

    #[test]
    fn what_does_not_read_is_refused() {
        for (text, why) in [
            ("", "no word"),
            ("insert into t values (1)", "only reads"),
            ("drop table t", "only reads"),
            ("copy t to program 'x'", "only reads"),
            ("pragma user_version = 3", "only reads"),
            ("explain select 1", "only reads"),
            ("select 1; drop table t", "second statement"),
            ("select 'open", "does not end"),
            ("select \0", "NUL"),
        ] {
            for is_sqlite in [false, true] {
                for parsed in
                    [QueryStatement::parse_marks(text, is_sqlite, false), QueryStatement::parse(text, is_sqlite)]
                {
                    let error = parsed.unwrap_err();
                    assert!(error.problem.contains(why), "{text}: {error}");
                    assert!(
                        error.accepted.starts_with("one statement that begins with select, with"),
                        "{}",
                        error.accepted
                    );
                }
            }
        }
        assert!(QueryStatement::parse_marks("select :a", false, false).is_err());
        for text in ["select 1;", "(select 1)", "values (1)", "with x as (select 1) select * from x", "TABLE t"] {
            assert!(QueryStatement::parse(text, false).is_ok(), "{text}");
        }
    }
}
