//! Recognises the format of a payload from its bytes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{cbor, msgpack};

/// Lines of CSV that are looked at.
const LINES_MAX: usize = 100;

/// The form of a payload, or of all payloads of some topics.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Form {
    /// Nothing was seen but empty payloads.
    Nothing,
    /// A JSON object.
    Object,
    /// A JSON array of objects.
    Objects,
    /// Another JSON array.
    List,
    /// Lines of JSON objects.
    Lines,
    /// Lines of values with this delimiter, so many to a line; the first is a header.
    Csv {
        delimiter: char,
        fields: usize,
        header: Option<Vec<String>>,
    },
    /// InfluxDB's line protocol.
    Influx,
    /// A MessagePack map or array.
    Msgpack,
    /// A CBOR map.
    Cbor,
    /// A number as text.
    Number,
    Text,
    Bytes,
}

impl Form {
    pub(super) fn of(payload: &[u8]) -> Form {
        if msgpack::is_document(payload) {
            return Form::Msgpack;
        }
        if cbor::is_document(payload) {
            return Form::Cbor;
        }
        let Ok(text) = std::str::from_utf8(payload) else { return Form::Bytes };
        let text = text.trim();
        match text.chars().next() {
            None => Form::Nothing,
            Some('{') => match serde_json::from_str::<Value>(text) {
                Ok(Value::Object(_)) => Form::Object,
                _ if are_objects(text) => Form::Lines,
                _ => Form::Text,
            },
            Some('[') => match serde_json::from_str::<Value>(text) {
                Ok(Value::Array(items)) if !items.is_empty() && items.iter().all(Value::is_object) => Form::Objects,
                Ok(Value::Array(_)) => Form::List,
                _ => Form::Text,
            },
            Some(_) if is_number(text) => Form::Number,
            Some(_) if text.contains('\0') => Form::Bytes,
            Some(_) if text.lines().filter(|line| !line.trim().is_empty()).all(is_line_protocol) => Form::Influx,
            Some(_) => csv(text).unwrap_or(Form::Text),
        }
    }

    /// A form that all payloads of both have.
    pub(super) fn and(self, other: Form) -> Form {
        match (self, other) {
            (one, other) if one == other => one,
            (Form::Nothing, form) | (form, Form::Nothing) => form,
            (Form::Bytes | Form::Msgpack | Form::Cbor, _) | (_, Form::Bytes | Form::Msgpack | Form::Cbor) => {
                Form::Bytes
            }
            (Form::Object, Form::Lines) | (Form::Lines, Form::Object) => Form::Lines,
            _ => Form::Text,
        }
    }

    /// Whether payloads of both can be read by one rule without loss of what is known of them.
    pub(super) fn fits(&self, other: &Form) -> bool {
        let is_scalar = |form: &Form| matches!(form, Form::Number | Form::Text | Form::Nothing);
        self == other || (is_scalar(self) && is_scalar(other))
    }

    /// Whether it has fields by name.
    pub(super) fn has_keys(&self) -> bool {
        matches!(self, Form::Object | Form::Objects | Form::Lines)
    }

    /// For people.
    pub(super) fn words(&self) -> String {
        match self {
            Form::Nothing => "empty payloads".to_owned(),
            Form::Object => "JSON objects".to_owned(),
            Form::Objects => "JSON arrays of objects".to_owned(),
            Form::List => "JSON arrays".to_owned(),
            Form::Lines => "lines of JSON objects".to_owned(),
            Form::Csv { delimiter, fields, header } => {
                let delimiter = if *delimiter == '\t' { "tabs".to_owned() } else { format!("`{delimiter}`") };
                let header = if header.is_some() { " below a header" } else { "" };
                format!("CSV, {fields} values a line{header}, between them {delimiter}")
            }
            Form::Influx => "InfluxDB line protocol".to_owned(),
            Form::Msgpack => "MessagePack".to_owned(),
            Form::Cbor => "CBOR".to_owned(),
            Form::Number => "numbers as text".to_owned(),
            Form::Text => "text".to_owned(),
            Form::Bytes => "bytes".to_owned(),
        }
    }
}

/// The names of an object's fields; of several objects, of all of them.
pub(super) fn keys(payload: &[u8]) -> BTreeSet<String> {
    objects(payload).into_iter().flat_map(|object| object.into_iter().map(|(key, _)| key)).collect()
}

/// The objects of a payload.
pub(super) fn objects(payload: &[u8]) -> Vec<serde_json::Map<String, Value>> {
    let Ok(text) = std::str::from_utf8(payload) else { return Vec::new() };
    let as_object = |value| if let Value::Object(object) = value { Some(object) } else { None };
    match serde_json::from_str::<Value>(text.trim()) {
        Ok(Value::Object(object)) => vec![object],
        Ok(Value::Array(items)) => items.into_iter().filter_map(as_object).collect(),
        Ok(_) => Vec::new(),
        Err(_) => text.lines().filter_map(|line| serde_json::from_str(line).ok()).filter_map(as_object).collect(),
    }
}

fn are_objects(text: &str) -> bool {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.all(|line| matches!(serde_json::from_str(line), Ok(Value::Object(_))))
}

/// As a numeric column takes it.
pub(super) fn is_number(text: &str) -> bool {
    let is_digits = text.bytes().any(|byte| byte.is_ascii_digit());
    let is_numeric = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    is_digits && is_numeric && text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// `measurement,tag=a field=1,other=2 1795249560000000000`.
fn is_line_protocol(line: &str) -> bool {
    let mut parts = line.trim().split(' ');
    let (Some(series), Some(fields)) = (parts.next(), parts.next()) else { return false };
    let is_pair = |pair: &str| pair.split_once('=').is_some_and(|(name, value)| !name.is_empty() && !value.is_empty());
    let mut series = series.split(',');
    let measurement = series.next().unwrap_or_default();
    let is_series = !measurement.is_empty() && !measurement.contains('=') && series.all(is_pair);
    // Texts in quotes may hold spaces; whoever sends such is found by its first field.
    is_series && fields.split(',').next().is_some_and(is_pair)
}

/// Every line has as many values, two at least, and one of them is a number.
fn csv(text: &str) -> Option<Form> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).take(LINES_MAX).collect();
    [',', ';', '\t'].into_iter().find_map(|delimiter| {
        let fields = lines.first()?.split(delimiter).count();
        let has_quotes = text.contains('"');
        let is_even = lines.iter().all(|line| line.split(delimiter).count() == fields);
        if fields < 2 || has_quotes || !is_even {
            return None;
        }
        let numbers = |line: &str| line.split(delimiter).filter(|field| is_number(field.trim())).count();
        let names: Vec<String> = lines[0].split(delimiter).map(|name| name.trim().to_owned()).collect();
        let is_header = lines.len() > 1 && numbers(lines[0]) == 0 && numbers(lines[1]) > 0;
        let is_named = is_header && names.iter().all(|name| !name.is_empty());
        let last = lines.last()?;
        // `Hello, world` is a sentence.
        (numbers(last) > 0).then(|| Form::Csv { delimiter, fields, header: is_named.then_some(names) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_what_it_looks_like() {
        for (payload, form) in [
            (&b"{\"a\":1}"[..], Form::Object),
            (b" {\"a\":1}\n{\"a\":2}\n", Form::Lines),
            (b"[{\"a\":1}]", Form::Objects),
            (b"[1,2]", Form::List),
            (b"{broken", Form::Text),
            (b"21.5", Form::Number),
            (b"-1e3\n", Form::Number),
            (b"ON", Form::Text),
            (b"Hello, world", Form::Text),
            (b"a = 1", Form::Text),
            (b"cpu,host=a usage=0.5,idle=99i 1795249560000000000\nmem used=1", Form::Influx),
            (b"\x81\xa1t\x05", Form::Msgpack),
            (b"\xa1\x61t\x05", Form::Cbor),
            (b"1.2.3", Form::Text),
            (b"inf", Form::Text),
            (b"\xff\x00", Form::Bytes),
            (b"", Form::Nothing),
            (b"1,2.5,x", Form::Csv { delimiter: ',', fields: 3, header: None }),
            (b"a;b\n1;2", Form::Csv { delimiter: ';', fields: 2, header: Some(vec!["a".into(), "b".into()]) }),
        ] {
            assert_eq!(Form::of(payload), form, "{}", String::from_utf8_lossy(payload));
        }
        assert_eq!(Form::Number.and(Form::Text), Form::Text);
        assert_eq!(Form::Nothing.and(Form::Object), Form::Object);
    }
}
