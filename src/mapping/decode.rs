//! `decode` of a column: decodes a string.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde_json::value::RawValue;

use super::json_text;
use super::value::{Misfit, Value, expected};
use crate::rule::Decode;
use crate::schema::ColumnType;

const ANY_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, ANY_PADDING);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, ANY_PADDING);

/// What a string held.
#[derive(Debug)]
pub(super) struct Decoded {
    bytes: Vec<u8>,
    is_json: bool,
}

impl Decoded {
    /// Undoes one form after the other. Takes memory for each: such columns are few.
    pub(super) fn of(value: &Value<'_>, decodes: &[Decode]) -> Result<Decoded, Misfit> {
        let mut unescaped = String::new();
        let mut bytes: Cow<'_, [u8]> = match *value {
            Value::Text(text) => text.as_bytes().into(),
            Value::JsonString(raw) => json_text::unescape(raw, &mut unescaped)?.as_bytes().into(),
            Value::Bytes(bytes) => bytes.into(),
            _ => return Err(expected("a string to decode", value)),
        };
        for decode in decodes {
            bytes = match decode {
                Decode::Base64 => base64(&bytes).ok_or("a string that is no base64")?.into(),
                Decode::Hex => hex(&bytes).ok_or("a string that is not hexadecimal")?.into(),
                Decode::Json => json(&bytes)?.into(),
            };
        }
        Ok(Decoded { bytes: bytes.into_owned(), is_json: decodes.last() == Some(&Decode::Json) })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The text, if it is JSON.
    pub(super) fn json(&self) -> Option<&str> {
        self.is_json.then(|| std::str::from_utf8(&self.bytes).expect("JSON is UTF-8"))
    }

    /// The value for a column; `None` for a null of JSON.
    pub(super) fn value(&self, column_type: &ColumnType) -> Option<Value<'_>> {
        match (self.json(), column_type) {
            (Some(json), _) => Value::from_json(json),
            // Sixteen bytes may happen to be text.
            (None, ColumnType::Bytes | ColumnType::Uuid) => Some(Value::Bytes(&self.bytes)),
            (None, _) => Some(Value::from_bytes(&self.bytes)),
        }
    }
}

/// What a string holds, if its innermost form is JSON.
pub fn decoded_json(text: &str, decodes: &[Decode]) -> Option<serde_json::Value> {
    let decoded = Decoded::of(&Value::Text(text), decodes).ok()?;
    serde_json::from_str(decoded.json()?).ok()
}

/// The standard alphabet or that of URLs, with or without padding, over several lines too.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let text: Cow<'_, [u8]> = match text.iter().any(u8::is_ascii_whitespace) {
        true => text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect(),
        false => text.into(),
    };
    let engine = if text.iter().any(|byte| matches!(byte, b'-' | b'_')) { &URL_SAFE } else { &STANDARD };
    engine.decode(&text).ok()
}

/// Digits of either case, two a byte; between bytes may stand a space, `:` or `-`, and `0x` before them.
fn hex(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    let mut rest = text.strip_prefix(b"0x").or_else(|| text.strip_prefix(b"0X")).unwrap_or(text);
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = Vec::with_capacity(rest.len() / 2);
    while let [high, low, after @ ..] = rest {
        bytes.push(u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?);
        rest = match after {
            [b' ' | b':' | b'-', after @ ..] if !after.is_empty() => after,
            after => after,
        };
    }
    rest.is_empty().then_some(bytes)
}

/// The JSON value without space around it.
fn json(text: &[u8]) -> Result<Vec<u8>, Misfit> {
    match serde_json::from_slice::<&RawValue>(text) {
        Ok(value) => Ok(value.get().as_bytes().to_vec()),
        Err(error) => Err(format!("a string that is not JSON (its byte {})", error.column()).into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn base64_is_read_in_every_dialect() {
        for (text, bytes) in [
            ("AQID", Some(&[1, 2, 3][..])),
            ("AQ==", Some(&[1])),
            ("AQ", Some(&[1])),
            ("+/8=", Some(&[0xfb, 0xff])),
            ("-_8", Some(&[0xfb, 0xff])),
            ("AQ\r\nID", Some(&[1, 2, 3])),
            ("", Some(&[])),
            ("A", None),
            ("AQI*", None),
            ("+_8", None),
            ("AR", None),
        ] {
            assert_eq!(base64(text.as_bytes()).as_deref(), bytes, "{text}");
        }
    }

    #[test]
    fn hexadecimal_is_read_with_or_without_marks() {
        for (text, bytes) in [
            ("0aFF", Some(&[10, 255][..])),
            ("0x0aff", Some(&[10, 255])),
            ("0A:FF", Some(&[10, 255])),
            (" 0a ff ", Some(&[10, 255])),
            ("", Some(&[])),
            ("0", None),
            ("0g", None),
            ("0a:", None),
            ("0a::ff", None),
            ("+1", None),
        ] {
            assert_eq!(hex(text.as_bytes()).as_deref(), bytes, "{text}");
        }
    }

    #[test]
    fn one_form_may_be_inside_another() {
        let value = |text: &str, decodes: &[Decode]| Decoded::of(&Value::Text(text), decodes);
        let decoded = value("eyJhIjoxfQ==", &[Decode::Base64, Decode::Json]).unwrap();
        assert_eq!(decoded.value(&ColumnType::Json), Some(Value::Tree("{\"a\":1}")));
        let decoded = Decoded::of(&Value::JsonString(r#"" {\"a\":\"\\u00e9\"} ""#), &[Decode::Json]).unwrap();
        assert_eq!(decoded.value(&ColumnType::Json), Some(Value::Tree(r#"{"a":"\u00e9"}"#)));
        assert_eq!(value("null", &[Decode::Json]).unwrap().value(&ColumnType::Json), None);
        assert!(value("{\"a\":", &[Decode::Json]).unwrap_err().0.contains("not JSON"));
        assert!(Decoded::of(&Value::Number("5"), &[Decode::Hex]).unwrap_err().0.contains("a number where a string"));
    }

    #[test]
    fn bytes_stay_bytes_where_the_column_holds_them() {
        let decoded = Decoded::of(&Value::Text("MTIzNDU2Nzg5MDEyMzQ1Ng=="), &[Decode::Base64]).unwrap();
        assert_eq!(decoded.value(&ColumnType::Uuid), Some(Value::Bytes(b"1234567890123456")));
        assert_eq!(decoded.value(&ColumnType::Int8), Some(Value::Text("1234567890123456")));
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes: Vec<u8>) {
            let text = URL_SAFE.encode(&bytes);
            prop_assert_eq!(base64(text.as_bytes()), Some(bytes.clone()));
            prop_assert_eq!(base64(STANDARD.encode(&bytes).as_bytes()), Some(bytes.clone()));
            let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            prop_assert_eq!(hex(text.as_bytes()), Some(bytes));
        }

        #[test]
        fn arbitrary_text_never_panics(text in "[0-9a-zA-Z+/=_: -]{0,30}") {
            let _ = (base64(text.as_bytes()), hex(text.as_bytes()), json(text.as_bytes()));
        }
    }
}
