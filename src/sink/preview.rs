//! The output of a sink's encoder in readable form. `rowbridge explain` and golden tests map with the daemon's own plan
//! and show each cell through this.

use super::literal::{hexadecimal, literal};
use crate::batch::RowEncoder;
use crate::schema::{Cell, ColumnType};

/// A value as its column would hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// JSON: numbers with all of their digits, times as the database shows them, bytes as `\x` and hexadecimal digits.
    pub json: String,
    /// The same as a literal of the engine's SQL.
    pub sql: String,
}

/// Why the sink refuses a row when it comes to write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unheld {
    /// A dead letter's short code.
    pub reason: &'static str,
    /// The rest of a sentence that begins with the column.
    pub message: String,
}

/// An encoder that can show what it writes.
pub trait Preview: RowEncoder {
    /// The value that a column of this type would hold for the cell. For an engine without such columns,
    /// [`ColumnType::Any`] is an unknown type, which takes the value unchanged.
    fn preview(&self, column_type: &ColumnType, cell: Cell<'_>) -> Result<Held, Unheld>;
}

impl Held {
    pub(super) const fn new(json: String, sql: String) -> Held {
        Held { json, sql }
    }

    pub(super) fn null() -> Held {
        Held::new("null".to_owned(), "NULL".to_owned())
    }

    /// A text that SQL has in quotes.
    pub(super) fn text(text: &str) -> Held {
        Held::new(json_text(text), literal(text))
    }

    /// Whose JSON and SQL are the same.
    pub(super) fn plain(text: String) -> Held {
        Held::new(text.clone(), text)
    }

    pub(super) fn bytes(bytes: &[u8], sql: impl FnOnce(&str) -> String) -> Held {
        let digits = hexadecimal(bytes);
        let sql = sql(&digits);
        Held::new(json_text(&format!("\\x{digits}")), sql)
    }
}

/// A JSON string.
pub(super) fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A finite float, with a point or an exponent, so that it is read back as one.
pub(super) fn float(value: f64) -> String {
    serde_json::Number::from_f64(value).map_or_else(|| "null".to_owned(), |number| number.to_string())
}

/// A number as [`Cell::Decimal`] has it, as JSON writes it: without zeros that lead.
pub(super) fn json_number(text: &str) -> String {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let whole = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let kept = digits[..whole].trim_start_matches('0');
    let number = format!("{sign}{}{}", if kept.is_empty() { "0" } else { kept }, &digits[whole..]);
    // NaN is none.
    match serde_json::from_str::<&serde_json::value::RawValue>(&number) {
        Ok(_) => number,
        Err(_) => json_text(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits_and_are_json() {
        for (text, expected) in [
            ("007", "7"),
            ("-0012.50", "-12.50"),
            ("0", "0"),
            ("00.5", "0.5"),
            ("1e3", "1e3"),
            ("12345678901234567890123456789.123456789", "12345678901234567890123456789.123456789"),
            ("NaN", "\"NaN\""),
        ] {
            assert_eq!(json_number(text), expected, "{text}");
        }
    }
}
