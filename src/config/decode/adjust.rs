//! The adjustments of a column: `decode`, `map`, `decimal`, `unit`, `scale`, `shift`.

use super::table::Table;
use super::value::Value;
use crate::rule::{Adjustments, ColumnSource, Decode, Exact, ValueMap};

/// Entries of one `map`. They are held in memory for each column.
const MAP_ENTRIES_MAX: usize = 1_000;
/// Forms in one another. Base64 of JSON is two.
const DECODES_MAX: usize = 4;

const KEYS: [&str; 6] = ["decode", "map", "decimal", "unit", "scale", "shift"];

/// The adjustments of a column, if it has any.
pub(super) fn decode(table: &Table<'_>, source: Option<&ColumnSource>) -> Option<Box<Adjustments>> {
    let given: Vec<(&str, Value<'_>)> = KEYS.into_iter().filter_map(|key| Some((key, table.get(key)?))).collect();
    if let Some(ColumnSource::Value(_)) = source {
        for (key, value) in &given {
            let problem = format!("`{key}` is for what a source gives, and `value` is written as it stands");
            value.refuse(problem, "from or template, or no such key");
        }
        return None;
    }
    let mut adjustments = Adjustments::default();
    for (key, value) in &given {
        match *key {
            "decode" => adjustments.decode = decodes(value),
            "map" => adjustments.map = map(value),
            "decimal" => adjustments.decimal = value.choice(&[(",", ','), (".", '.')]),
            "unit" => adjustments.ignores_unit = value.choice(&[("ignore", ())]).is_some(),
            "scale" => adjustments.scale = scale(value),
            _ => adjustments.shift = number(value),
        }
    }
    (!given.is_empty()).then(|| Box::new(adjustments))
}

pub(super) fn decodes(value: &Value<'_>) -> Vec<Decode> {
    let decodes: Vec<Decode> = value.list().filter_map(|item| item.choice(&Decode::NAMES)).collect();
    let count = value.list().count();
    if !(1..=DECODES_MAX).contains(&count) {
        value.refuse("found a list", format!("1 to {DECODES_MAX} of base64, hex and json, one in the other"));
    }
    let mut behind_json = value.list().zip(&decodes).skip_while(|(_, decode)| **decode != Decode::Json).skip(1);
    if let Some((item, _)) = behind_json.next() {
        item.refuse("follows `json`, which gives a value and no text", "json last");
    }
    decodes
}

fn map(value: &Value<'_>) -> Option<ValueMap> {
    const ACCEPTED: &str =
        "a mapping of values to their replacements, such as { \"on\": 1, unavailable: null }; * is for all others";
    let entries: Vec<_> = value.entries().into_iter().flatten().collect();
    if entries.is_empty() || entries.len() > MAP_ENTRIES_MAX {
        let problem = match entries.len() {
            0 => "found no mapping with values".to_owned(),
            more => format!("found {more} values; there may be {MAP_ENTRIES_MAX}"),
        };
        value.refuse(problem, ACCEPTED);
        return None;
    }
    let mut map = ValueMap::default();
    for (key, value) in entries {
        let json = value.literal()?.to_string();
        match key {
            "*" => map.others = Some(json),
            _ => map.entries.push((key.to_owned(), json)),
        }
    }
    map.entries.sort_unstable();
    Some(map)
}

fn scale(value: &Value<'_>) -> Option<Exact> {
    let scale = number(value)?;
    if scale.is_zero() {
        value.refuse("found 0, with which every value would be the same", Exact::FORMS);
    }
    Some(scale)
}

fn number(value: &Value<'_>) -> Option<Exact> {
    let number = value.as_text().and_then(|text| Exact::parse(&text));
    if number.is_none() {
        value.refuse(format!("found {}", value.shown()), Exact::FORMS);
    }
    number
}
