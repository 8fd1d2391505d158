//! JSON as text: unescapes strings, and writes values of json and jsonb columns.

use std::fmt::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::coerce::fits_numeric;
use super::temporal::write_instant;
use super::value::{Misfit, Value};
use crate::schema::ColumnType;

/// Nesting that goes into a json column. Postgres' own parser gives up at some thousands, depending on its stack.
const DEPTH_MAX: usize = 1_024;

/// The text of a JSON string, `"…"`; rewritten into `unescaped` only if it holds escapes.
pub(super) fn unescape<'s>(raw: &'s str, unescaped: &'s mut String) -> Result<&'s str, Misfit> {
    if memchr::memchr(b'\\', raw.as_bytes()).is_none() {
        return Ok(&raw[1..raw.len() - 1]);
    }
    *unescaped = serde_json::from_str(raw).map_err(|_| "a string with an escape that is no character")?;
    Ok(unescaped)
}

/// A value for a json or jsonb column: JSON as it stands in the payload, other values as JSON.
pub(super) fn json<'s>(
    value: &Value<'s>,
    column_type: &ColumnType,
    written: &'s mut String,
) -> Result<&'s str, Misfit> {
    let text = match *value {
        Value::Tree(raw) | Value::JsonString(raw) | Value::Number(raw) => raw,
        Value::Bool(truth) => return Ok(if truth { "true" } else { "false" }),
        Value::Text(text) => {
            *written = serde_json::to_string(text).expect("a string is always JSON");
            written
        }
        Value::Int(number) => {
            written.push_str(itoa::Buffer::new().format(number));
            return Ok(written);
        }
        Value::Double(number) => {
            written.push_str(ryu::Buffer::new().format(number));
            return Ok(written);
        }
        Value::Instant(micros) => {
            written.push('"');
            write_instant(micros, written);
            written.write_char('"').expect("a String takes everything");
            return Ok(written);
        }
        // As inside of a value.
        Value::Bytes(bytes) => {
            written.push('"');
            STANDARD.encode_string(bytes, written);
            written.push('"');
            return Ok(written);
        }
    };
    if nests_deeper(text, DEPTH_MAX) {
        return Err(format!("JSON nested deeper than {DEPTH_MAX}").into());
    }
    if *column_type == ColumnType::Jsonb && !escapes_are_characters(text) {
        return Err("JSON with `\\u0000` or half a surrogate pair, which jsonb cannot hold".into());
    }
    if *column_type == ColumnType::Jsonb && !numbers_fit_numeric(text) {
        return Err("JSON with a number of more digits than numeric holds, which jsonb cannot hold".into());
    }
    Ok(text)
}

/// A number without an exponent in a text this short has no digit too many.
const DIGITS_SURELY_HELD: usize = 16_000;

/// Whether numeric holds every number of valid JSON, as jsonb does.
fn numbers_fit_numeric(json: &str) -> bool {
    let bytes = json.as_bytes();
    let mut exponents = memchr::memchr2_iter(b'e', b'E', bytes);
    if bytes.len() <= DIGITS_SURELY_HELD && !exponents.any(|at| at > 0 && bytes[at - 1].is_ascii_digit()) {
        return true;
    }
    let (mut at, mut in_string) = (0, false);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'"' => in_string = !in_string,
            b'-' | b'0'..=b'9' if !in_string => {
                let is_of_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                let length = bytes[at..].iter().take_while(|byte| is_of_number(byte)).count();
                if !fits_numeric(&json[at..at + length]) {
                    return false;
                }
                at += length;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    true
}

/// Whether brackets nest deeper than `depth_max`, in valid JSON.
fn nests_deeper(json: &str, depth_max: usize) -> bool {
    if json.len() <= 2 * depth_max {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > depth_max {
                    return true;
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Whether every `\uXXXX` of valid JSON is a character other than NUL, alone or with its other half.
fn escapes_are_characters(json: &str) -> bool {
    let mut rest = json;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        let Some(unit) = unicode_escape(&rest[at..]) else {
            // A two-character escape; the second may be a backslash.
            rest = rest.get(at + 2..).unwrap_or("");
            continue;
        };
        rest = &rest[at + 6..];
        match unit {
            0 | 0xDC00..=0xDFFF => return false,
            0xD800..=0xDBFF => match unicode_escape(rest) {
                Some(0xDC00..=0xDFFF) => rest = &rest[6..],
                _ => return false,
            },
            _ => {}
        }
    }
    true
}

/// The code unit of `\uXXXX` at the beginning of `text`.
fn unicode_escape(text: &str) -> Option<u16> {
    u16::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jsonb(raw: &str) -> Result<String, Misfit> {
        json(&Value::Tree(raw), &ColumnType::Jsonb, &mut String::new()).map(str::to_owned)
    }

    #[test]
    fn json_stays_as_it_stands_in_the_payload() {
        let raw = r#"{ "a" : 1.00, "a":"\u00e9\\u0000" }"#;
        assert_eq!(jsonb(raw).as_deref(), Ok(raw));
    }

    #[test]
    fn jsonb_takes_no_escape_that_is_no_character() {
        for raw in [r#"["\u0000"]"#, r#"["\ud800"]"#, r#"["\udc00"]"#, r#"["\ud800\u0041"]"#, r#"["\\\u0000"]"#] {
            assert!(jsonb(raw).is_err(), "{raw}");
            assert!(json(&Value::Tree(raw), &ColumnType::Json, &mut String::new()).is_ok(), "{raw}");
        }
        assert!(jsonb(r#"["\ud83d\ude00"]"#).is_ok());
    }

    #[test]
    fn jsonb_takes_no_number_that_numeric_does_not_hold() {
        for raw in ["1e400000", r#"{"n":[true,-1E+131072]}"#, r#"["\"",1e-16384]"#, "[0.5e-16383]"] {
            assert!(jsonb(raw).is_err(), "{raw}");
            assert!(json(&Value::Tree(raw), &ColumnType::Json, &mut String::new()).is_ok(), "{raw}");
        }
        for raw in ["1e131071", r#"{"n":[true,-1E+9]}"#, r#"["1e400000","\"2e400000"]"#, "[1e-16383,0e400000]"] {
            assert!(jsonb(raw).is_ok(), "{raw}");
        }
        assert!(jsonb(&format!("[0.{}]", "1".repeat(16_384))).is_err());
        assert!(jsonb(&format!("[{}]", "1".repeat(131_072))).is_ok());
        assert!(jsonb(&format!("[{}]", "1".repeat(131_073))).is_err());
    }

    #[test]
    fn json_nested_beyond_the_limit_is_refused() {
        let nested = |depth: usize| format!("{}\"]]]]\"{}", "[".repeat(depth), "]".repeat(depth));
        assert!(jsonb(&nested(1_024)).is_ok());
        assert!(jsonb(&nested(1_025)).is_err());
        assert!(jsonb(&format!("[{}]", vec!["[]"; 5_000].join(","))).is_ok());
    }

    #[test]
    fn other_values_become_json() {
        for (value, expected) in [
            (Value::Text("a\"b"), r#""a\"b""#),
            (Value::Int(-5), "-5"),
            (Value::Bool(true), "true"),
            (Value::Instant(0), r#""1970-01-01T00:00:00.000Z""#),
        ] {
            assert_eq!(json(&value, &ColumnType::Json, &mut String::new()), Ok(expected));
        }
    }
}
