//! Parses JSON text to values. Accepts what serde_json accepts, but keeps the digits of numbers.

use super::budget::{Bound, budget};
use super::number::Number;
use super::value::{Entries, NESTING_MAX, Text, Value};

/// Valid JSON (`"\ud800"`), which has no UTF-8.
pub(super) const HALF_PAIR: &str = "half of a surrogate pair";
pub(super) const NO_TEXT_OF_JQ: &str = "which is JSON, but no string of a jq program can hold it";

/// What is wrong, and at which byte (from 1).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReadFault {
    pub(super) what: &'static str,
    pub(super) byte: usize,
}

struct Reader<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
}

pub(super) fn read(text: &str) -> Result<Value, ReadFault> {
    let mut reader = Reader { text, bytes: text.as_bytes(), at: 0 };
    let value = reader.value(0)?;
    reader.space();
    match reader.bytes.get(reader.at) {
        None => Ok(value),
        Some(_) => Err(reader.fault("something behind the value")),
    }
}

/// Whether this is a number by JSON's grammar.
pub(super) fn is_number(bytes: &[u8]) -> bool {
    number_length(bytes) == Some(bytes.len())
}

/// The length of the number that the bytes begin with.
fn number_length(bytes: &[u8]) -> Option<usize> {
    let digits = |at: usize| bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    let whole = digits(at);
    if whole == 0 || (whole > 1 && bytes[at] == b'0') {
        return None;
    }
    at += whole;
    if bytes.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        if fraction == 0 {
            return None;
        }
        at += 1 + fraction;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at + 1 + sign);
        if exponent == 0 {
            return None;
        }
        at += 1 + sign + exponent;
    }
    Some(at)
}

impl<'t> Reader<'t> {
    fn fault(&self, what: &'static str) -> ReadFault {
        ReadFault { what, byte: self.at + 1 }
    }

    #[inline]
    fn space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, ReadFault> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.fault("expected value"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn value(&mut self, depth: u32) -> Result<Value, ReadFault> {
        self.space();
        match self.bytes.get(self.at) {
            Some(b'{' | b'[') if depth >= NESTING_MAX => {
                budget(|budget| budget.end(Bound::Nesting));
                Err(self.fault("nested too deeply"))
            }
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(|text| Value::Text(Text::new(text))),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::NULL),
            Some(_) => Err(self.fault("expected value")),
            None => Err(self.fault("it ends where a value is expected")),
        }
    }

    fn number(&mut self) -> Result<Value, ReadFault> {
        let length = number_length(&self.bytes[self.at..]).ok_or_else(|| self.fault("invalid number"))?;
        let number = Number::of_json(&self.text[self.at..self.at + length]);
        self.at += length;
        Ok(Value::Number(number))
    }

    fn array(&mut self, depth: u32) -> Result<Value, ReadFault> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.bytes.get(self.at) == Some(&b']') {
            self.at += 1;
            return Ok(Value::array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.space();
            match self.bytes.get(self.at) {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::array(items));
                }
                _ => return Err(self.fault("expected `,` or `]`")),
            }
        }
    }

    fn object(&mut self, depth: u32) -> Result<Value, ReadFault> {
        self.at += 1;
        let mut entries = Entries::default();
        self.space();
        if self.bytes.get(self.at) == Some(&b'}') {
            self.at += 1;
            return Ok(Value::object(entries));
        }
        loop {
            self.space();
            if self.bytes.get(self.at) != Some(&b'"') {
                return Err(self.fault("a key is expected"));
            }
            let key = self.string()?;
            self.space();
            if self.bytes.get(self.at) != Some(&b':') {
                return Err(self.fault("expected `:`"));
            }
            self.at += 1;
            entries.insert(Text::new(key), self.value(depth + 1)?);
            self.space();
            match self.bytes.get(self.at) {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::object(entries));
                }
                _ => return Err(self.fault("expected `,` or `}`")),
            }
        }
    }

    /// From the quote on.
    fn string(&mut self) -> Result<String, ReadFault> {
        self.at += 1;
        let start = self.at;
        let end = self.plain();
        let mut text = self.text[start..end].to_owned();
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => text.push(self.escape()?),
                Some(_) => return Err(self.fault("a control character in a string")),
                None => return Err(self.fault("it ends within a string")),
            }
            let start = self.at;
            let end = self.plain();
            text.push_str(&self.text[start..end]);
        }
    }

    /// Passes over what stands for itself; gives where that ends.
    #[inline]
    fn plain(&mut self) -> usize {
        let is_plain = |byte: &u8| *byte >= b' ' && *byte != b'"' && *byte != b'\\';
        self.at += self.bytes[self.at..].iter().position(|byte| !is_plain(byte)).unwrap_or(self.bytes.len() - self.at);
        self.at
    }

    fn escape(&mut self) -> Result<char, ReadFault> {
        let escaped = match self.bytes.get(self.at + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(self.fault("invalid escape")),
        };
        self.at += 2;
        Ok(escaped)
    }

    fn unicode(&mut self) -> Result<char, ReadFault> {
        let first = self.unit().ok_or_else(|| self.fault("invalid escape"))?;
        let code = match first {
            0xD800..=0xDBFF => {
                let second = self.unit().filter(|unit| (0xDC00..=0xDFFF).contains(unit));
                let second = second.ok_or_else(|| self.fault(HALF_PAIR))?;
                0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00)
            }
            code => code,
        };
        char::from_u32(code).ok_or_else(|| self.fault(HALF_PAIR))
    }

    /// `\uXXXX`.
    fn unit(&mut self) -> Option<u32> {
        let digits = self.bytes.get(self.at..self.at + 6)?.strip_prefix(b"\\u")?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let unit = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        self.at += 6;
        Some(unit)
    }
}
