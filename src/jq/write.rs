//! Values as JSON text.

use std::fmt::{self, Write};

use super::number::Number;
use super::value::Value;

pub(super) fn value(value: &Value, out: &mut impl Write) -> fmt::Result {
    match value {
        Value::Null(_) => out.write_str("null"),
        Value::Bool(truth) => out.write_str(if *truth { "true" } else { "false" }),
        Value::Number(number) => write!(out, "{number}"),
        Value::Text(text) => string(text.as_str(), out),
        Value::Array(array) => {
            out.write_char('[')?;
            for (at, item) in array.items().iter().enumerate() {
                if at > 0 {
                    out.write_char(',')?;
                }
                self::value(item, out)?;
            }
            out.write_char(']')
        }
        Value::Object(object) => {
            out.write_char('{')?;
            for (at, (key, item)) in object.entries().iter().enumerate() {
                if at > 0 {
                    out.write_char(',')?;
                }
                string(key.as_str(), out)?;
                out.write_char(':')?;
                self::value(item, out)?;
            }
            out.write_char('}')
        }
    }
}

/// Whether all of it has a form in JSON: NaN and the infinities have none.
pub(super) fn is_json(value: &Value) -> bool {
    match value {
        Value::Number(Number::Float(float)) => float.is_finite(),
        Value::Array(array) => array.items().iter().all(is_json),
        Value::Object(object) => object.entries().values().all(is_json),
        _ => true,
    }
}

pub(super) fn string(text: &str, out: &mut impl Write) -> fmt::Result {
    out.write_char('"')?;
    let mut written = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.write_str(&text[written..at])?;
        written = at + 1;
        match byte {
            b'"' => out.write_str("\\\"")?,
            b'\\' => out.write_str("\\\\")?,
            b'\n' => out.write_str("\\n")?,
            b'\r' => out.write_str("\\r")?,
            b'\t' => out.write_str("\\t")?,
            _ => write!(out, "\\u{byte:04x}")?,
        }
    }
    out.write_str(&text[written..])?;
    out.write_char('"')
}
