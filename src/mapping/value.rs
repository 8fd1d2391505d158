//! A source's value before coercion, and why it may not fit a column.

use std::borrow::Cow;

/// One source's value. JSON values are still text, exactly as in the payload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Bool(bool),
    Int(i64),
    /// A JSON number's text.
    Number(&'a str),
    /// A finite one in binary; only for columns that hold doubles.
    Double(f64),
    /// Plain text: a topic, a property, a text payload.
    Text(&'a str),
    /// A JSON string with its quotes and escapes.
    JsonString(&'a str),
    /// A JSON object or array.
    Tree(&'a str),
    Bytes(&'a [u8]),
    /// Microseconds since 1970, UTC.
    Instant(i64),
}

impl<'a> Value<'a> {
    /// The value of `raw`, valid JSON without space around it; `None` for null.
    pub(super) fn from_json(raw: &'a str) -> Option<Value<'a>> {
        Some(match raw.as_bytes().first()? {
            b'"' => Value::JsonString(raw),
            b'{' | b'[' => Value::Tree(raw),
            b't' => Value::Bool(true),
            b'f' => Value::Bool(false),
            b'n' => return None,
            _ => Value::Number(raw),
        })
    }

    /// Text if it is UTF-8, otherwise bytes.
    pub(super) fn from_bytes(bytes: &'a [u8]) -> Value<'a> {
        std::str::from_utf8(bytes).map_or(Value::Bytes(bytes), Value::Text)
    }

    /// For messages: the kind of value, never the value.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Bool(_) => "a truth value",
            Value::Int(_) | Value::Number(_) | Value::Double(_) => "a number",
            Value::Text(_) | Value::JsonString(_) => "a string",
            Value::Tree(raw) if raw.starts_with('[') => "an array",
            Value::Tree(_) => "an object",
            Value::Bytes(_) => "bytes",
            Value::Instant(_) => "a time",
        }
    }
}

/// Why a value does not fit its column: the rest of a sentence that begins with the column. Never holds the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Misfit(pub(super) Cow<'static, str>);

impl From<&'static str> for Misfit {
    fn from(why: &'static str) -> Misfit {
        Misfit(Cow::Borrowed(why))
    }
}

impl From<String> for Misfit {
    fn from(why: String) -> Misfit {
        Misfit(Cow::Owned(why))
    }
}

/// "a string where a number is expected".
pub(super) fn expected(what: &str, found: &Value<'_>) -> Misfit {
    Misfit(Cow::Owned(format!("{} where {what} is expected", found.kind())))
}
