//! One SQL statement in place of a table, with a bind for each column: `insert into t (a) values (:a)`.
//!
//! The text is scanned, not parsed. Only quotes, comments and casts decide which text is a bind and where the statement
//! ends; the server judges everything else. A bind is a colon directly followed by a name, outside of
//!
//! | | Postgres | SQLite |
//! |---|---|---|
//! | strings | `'…'`, `E'…\'…'`, `$tag$…$tag$` | `'…'` |
//! | names | `"…"` | `"…"`, `` `…` ``, `[…]` |
//! | comments | `-- …`, `/* … /* … */ … */` | `-- …`, `/* … */` |
//!
//! `::` is a cast, `:=` names an argument. In an array slice a space before the name prevents a bind: `a[1 : n]`.
//!
//! The statement must take part in the transaction that moves the offset. So statements that begin or end a transaction
//! are refused, and so are statements that take no binds at all.

use std::ops::Range;
use std::sync::Arc;

use thiserror::Error;

use super::table_name::OWN_TABLES;

/// As much as a jq program may have. Every message sends it to the server.
const BYTES_MAX: usize = 64 << 10;

/// What helps against a parameter that is written in another way.
pub(super) const BINDS_ARE_NAMES: &str = "binds are written :name";

/// As many columns as a table of Postgres has at most, so that a row of binds has a row's form.
const BINDS_MAX: usize = 1_600;

/// What a statement may begin with: all that changes rows or calls what does, and takes binds.
const BEGINNINGS: [&str; 9] = ["insert", "update", "delete", "merge", "replace", "select", "with", "values", "call"];

/// What begins, ends or divides a transaction.
const OF_TRANSACTIONS: [&str; 9] =
    ["begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release", "prepare"];

const FORMS: &str = "one statement that begins with insert, update, delete, merge, select, with or call, and has a bind \
                     such as :temp for each column";

/// A statement whose text was scanned.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Statement {
    /// As written, without what follows the statement.
    text: Box<str>,
    /// Each once, in the order in which they first come.
    binds: Box<[Arc<str>]>,
    /// Where in the text binds stand, with the colon, and which one each is.
    places: Box<[(Range<usize>, usize)]>,
    /// It calls a procedure.
    is_call: bool,
}

/// Why a text is no statement that a rule can have. Names what is wrong and never more of the text than a name in it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{problem}")]
pub struct StatementError {
    pub problem: String,
    /// What would be accepted.
    pub accepted: &'static str,
}

impl Statement {
    /// Scans the text as the engine does that is to run it.
    pub fn parse(text: &str, is_sqlite: bool) -> Result<Statement, StatementError> {
        let text = text.trim();
        if text.len() > BYTES_MAX {
            return Err(error(format!("is {} bytes long, and a statement has at most {BYTES_MAX}", text.len())));
        }
        if text.contains('\0') {
            return Err(error("has a NUL character in it".to_owned()));
        }
        let lower = text.to_ascii_lowercase();
        if let Some(own) = OWN_TABLES.iter().find(|own| lower.contains(*own)) {
            return Err(error(format!("names {own}, which is not yours to write")));
        }
        let scan = Scanner::of(text, is_sqlite).run()?;
        check_beginning(scan.beginning.as_deref())?;
        let is_call = scan.beginning.as_deref() == Some("call");
        let mut binds: Vec<Arc<str>> = Vec::new();
        let mut places = Vec::with_capacity(scan.binds.len());
        for place in scan.binds {
            let name = &text[place.start + 1..place.end];
            let known = binds.iter().position(|bind| **bind == *name);
            places.push((place, known.unwrap_or(binds.len())));
            if known.is_none() {
                binds.push(name.into());
            }
        }
        if binds.is_empty() {
            return Err(StatementError {
                problem: "has no bind, so it would do the same for every message".to_owned(),
                accepted: FORMS,
            });
        }
        if binds.len() > BINDS_MAX {
            return Err(error(format!("has {} binds, and a statement has at most {BINDS_MAX}", binds.len())));
        }
        let text = text[..scan.end].trim_end().into();
        Ok(Statement { text, binds: binds.into(), places: places.into(), is_call })
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it calls a procedure, which Postgres' PREPARE does not take.
    pub fn is_call(&self) -> bool {
        self.is_call
    }

    /// The names of the binds, each once, in the order in which they first come.
    pub fn binds(&self) -> &[Arc<str>] {
        &self.binds
    }

    /// The text with something else in place of each bind, which is given by its index in [`Statement::binds`]: the
    /// engine's own placeholder, or a literal.
    pub fn with(&self, mut replacement: impl FnMut(usize) -> String) -> String {
        let (mut sql, mut copied) = (String::with_capacity(self.text.len()), 0);
        for (place, bind) in &self.places {
            sql.push_str(&self.text[copied..place.start]);
            sql.push_str(&replacement(*bind));
            copied = place.end;
        }
        sql.push_str(&self.text[copied..]);
        sql
    }
}

fn error(problem: String) -> StatementError {
    StatementError { problem, accepted: FORMS }
}

fn check_beginning(word: Option<&str>) -> Result<(), StatementError> {
    let Some(word) = word else { return Err(error("begins with no word of SQL".to_owned())) };
    if BEGINNINGS.contains(&word) {
        return Ok(());
    }
    if OF_TRANSACTIONS.contains(&word) {
        let problem = format!(
            "begins with `{word}`: the statement runs in the transaction that moves the offset, which it must not begin, end or \
             divide, or messages would be lost or written twice"
        );
        return Err(error(problem));
    }
    Err(error("begins with a word that no statement with binds begins with".to_owned()))
}

/// What a scan finds.
pub(super) struct Scan {
    /// The first word, in small letters.
    pub(super) beginning: Option<String>,
    /// Each with its colon, or a question mark.
    pub(super) binds: Vec<Range<usize>>,
    /// Where the statement ends: at its semicolon, if it has one.
    pub(super) end: usize,
}

pub(super) struct Scanner<'t> {
    text: &'t str,
    at: usize,
    is_sqlite: bool,
    /// Binds are question marks, not names behind a colon.
    has_marks: bool,
}

impl<'t> Scanner<'t> {
    pub(super) fn of(text: &'t str, is_sqlite: bool) -> Scanner<'t> {
        Scanner { text, at: 0, is_sqlite, has_marks: false }
    }

    pub(super) fn with_marks(text: &'t str, is_sqlite: bool) -> Scanner<'t> {
        Scanner { has_marks: true, ..Scanner::of(text, is_sqlite) }
    }
}

impl Scanner<'_> {
    pub(super) fn run(mut self) -> Result<Scan, StatementError> {
        let mut scan = Scan { beginning: None, binds: Vec::new(), end: self.text.len() };
        let mut is_over = false;
        while let Some(c) = self.rest().chars().next() {
            let start = self.at;
            if self.comment()? {
                continue;
            }
            if c.is_whitespace() {
                self.at += c.len_utf8();
                continue;
            }
            if c == ';' {
                if !is_over {
                    scan.end = start;
                }
                is_over = true;
                self.at += 1;
                continue;
            }
            if is_over {
                return Err(error(format!("has a second statement{}", self.line(start))));
            }
            if self.quoted(c)? {
                scan.beginning.get_or_insert_default();
            } else if is_name_start(c) {
                let word = self.word();
                // The escapes of such a string are its own.
                if !self.is_sqlite && word.eq_ignore_ascii_case("e") && self.rest().starts_with('\'') {
                    self.string_with_escapes(start)?;
                }
                scan.beginning.get_or_insert_with(|| word.to_ascii_lowercase());
            } else if c.is_ascii_digit() {
                self.number();
                scan.beginning.get_or_insert_default();
            } else if c == ':' && !self.has_marks {
                scan.binds.extend(self.colon());
            } else if c == '?' && self.has_marks {
                scan.binds.push(start..start + 1);
                self.at += 1;
                if self.rest().starts_with(|next: char| next.is_ascii_digit()) {
                    return Err(error(format!("has a parameter with a number{}; {BINDS_ARE_NAMES}", self.line(start))));
                }
            } else if self.is_sqlite && matches!(c, '?' | '@' | '$') || c == '$' {
                return Err(error(format!(
                    "has a parameter written with `{c}`{}; {BINDS_ARE_NAMES}",
                    self.line(start)
                )));
            } else {
                // In front of the first word parentheses may stand.
                if c != '(' {
                    scan.beginning.get_or_insert_default();
                }
                self.at += c.len_utf8();
            }
        }
        scan.beginning = scan.beginning.filter(|word| !word.is_empty());
        Ok(scan)
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    /// Where in a text of several lines, as the rest of a sentence.
    fn line(&self, at: usize) -> String {
        match self.text[..at].matches('\n').count() {
            0 => String::new(),
            before => format!(" in line {}", before + 1),
        }
    }

    /// Goes behind a word.
    fn word(&mut self) -> String {
        let start = self.at;
        let length = self.rest().find(|c: char| !is_name_part(c) && c != '$').unwrap_or(self.rest().len());
        self.at += length;
        self.text[start..self.at].to_owned()
    }

    /// Advances past a number and the characters that follow it without a gap, which are not a separate word.
    fn number(&mut self) {
        self.at += self.rest().find(|c: char| !is_name_part(c) && c != '.').unwrap_or(self.rest().len());
    }

    /// Goes behind a colon and what belongs to it; the bind, if it is one.
    fn colon(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        self.at += 1;
        if self.rest().starts_with([':', '=']) {
            self.at += 1;
            return None;
        }
        self.rest().starts_with(is_name_start).then(|| {
            let length = self.rest().find(|c: char| !is_name_part(c)).unwrap_or(self.rest().len());
            self.at += length;
            start..self.at
        })
    }

    /// Goes behind a comment; `false` if none begins here.
    fn comment(&mut self) -> Result<bool, StatementError> {
        if self.rest().starts_with("--") {
            self.at += self.rest().find('\n').unwrap_or(self.rest().len());
            return Ok(true);
        }
        if !self.rest().starts_with("/*") {
            return Ok(false);
        }
        let start = self.at;
        let mut depth = 0usize;
        loop {
            if self.rest().starts_with("/*") && (depth == 0 || !self.is_sqlite) {
                depth += 1;
                self.at += 2;
            } else if self.rest().starts_with("*/") {
                depth -= 1;
                self.at += 2;
                if depth == 0 {
                    return Ok(true);
                }
            } else {
                self.at += self.next_len().ok_or_else(|| self.open("a comment", start))?;
            }
        }
    }

    /// Goes behind a string or a quoted name; `false` if none begins with `c` here.
    fn quoted(&mut self, c: char) -> Result<bool, StatementError> {
        let start = self.at;
        match c {
            '\'' => self.behind("'", true, "a string")?,
            '"' => self.behind("\"", true, "a name in quotes")?,
            '`' if self.is_sqlite => self.behind("`", true, "a name in quotes")?,
            '[' if self.is_sqlite => self.behind("]", false, "a name in brackets")?,
            '$' if !self.is_sqlite => {
                let inner = &self.rest()[1..];
                let length = inner.find(|c: char| !is_name_part(c)).unwrap_or(inner.len());
                let is_tag = inner[length..].starts_with('$') && !inner.starts_with(|c: char| c.is_ascii_digit());
                if !is_tag {
                    return Ok(false);
                }
                let tag = self.rest()[..length + 2].to_owned();
                self.at += tag.len();
                let end = self.rest().find(&tag).ok_or_else(|| self.open("a string in dollars", start))?;
                self.at += end + tag.len();
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Advances past the next `quote`, skipping doubled quotes if these stand for one.
    fn behind(&mut self, quote: &str, is_doubled: bool, what: &str) -> Result<(), StatementError> {
        let start = self.at;
        self.at += 1;
        loop {
            self.at += 1 + self.rest().find(quote).ok_or_else(|| self.open(what, start))?;
            if !is_doubled || !self.rest().starts_with(quote) {
                return Ok(());
            }
            self.at += 1;
        }
    }

    /// Advances past a string in which a backslash escapes the next character.
    fn string_with_escapes(&mut self, start: usize) -> Result<(), StatementError> {
        self.at += 1;
        loop {
            let next = self.rest().chars().next();
            self.at += self.next_len().ok_or_else(|| self.open("a string", start))?;
            match next {
                Some('\\') => self.at += self.next_len().ok_or_else(|| self.open("a string", start))?,
                Some('\'') if self.rest().starts_with('\'') => self.at += 1,
                Some('\'') => return Ok(()),
                _ => {}
            }
        }
    }

    fn next_len(&self) -> Option<usize> {
        self.rest().chars().next().map(char::len_utf8)
    }

    fn open(&self, what: &str, start: usize) -> StatementError {
        error(format!("has {what} that does not end{}", self.line(start)))
    }
}

fn is_name_start(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic() || !c.is_ascii() && !c.is_whitespace()
}

fn is_name_part(c: char) -> bool {
    is_name_start(c) || c.is_ascii_digit()
}

#[cfg(test)]
#[path = "statement_tests.rs"]
mod tests;
