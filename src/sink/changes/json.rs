//! Rows as JSON text. No tree is built, and no number passes through a float.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::jq::write_string;

/// The members of a JSON object, in their order; `None` for what is no object.
pub fn fields(text: &str) -> Option<Vec<(String, &str)>> {
    let Fields(fields) = serde_json::from_str(text).ok()?;
    Some(fields.into_iter().map(|(name, value)| (name, value.get())).collect())
}

struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fields<'de>, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry::<String, &RawValue>()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// An object of members that each write their own value.
pub(in crate::sink) fn object<'n>(members: impl Iterator<Item = (&'n str, impl FnOnce(&mut String))>) -> String {
    let mut text = String::from("{");
    for (index, (name, write)) in members.enumerate() {
        if index > 0 {
            text.push(',');
        }
        write_string(name, &mut text);
        text.push(':');
        write(&mut text);
    }
    text.push('}');
    text
}

/// Appends a JSON string.
pub fn push_string(text: &str, out: &mut String) {
    write_string(text, out);
}

/// Appends bytes as a JSON string in base64.
pub(in crate::sink) fn push_base64(bytes: &[u8], out: &mut String) {
    out.push('"');
    STANDARD.encode_string(bytes, out);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_and_every_digit() {
        let text = r#"{"b":12345678901234567890.10, "a\"":[1, 2],"c":null}"#;
        let expected = [("b", "12345678901234567890.10"), ("a\"", "[1, 2]"), ("c", "null")];
        assert_eq!(fields(text).unwrap(), expected.map(|(name, value)| (name.to_owned(), value)));
        assert_eq!(fields("[1]"), None);
        assert_eq!(object([("a\"", |out: &mut String| out.push('1'))].into_iter()), r#"{"a\"":1}"#);
    }
}
