//! Splits text into points.
//!
//! A backslash escapes a comma, an equals sign or a space; before any other character it is an ordinary character. In
//! strings only quotes and backslashes are escaped.

use std::borrow::Cow;

use super::super::PayloadFault;
use crate::mapping::decimal::Decimal;

/// Tags or fields of a point.
const MEMBERS_MAX: usize = 65_536;

const IN_MEASUREMENT: &str = ", ";
const IN_KEY: &str = ",= ";
const IN_STRING: &str = "\"\\";

/// Digits and sign with which any number is a 64-bit integer.
const I64_DIGITS: usize = 18;

/// A name or a string, still with its escapes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Text<'t> {
    pub(super) raw: &'t str,
    /// What a backslash before it is taken off from; empty if there is no backslash.
    pub(super) escapable: &'static str,
}

#[derive(Debug, Default)]
pub(super) struct Point<'t> {
    pub(super) measurement: Text<'t>,
    pub(super) tags: Vec<(Text<'t>, Text<'t>)>,
    pub(super) fields: Vec<(Text<'t>, Field<'t>)>,
    /// In the payload's unit.
    pub(super) time: Option<i64>,
    /// As it is written.
    pub(super) time_text: &'t str,
}

#[derive(Debug)]
pub(super) enum Field<'t> {
    Text(Text<'t>),
    Bool(bool),
    /// As JSON has it.
    Number(Cow<'t, str>),
}

pub(super) struct Lines<'t> {
    text: &'t str,
    at: usize,
    /// The line at `at`, from 1.
    line: usize,
}

impl<'t> Lines<'t> {
    pub(super) fn new(text: &'t str) -> Lines<'t> {
        Lines { text, at: 0, line: 1 }
    }

    /// The next point, and the line it begins at.
    pub(super) fn next(&mut self, point: &mut Point<'t>) -> Result<Option<usize>, PayloadFault> {
        loop {
            match self.peek() {
                None => return Ok(None),
                Some(b'#') => self.pass_line(),
                Some(b'\n') => {
                    self.at += 1;
                    self.line += 1;
                }
                Some(b' ' | b'\t' | b'\r') => self.at += 1,
                Some(_) => break,
            }
        }
        let line = self.line;
        self.point(point).map_err(|what| PayloadFault::parse(format!("line {line}: {what}")))?;
        Ok(Some(line))
    }

    fn point(&mut self, point: &mut Point<'t>) -> Result<(), &'static str> {
        point.tags.clear();
        point.fields.clear();
        point.measurement = self.name(|byte| matches!(byte, b',' | b' '), IN_MEASUREMENT);
        if point.measurement.raw.is_empty() {
            return Err("the measurement has no name");
        }
        while self.take(b',') {
            let key = self.name(ends_key, IN_KEY);
            if key.raw.is_empty() || !self.take(b'=') {
                return Err("a tag is not KEY=VALUE");
            }
            let value = self.name(ends_key, IN_KEY);
            if value.raw.is_empty() || self.peek() == Some(b'=') {
                return Err("a tag is not KEY=VALUE");
            }
            point.tags.push((key, value));
            if point.tags.len() > MEMBERS_MAX {
                return Err("a point of too many tags");
            }
        }
        if !self.pass_spaces() {
            return Err("no fields stand behind the measurement and its tags");
        }
        loop {
            let key = self.name(ends_key, IN_KEY);
            if key.raw.is_empty() || !self.take(b'=') {
                return Err("a field is not KEY=VALUE");
            }
            let field = self.field()?;
            point.fields.push((key, field));
            if point.fields.len() > MEMBERS_MAX {
                return Err("a point of too many fields");
            }
            if !self.take(b',') {
                break;
            }
        }
        point.time_text = if self.pass_spaces() { self.time() } else { "" };
        point.time = match point.time_text {
            "" => None,
            digits => Some(digits.parse().map_err(|_| "the time is no 64-bit integer")?),
        };
        self.pass_spaces();
        match self.peek() {
            None => Ok(()),
            Some(b'\n') => Ok(()),
            Some(b'\r') if matches!(self.text.as_bytes().get(self.at + 1), None | Some(b'\n')) => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err("something stands behind the point"),
        }
    }

    /// Takes what goes up to a byte that ends it without a backslash before it, or to the end of the line.
    #[inline]
    fn name(&mut self, is_end: impl Fn(u8) -> bool, escapable: &'static str) -> Text<'t> {
        let rest = &self.text.as_bytes()[self.at..];
        let (mut end, mut has_backslash) = (0, false);
        while let Some(&byte) = rest.get(end) {
            if byte == b'\n' || is_end(byte) {
                break;
            }
            end += 1;
            if byte == b'\\' {
                has_backslash = true;
                end += usize::from(rest.get(end).is_some_and(|&next| is_end(next)));
            }
        }
        let raw = &self.text[self.at..self.at + end];
        self.at += end;
        Text::new(raw, has_backslash, escapable)
    }

    fn field(&mut self) -> Result<Field<'t>, &'static str> {
        if self.take(b'"') {
            return self.string().map(Field::Text);
        }
        let rest = &self.text.as_bytes()[self.at..];
        let (length, is_integer) = plain_number(rest);
        let is_end = |at: usize| matches!(rest.get(at), None | Some(b',' | b' ' | b'\n' | b'\r'));
        let is_suffixed = is_integer && length <= I64_DIGITS && rest.get(length) == Some(&b'i');
        if length > 0 && is_end(length + usize::from(is_suffixed)) && !(is_suffixed && rest.starts_with(b"-0")) {
            let raw = &self.text[self.at..self.at + length];
            self.at += length + usize::from(is_suffixed);
            return Ok(Field::Number(Cow::Borrowed(raw)));
        }
        let start = self.at;
        while self.peek().is_some_and(|byte| !matches!(byte, b',' | b' ' | b'\n' | b'\r')) {
            self.at += 1;
        }
        let raw = &self.text[start..self.at];
        match raw {
            "t" | "T" | "true" | "True" | "TRUE" => return Ok(Field::Bool(true)),
            "f" | "F" | "false" | "False" | "FALSE" => return Ok(Field::Bool(false)),
            _ => {}
        }
        if let Some(digits) = raw.strip_suffix('i') {
            let number: i64 = digits.parse().map_err(|_| "a field ends in `i` and is no 64-bit integer")?;
            return Ok(Field::Number(canonical(digits, number)));
        }
        if let Some(digits) = raw.strip_suffix('u') {
            let number: u64 = digits.parse().map_err(|_| "a field ends in `u` and is no unsigned 64-bit integer")?;
            return Ok(Field::Number(canonical(digits, number)));
        }
        number(raw).map(Field::Number).ok_or("a field is no number, truth value or string in quotes")
    }

    /// Takes a string whose opening quote was passed.
    fn string(&mut self) -> Result<Text<'t>, &'static str> {
        let start = self.at;
        let mut has_backslash = false;
        loop {
            match self.peek().ok_or("a string is opened and never closed")? {
                b'"' => break,
                // The next character is no end, whatever it is; of a longer one, its first byte.
                b'\\' if matches!(self.text.as_bytes().get(self.at + 1), Some(b'"' | b'\\')) => {
                    has_backslash = true;
                    self.at += 1;
                }
                b'\n' => self.line += 1,
                _ => {}
            }
            self.at += 1;
        }
        self.at += 1;
        Ok(Text::new(&self.text[start..self.at - 1], has_backslash, IN_STRING))
    }

    /// Takes what may be a time; empty if there is none.
    fn time(&mut self) -> &'t str {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte == b'-' || byte.is_ascii_digit()) {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_here = self.peek() == Some(byte);
        self.at += usize::from(is_here);
        is_here
    }

    fn pass_spaces(&mut self) -> bool {
        let start = self.at;
        while self.peek() == Some(b' ') {
            self.at += 1;
        }
        self.at > start
    }

    fn pass_line(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += memchr::memchr(b'\n', rest).unwrap_or(rest.len());
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

impl<'t> Text<'t> {
    fn new(raw: &'t str, has_backslash: bool, escapable: &'static str) -> Text<'t> {
        Text { raw, escapable: if has_backslash { escapable } else { "" } }
    }
}

/// Ends a key, a tag's value too.
fn ends_key(byte: u8) -> bool {
    matches!(byte, b',' | b'=' | b' ')
}

/// An integer as it stands, if that is how JSON writes it.
fn canonical(written: &str, number: impl ToString) -> Cow<'_, str> {
    if is_plain_number(written) && written != "-0" { Cow::Borrowed(written) } else { Cow::Owned(number.to_string()) }
}

/// Whether it is a JSON number without an exponent.
pub(super) fn is_plain_number(raw: &str) -> bool {
    !raw.is_empty() && plain_number(raw.as_bytes()).0 == raw.len()
}

/// How many bytes at the beginning are a JSON number without an exponent, and whether that has no fraction either.
fn plain_number(bytes: &[u8]) -> (usize, bool) {
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let sign = usize::from(bytes.first() == Some(&b'-'));
    let integer = digits(sign);
    if integer == 0 || integer > 1 && bytes[sign] == b'0' {
        return (0, false);
    }
    let end = sign + integer;
    match bytes.get(end) {
        Some(b'.') => match digits(end + 1) {
            0 => (0, false),
            fraction => (end + 1 + fraction, false),
        },
        _ => (end, true),
    }
}

/// The same digits as JSON writes them: `.5` is `0.5`, `+05.` is `5`.
fn in_json(raw: &str) -> String {
    let (mantissa, exponent) = raw.split_at(raw.find(['e', 'E']).unwrap_or(raw.len()));
    let sign = if mantissa.starts_with('-') { "-" } else { "" };
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let integer = integer.trim_start_matches(['-', '+']).trim_start_matches('0');
    let integer = if integer.is_empty() { "0" } else { integer };
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{integer}{point}{fraction}{exponent}")
}

/// A decimal number as JSON writes it.
fn number(raw: &str) -> Option<Cow<'_, str>> {
    Decimal::parse(raw)?;
    let digits = raw.strip_prefix('-').unwrap_or(raw);
    let begins_well = digits.starts_with(|first: char| first.is_ascii_digit())
        && !(digits.starts_with('0') && digits[1..].starts_with(|second: char| second.is_ascii_digit()));
    if begins_well && !digits.ends_with('.') && !digits.contains(".e") && !digits.contains(".E") {
        return Some(Cow::Borrowed(raw));
    }
    Some(Cow::Owned(in_json(raw)))
}
