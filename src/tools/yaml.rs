//! Words of YAML that commands write.

use crate::config::document::{Core, resolve_plain};

/// A text as a scalar that YAML reads as this very text, also within `{ }` and `[ ]`; in quotes only where they are needed.
pub(super) fn scalar(text: &str) -> String {
    // JSON's strings are YAML's.
    if is_plain(text) { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

/// As [`scalar`], for a value that stands in a line of its own.
pub(super) fn block_scalar(text: &str) -> String {
    let is_safe = |c: char| c.is_alphanumeric() || "_./-+@:{}*#$=".contains(c);
    let begins_well = text.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '/');
    let is_plain = begins_well && !text.ends_with(':') && text.chars().all(is_safe);
    match is_plain && resolve_plain(text) == Core::Text {
        true => text.to_owned(),
        false => serde_json::Value::from(text).to_string(),
    }
}

fn is_plain(text: &str) -> bool {
    let is_safe = |c: char| c.is_alphanumeric() || ['_', '.', '/', '-', ' ', '+', '@'].contains(&c);
    let begins_well = text.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '/');
    begins_well && !text.ends_with(' ') && text.chars().all(is_safe) && resolve_plain(text) == Core::Text
}
