//! Values of types that the server casts from text (`ColumnType::Cast`): macaddr, ranges, hstore, geometry, vector …
//!
//! Every value is sent as its text, which the server's own input function parses. Only a JSON array for a column of
//! arrays is rewritten, into Postgres' text format of arrays.

use serde_json::value::RawValue;

use super::coerce::{Demands, text};
use super::value::{Misfit, Value};
use crate::schema::Cast;

/// Postgres has arrays of so many dimensions at most.
const DIMENSIONS_MAX: usize = 6;

pub(super) fn castable<'s>(
    value: &Value<'s>,
    cast: &Cast,
    demands: &Demands,
    written: &'s mut String,
) -> Result<&'s str, Misfit> {
    match (*value, cast.delimiter) {
        (Value::Tree(raw), Some(delimiter)) if raw.starts_with('[') => {
            array(raw, delimiter, DIMENSIONS_MAX, demands, written)?;
            Ok(written)
        }
        _ => text(value, None, demands, written),
    }
}

/// `{"a","b",NULL}` for `["a", "b", null]`.
fn array(raw: &str, delimiter: char, depth: usize, demands: &Demands, out: &mut String) -> Result<(), Misfit> {
    if depth == 0 {
        return Err("an array of more dimensions than Postgres has".into());
    }
    let elements: Vec<&RawValue> = serde_json::from_str(raw).map_err(|_| "an array that cannot be read")?;
    out.push('{');
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            out.push(delimiter);
        }
        match Value::from_json(element.get()) {
            None => out.push_str("NULL"),
            Some(Value::Tree(raw)) if raw.starts_with('[') => array(raw, delimiter, depth - 1, demands, out)?,
            Some(element) => {
                let (mut unescaped, mut written) = (String::new(), String::new());
                let element = match element {
                    Value::JsonString(raw) => Value::Text(super::json_text::unescape(raw, &mut unescaped)?),
                    element => element,
                };
                quoted(text(&element, None, demands, &mut written)?, out);
            }
        }
    }
    out.push('}');
    Ok(())
}

fn quoted(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}
