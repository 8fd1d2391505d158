//! Values of golden tests, from YAML and from a preview, and their equality.
//!
//! Numbers keep their text: a test compares the value that the database would hold, digit by digit.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::config::document::{Core, Kind, Node};
use crate::schema::ColumnType;
use crate::tools::yaml;

/// A value as JSON and YAML have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// As JSON writes it.
    Number(String),
    Text(String),
    List(Vec<Value>),
    /// In the order of the file; of JSON, by name.
    Map(Vec<(String, Value)>),
}

impl Value {
    pub(super) fn of_yaml(node: Node<'_>) -> Value {
        match node.kind() {
            Kind::Scalar(Core::Null) => Value::Null,
            Kind::Scalar(Core::Bool(truth)) => Value::Bool(truth),
            Kind::Scalar(Core::Text) => Value::Text(node.text().to_owned()),
            Kind::Scalar(core) => number(node.text(), core),
            Kind::Sequence(items) => Value::List(items.map(Value::of_yaml).collect()),
            Kind::Mapping(entries) => {
                Value::Map(entries.map(|entry| (entry.key.to_owned(), Value::of_yaml(entry.value))).collect())
            }
        }
    }

    /// `None` if the text is no JSON.
    pub(super) fn of_json(text: &str) -> Option<Value> {
        let text = text.trim();
        Some(match text.as_bytes().first()? {
            b'{' => {
                let fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text).ok()?;
                let fields = fields.into_iter().map(|(name, raw)| Some((name, Value::of_json(raw.get())?)));
                Value::Map(fields.collect::<Option<_>>()?)
            }
            b'[' => {
                let items: Vec<Box<RawValue>> = serde_json::from_str(text).ok()?;
                Value::List(items.iter().map(|raw| Value::of_json(raw.get())).collect::<Option<_>>()?)
            }
            b'"' => Value::Text(serde_json::from_str(text).ok()?),
            b't' | b'f' => Value::Bool(serde_json::from_str(text).ok()?),
            b'n' => Value::Null,
            _ => {
                serde_json::from_str::<&RawValue>(text).ok()?;
                Value::Number(text.to_owned())
            }
        })
    }

    /// As JSON, which is YAML too.
    pub(super) fn json(&self) -> String {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        match self {
            Value::Null => "null".to_owned(),
            Value::Bool(truth) => truth.to_string(),
            Value::Number(number) => number.clone(),
            Value::Text(words) => text(words),
            Value::List(items) => {
                let items: Vec<String> = items.iter().map(Value::json).collect();
                format!("[{}]", items.join(","))
            }
            Value::Map(fields) => {
                let fields: Vec<String> =
                    fields.iter().map(|(name, value)| format!("{}:{}", text(name), value.json())).collect();
                format!("{{{}}}", fields.join(","))
            }
        }
    }

    /// As a flow value of YAML, as a person would write it.
    pub(super) fn yaml(&self) -> String {
        match self {
            Value::Text(text) => yaml::scalar(text),
            Value::List(items) => {
                let items: Vec<String> = items.iter().map(Value::yaml).collect();
                format!("[{}]", items.join(", "))
            }
            Value::Map(fields) if fields.is_empty() => "{}".to_owned(),
            Value::Map(fields) => {
                let fields: Vec<String> =
                    fields.iter().map(|(name, value)| format!("{}: {}", yaml::scalar(name), value.yaml())).collect();
                format!("{{ {} }}", fields.join(", "))
            }
            other => other.json(),
        }
    }

    /// Whether a column of this type that holds `held` holds what is expected.
    pub(super) fn is_held(&self, held: &Value, column_type: &ColumnType) -> bool {
        let is_bool = matches!(column_type, ColumnType::Bool);
        match (self, held) {
            (Value::Number(expected), Value::Number(held)) => same_number(expected, held),
            // A database that has no truth values holds 0 and 1.
            (Value::Number(number), Value::Bool(truth)) if is_bool => {
                same_number(number, if *truth { "1" } else { "0" })
            }
            // Digits that only text keeps.
            (Value::Number(number), Value::Text(text)) | (Value::Text(text), Value::Number(number)) => {
                text == number
                    || (Value::of_json(text).is_some_and(|read| matches!(read, Value::Number(_)))
                        && same_number(number, text))
            }
            (Value::Bool(truth), Value::Text(text)) => *text == truth.to_string(),
            (Value::Text(expected), Value::Text(held)) => {
                expected == held || same_time(expected, held, column_type) || same_bytes(expected, held, column_type)
            }
            (Value::List(expected), Value::List(held)) => {
                let element_type = match column_type {
                    ColumnType::Array(element, _) => element,
                    other => other,
                };
                expected.len() == held.len()
                    && expected.iter().zip(held).all(|(expected, held)| expected.is_held(held, element_type))
            }
            (Value::Map(expected), Value::Map(held)) => {
                expected.len() == held.len()
                    && expected.iter().all(|(name, expected)| {
                        held.iter().any(|(held_name, held)| held_name == name && expected.is_held(held, column_type))
                    })
            }
            // A document as text, on either side.
            (Value::Map(_) | Value::List(_), Value::Text(text)) => Value::of_json(text)
                .is_some_and(|held| !matches!(held, Value::Text(_)) && self.is_held(&held, column_type)),
            (Value::Text(text), Value::Map(_) | Value::List(_)) => Value::of_json(text)
                .is_some_and(|read| !matches!(read, Value::Text(_)) && read.is_held(held, column_type)),
            _ => self == held,
        }
    }
}

/// A number as it stands in the file, if JSON has it so; `0x1f` and `.5` as what they mean.
fn number(text: &str, core: Core) -> Value {
    if let Some(number @ Value::Number(_)) = Value::of_json(text) {
        return number;
    }
    match core {
        Core::Integer(number) => Value::Number(number.to_string()),
        Core::Float(number) if number.is_finite() => Value::Number(format!("{number:?}")),
        _ => Value::Text(text.to_owned()),
    }
}

/// Sign, digits without zeros around them, and the power of ten that they are to be multiplied with.
fn parts(number: &str) -> Option<(bool, String, i64)> {
    let (is_negative, rest) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    let kept = digits.trim_end_matches('0');
    let exponent = exponent.checked_add(i64::try_from(digits.len() - kept.len()).ok()?)?;
    let kept = kept.trim_start_matches('0');
    if kept.is_empty() { Some((false, String::new(), 0)) } else { Some((is_negative, kept.to_owned(), exponent)) }
}

fn same_number(left: &str, right: &str) -> bool {
    left == right || matches!((parts(left), parts(right)), (Some(left), Some(right)) if left == right)
}

/// The same instant, or the same time on the clock, in whichever form it is written.
fn same_time(left: &str, right: &str, column_type: &ColumnType) -> bool {
    fn both<T: std::str::FromStr + PartialEq>(left: &str, right: &str) -> bool {
        matches!((left.parse::<T>(), right.parse::<T>()), (Ok(left), Ok(right)) if left == right)
    }
    match column_type {
        ColumnType::Timestamptz(_) | ColumnType::TimestampText => both::<jiff::Timestamp>(left, right),
        ColumnType::Timestamp(_) => both::<jiff::civil::DateTime>(left, right),
        ColumnType::Time(_) => both::<jiff::civil::Time>(left, right),
        _ => false,
    }
}

fn same_bytes(left: &str, right: &str, column_type: &ColumnType) -> bool {
    matches!(column_type, ColumnType::Bytes) && left.starts_with("\\x") && left.eq_ignore_ascii_case(right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document;
    use crate::schema::SecondDigits;

    fn yaml(text: &str) -> Value {
        Value::of_yaml(document::parse(text).0.unwrap().root().unwrap())
    }

    fn is_held(expected: &str, held: &str, column_type: &ColumnType) -> bool {
        yaml(expected).is_held(&Value::of_json(held).unwrap(), column_type)
    }

    #[test]
    fn numbers_are_compared_by_value_with_all_digits() {
        let any = &ColumnType::Any;
        assert!(is_held("21.50", "21.5", any) && is_held("1e3", "1000", any) && is_held("-0", "0.00", any));
        assert!(is_held("12345678901234567890.1", "12345678901234567890.1", any));
        assert!(!is_held("1670380342000000001", "1670380342000000002", any));
        assert!(is_held("0x10", "16", any) && is_held("12345678901234567890.1", "\"12345678901234567890.1\"", any));
        assert!(!is_held("5", "\"five\"", any) && !is_held("null", "0", any) && is_held("~", "null", any));
    }

    #[test]
    fn times_truth_values_bytes_and_documents_are_what_they_mean() {
        let instant = &ColumnType::Timestamptz(SecondDigits::MICROS);
        assert!(is_held("2026-11-21T09:26:00+01:00", "\"2026-11-21T08:26:00Z\"", instant));
        assert!(!is_held("2026-11-21T09:26:00Z", "\"2026-11-21T08:26:00Z\"", instant));
        assert!(!is_held("2026-11-21T09:26:00+01:00", "\"2026-11-21T08:26:00Z\"", &ColumnType::Any));
        assert!(is_held("1", "true", &ColumnType::Bool) && !is_held("1", "true", &ColumnType::Any));
        assert!(is_held("'\\x00FF'", "\"\\\\x00ff\"", &ColumnType::Bytes));
        assert!(is_held("{ a: [1.0, x] }", r#"{"a":[1,"x"]}"#, &ColumnType::Jsonb));
        assert!(is_held("{ a: 1 }", r#""{\"a\":1}""#, &ColumnType::Any));
        assert!(is_held("'{\"a\": 1}'", r#"{"a":1}"#, &ColumnType::Json));
        assert!(!is_held("{ a: 1 }", r#"{"a":1,"b":2}"#, &ColumnType::Json));
    }

    #[test]
    fn what_is_written_is_read_back() {
        for text in
            ["plain", "two words", "2026-11-21T08:26:00Z", "yes: no", "007", "true", "", " a", "#", "é", "a, b", "-"]
        {
            let value = Value::Map(vec![("k".to_owned(), Value::List(vec![Value::Text(text.to_owned())]))]);
            assert_eq!(yaml(&value.yaml()), value, "{}", value.yaml());
            assert_eq!(yaml(&value.json()), value);
        }
        assert_eq!(Value::Text("two words".to_owned()).yaml(), "two words");
    }
}
