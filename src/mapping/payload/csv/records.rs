//! Splits text into records and fields.

use std::borrow::Cow;

use memchr::{memchr, memchr3};

use super::super::PayloadFault;
use super::FIELDS_MAX;

/// One field, as it stands in the text between its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field<'t> {
    pub(super) raw: &'t str,
    /// Quotes are written twice in it.
    pub(super) has_pairs: bool,
}

pub(super) struct Records<'t> {
    text: &'t str,
    delimiter: u8,
    at: usize,
    /// The line at `at`, from 1.
    line: usize,
}

impl<'t> Field<'t> {
    pub(super) fn text(&self) -> Cow<'t, str> {
        if self.has_pairs { Cow::Owned(self.raw.replace("\"\"", "\"")) } else { Cow::Borrowed(self.raw) }
    }
}

impl<'t> Records<'t> {
    pub(super) fn new(text: &'t str, delimiter: u8) -> Records<'t> {
        Records { text, delimiter, at: 0, line: 1 }
    }

    /// The next record that is no empty line, and the line it begins at; `None` at the end.
    pub(super) fn next(&mut self, fields: &mut Vec<Field<'t>>) -> Result<Option<usize>, PayloadFault> {
        while let Some(byte) = self.text.as_bytes().get(self.at) {
            if matches!(byte, b'\n' | b'\r') {
                self.end_line();
                continue;
            }
            let line = self.line;
            fields.clear();
            while self.field(fields)? {
                if fields.len() > FIELDS_MAX {
                    return Err(PayloadFault::size(format!("line {line}: a record of more than {FIELDS_MAX} fields")));
                }
            }
            return Ok(Some(line));
        }
        Ok(None)
    }

    /// Takes a field and what ends it; whether another one follows.
    #[inline]
    fn field(&mut self, fields: &mut Vec<Field<'t>>) -> Result<bool, PayloadFault> {
        let bytes = self.text.as_bytes();
        if bytes.get(self.at) == Some(&b'"') {
            fields.push(self.quoted()?);
        } else {
            let rest = &bytes[self.at..];
            let end = self.at + plain_length(rest, self.delimiter);
            fields.push(Field { raw: &self.text[self.at..end], has_pairs: false });
            self.at = end;
        }
        match bytes.get(self.at) {
            None => Ok(false),
            Some(byte) if *byte == self.delimiter => {
                self.at += 1;
                Ok(true)
            }
            Some(b'\n' | b'\r') => {
                self.end_line();
                Ok(false)
            }
            Some(_) => {
                let message = format!("line {}: something stands behind a closing quote", self.line);
                Err(PayloadFault::parse(message))
            }
        }
    }

    fn quoted(&mut self) -> Result<Field<'t>, PayloadFault> {
        let bytes = self.text.as_bytes();
        let (start, first_line) = (self.at + 1, self.line);
        let (mut at, mut has_pairs) = (start, false);
        loop {
            let Some(length) = memchr(b'"', &bytes[at..]) else {
                return Err(PayloadFault::parse(format!("line {first_line}: a quote is opened and never closed")));
            };
            let end = at + length;
            if bytes.get(end + 1) == Some(&b'"') {
                (at, has_pairs) = (end + 2, true);
                continue;
            }
            let raw = &self.text[start..end];
            self.line += memchr::memchr_iter(b'\n', raw.as_bytes()).count();
            self.at = end + 1;
            return Ok(Field { raw, has_pairs });
        }
    }

    /// Passes CR, LF or both.
    fn end_line(&mut self) {
        let bytes = self.text.as_bytes();
        self.at += if bytes[self.at..].starts_with(b"\r\n") { 2 } else { 1 };
        self.line += 1;
    }
}

/// How long a field without quotes is. Most are short: those are looked at byte by byte.
fn plain_length(rest: &[u8], delimiter: u8) -> usize {
    const SHORT: usize = 16;
    let ends = |byte: &u8| *byte == delimiter || matches!(byte, b'\n' | b'\r');
    let glance = &rest[..rest.len().min(SHORT)];
    match glance.iter().position(ends) {
        Some(length) => length,
        None => {
            let behind = memchr3(delimiter, b'\n', b'\r', &rest[glance.len()..]);
            glance.len() + behind.unwrap_or(rest.len() - glance.len())
        }
    }
}
