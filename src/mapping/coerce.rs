//! Coercion of a value to a column: it fits without a loss, or it is refused.
//!
//! | into | takes |
//! |---|---|
//! | bool | true/false, 0/1, the strings true/false, on/off, yes/no, 0/1 in any case |
//! | integers | whole numbers in range (`5.0`, `1e3` too), numeric strings, true/false as 1/0; a time as epoch milliseconds |
//! | floats | numbers and numeric strings, see [`super::float`] |
//! | decimal | numbers, numeric strings and true/false, if the type has a place for every digit |
//! | text, enum | strings; numbers, objects and arrays as written in the payload; times as RFC 3339 in UTC |
//! | json | JSON as written in the payload; other text as a JSON string |
//! | bytes | the payload's bytes; strings as their UTF-8; anything else as for text |
//! | uuid | the usual text forms, or 16 bytes |
//! | date, time, timestamps | see [`super::temporal`]; intervals [`super::interval`] |
//! | inet | an address, with or without `/prefix` |
//! | arrays | JSON arrays, element by element; null elements stay, arrays in arrays are refused |
//! | types cast by the server | as for text; a JSON array for a column of arrays as the text of an array |
//! | any (SQLite) | 64-bit integers, numbers a float holds exactly, true/false as 1/0, otherwise text |
//! | binds without a type (SQLite) | 64-bit integers, of other numbers the nearest float; everything else as for any |

mod number;

use std::fmt::Write;
use std::net::IpAddr;

pub(super) use self::number::fits_numeric;
use self::number::{integer, numeric, push_integer};
use super::adjust::Nulled;
use super::cast::castable;
use super::decimal::Decimal;
use super::float;
use super::interval;
use super::json_text;
use super::temporal::{Clockface, write_instant};
use super::value::{Misfit, Value, expected};
use crate::schema::{Cell, ColumnType, IntervalUnit, SecondDigits};

/// Digits that a double always keeps (C's DBL_DIG).
const DOUBLE_DIGITS: usize = 15;

/// The column's requirements on its values besides the type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Demands {
    pub(super) clockface: Clockface,
    pub(super) text_takes_nul: bool,
}

/// Memory for what has to be rewritten, reused from value to value.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) unescaped: String,
    pub(super) written: String,
    /// Of the current message.
    pub(super) nulled: Nulled,
}

/// Makes `value` a cell that fits `column_type` and passes it to `done`. Arrays go through [`coerce_array`].
///
/// Performance: the value is passed by reference, here and below, because a copy of an enum is written in parts, and
/// reading it back stalls. `done` is called in the branch of each type, so that the compiler knows which cell the
/// encoder gets for which type. The encoder's checks are then decided at compile time, and no cell is built in memory.
pub(super) fn coerce<'s>(
    value: &Value<'s>,
    column_type: &ColumnType,
    demands: &Demands,
    scratch: &'s mut Scratch,
    done: impl FnOnce(Cell<'s>),
) -> Result<(), Misfit> {
    let Scratch { unescaped, written, .. } = scratch;
    written.clear();
    let unquoted;
    let value = match *value {
        Value::JsonString(raw) if !is_json(column_type) => {
            unquoted = Value::Text(json_text::unescape(raw, unescaped)?);
            &unquoted
        }
        _ => value,
    };
    let clockface = &demands.clockface;
    match column_type {
        ColumnType::Bool => done(Cell::Bool(boolean(value)?)),
        ColumnType::Int2 => done(Cell::Int(integer(value, clockface, i16::MIN.into(), i16::MAX.into())?)),
        ColumnType::Int4 => done(Cell::Int(integer(value, clockface, i32::MIN.into(), i32::MAX.into())?)),
        ColumnType::Int8 => done(Cell::Int(integer(value, clockface, i64::MIN, i64::MAX)?)),
        ColumnType::Float4 => done(Cell::Float(float::single(value)?)),
        ColumnType::Float8 => done(Cell::Float(float::double(value)?)),
        ColumnType::Numeric(limits) => done(Cell::Decimal(numeric(value, *limits, written)?)),
        ColumnType::Text { max_chars } => done(Cell::Text(text(value, *max_chars, demands, written)?)),
        ColumnType::Enum(labels) => done(Cell::Text(label(value, labels, written)?)),
        ColumnType::Bytes => done(Cell::Bytes(bytes(value, written)?)),
        ColumnType::Uuid => done(Cell::Uuid(uuid(value)?)),
        ColumnType::Date => done(Cell::Date(clockface.date(value)?)),
        ColumnType::Time(digits) => done(Cell::Time(digits.cut(clockface.time_of_day(value)?))),
        ColumnType::Timestamp(digits) => done(Cell::Timestamp(digits.cut(clockface.local(value)?))),
        ColumnType::Timestamptz(digits) => done(Cell::Timestamp(digits.cut(clockface.instant(value)?))),
        ColumnType::TimestampText => {
            done(Cell::Timestamp(SecondDigits::MILLIS.cut(clockface.sortable_instant(value)?)));
        }
        ColumnType::Interval(unit) => done(duration(value, *unit)?),
        ColumnType::LowerBound => done(Cell::Float(float::lower_bound(value)?)),
        ColumnType::UpperBound => done(Cell::Float(float::upper_bound(value)?)),
        ColumnType::Inet => done(Cell::Text(address(value, written)?)),
        ColumnType::Cast(cast) => done(Cell::Text(castable(value, cast, demands, written)?)),
        ColumnType::Any | ColumnType::Operand => {
            done(any(value, *column_type == ColumnType::Operand, demands, written)?);
        }
        ColumnType::Json | ColumnType::Jsonb | ColumnType::JsonText => {
            done(Cell::Text(json_text::json(value, column_type, written)?))
        }
        ColumnType::Array(..) | ColumnType::Unsupported(_) => return Err(expected("another type", value)),
    }
    Ok(())
}

/// Of one array: an element takes some 130 bytes until it is encoded, and a small compressed payload may have millions.
const ELEMENTS_MAX: usize = 1_000_000;

/// The elements of a JSON array, coerced, handed to `done`. Takes memory per element: arrays are rare.
pub(super) fn coerce_array(
    value: &Value<'_>,
    element_type: &ColumnType,
    demands: &Demands,
    done: impl FnOnce(&[Cell<'_>]),
) -> Result<(), Misfit> {
    let Value::Tree(raw) = *value else { return Err(expected("an array", value)) };
    if !raw.starts_with('[') {
        return Err(expected("an array", value));
    }
    let elements: Vec<&serde_json::value::RawValue> =
        serde_json::from_str(raw).map_err(|_| "an array that cannot be read")?;
    if elements.len() > ELEMENTS_MAX {
        return Err(format!("an array with more than {ELEMENTS_MAX} elements").into());
    }
    let mut scratches: Vec<Scratch> = elements.iter().map(|_| Scratch::default()).collect();
    let mut cells = Vec::with_capacity(elements.len());
    for (element, scratch) in elements.iter().zip(&mut scratches) {
        match Value::from_json(element.get()) {
            None => cells.push(Cell::Null),
            Some(Value::Tree(raw)) if raw.starts_with('[') && !is_json(element_type) => {
                return Err("an array in an array, where the column has one dimension".into());
            }
            Some(element) => coerce(&element, element_type, demands, scratch, |cell| cells.push(cell))?,
        }
    }
    done(&cells);
    Ok(())
}

fn is_json(column_type: &ColumnType) -> bool {
    matches!(column_type, ColumnType::Json | ColumnType::Jsonb | ColumnType::JsonText)
}

fn boolean(value: &Value<'_>) -> Result<bool, Misfit> {
    const WORDS: [(&str, bool); 8] = [
        ("true", true),
        ("false", false),
        ("on", true),
        ("off", false),
        ("yes", true),
        ("no", false),
        ("1", true),
        ("0", false),
    ];
    let whole = match *value {
        Value::Bool(truth) => return Ok(truth),
        Value::Int(number) => Some(number),
        Value::Number(text) => Decimal::parse(text).and_then(|number| number.to_i64().ok()),
        Value::Text(text) => {
            let word = WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(text.trim()));
            return word
                .map(|(_, truth)| *truth)
                .ok_or("a string that is none of true/false, on/off, yes/no, 1/0".into());
        }
        _ => None,
    };
    match whole {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        _ if matches!(value, Value::Number(_) | Value::Int(_)) => Err("a number other than 0 and 1".into()),
        _ => Err(expected("a truth value", value)),
    }
}

/// Any value as text.
pub(super) fn as_text<'s>(value: &Value<'s>, written: &'s mut String) -> Result<&'s str, Misfit> {
    match *value {
        Value::Text(text) | Value::Number(text) | Value::Tree(text) | Value::JsonString(text) => Ok(text),
        Value::Bool(truth) => Ok(if truth { "true" } else { "false" }),
        Value::Bytes(bytes) => std::str::from_utf8(bytes).map_err(|_| "bytes that are not UTF-8 text".into()),
        Value::Int(number) => {
            push_integer(number, written);
            Ok(written)
        }
        Value::Double(number) => {
            written.push_str(ryu::Buffer::new().format(number));
            Ok(written)
        }
        Value::Instant(micros) => {
            write_instant(micros, written);
            Ok(written)
        }
    }
}

/// Appends any value as text, as in a template.
pub(super) fn push_text(value: &Value<'_>, scratch: &mut Scratch, out: &mut String) -> Result<(), Misfit> {
    let Scratch { unescaped, written, .. } = scratch;
    written.clear();
    out.push_str(match *value {
        Value::JsonString(raw) => json_text::unescape(raw, unescaped)?,
        _ => as_text(value, written)?,
    });
    Ok(())
}

pub(super) fn text<'s>(
    value: &Value<'s>,
    max_chars: Option<u32>,
    demands: &Demands,
    written: &'s mut String,
) -> Result<&'s str, Misfit> {
    let time;
    let value = match demands.clockface.format {
        Some(_) => {
            time = Value::Instant(demands.clockface.sortable_instant(value)?);
            &time
        }
        None => value,
    };
    let text = as_text(value, written)?;
    if !demands.text_takes_nul && memchr::memchr(0, text.as_bytes()).is_some() {
        return Err("a string with a NUL character, which Postgres text cannot hold".into());
    }
    if let Some(max) = max_chars {
        // No text has more characters than bytes.
        let max = max as usize;
        if text.len() > max && text.chars().count() > max {
            return Err(format!("a string longer than the column's {max} characters").into());
        }
    }
    Ok(text)
}

fn label<'s>(value: &Value<'s>, labels: &[String], written: &'s mut String) -> Result<&'s str, Misfit> {
    let text = as_text(value, written)?;
    if labels.iter().any(|label| label == text) {
        Ok(text)
    } else {
        Err("a string that is none of the enum's labels".into())
    }
}

fn bytes<'s>(value: &Value<'s>, written: &'s mut String) -> Result<&'s [u8], Misfit> {
    match *value {
        Value::Bytes(bytes) => Ok(bytes),
        _ => as_text(value, written).map(str::as_bytes),
    }
}

fn uuid(value: &Value<'_>) -> Result<[u8; 16], Misfit> {
    match *value {
        Value::Text(text) => uuid::Uuid::try_parse(text.trim())
            .map(uuid::Uuid::into_bytes)
            .map_err(|_| "a string that is no UUID".into()),
        Value::Bytes(bytes) => bytes.try_into().map_err(|_| "bytes that are not the 16 of a UUID".into()),
        _ => Err(expected("a UUID", value)),
    }
}

fn duration(value: &Value<'_>, unit: IntervalUnit) -> Result<Cell<'static>, Misfit> {
    let parsed = match *value {
        Value::Text(text) | Value::Number(text) => interval::parse(text.trim()),
        Value::Int(seconds) => seconds.checked_mul(1_000_000).map(|micros| (0, 0, micros)),
        _ => return Err(expected("an interval", value)),
    };
    let (months, days, micros) =
        parsed.ok_or("no interval: ISO 8601 (`PT1H30M`), `N days HH:MM:SS` or a number of seconds is expected")?;
    let micros = unit.fit(months, days, micros).ok_or_else(|| {
        let kept = unit.plural();
        format!(
            "an interval with a part smaller than the {kept} that the column keeps; make the column plain `interval`"
        )
    })?;
    Ok(Cell::Interval { months, days, micros })
}

fn address<'s>(value: &Value<'_>, written: &'s mut String) -> Result<&'s str, Misfit> {
    const NO_ADDRESS: &str = "a string that is no IP address";
    let Value::Text(text) = *value else { return Err(expected("an IP address", value)) };
    let (address, prefix) = match text.trim().split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text.trim(), None),
    };
    let address: IpAddr = address.parse().map_err(|_| NO_ADDRESS)?;
    write!(written, "{address}").expect("a String takes everything");
    if let Some(prefix) = prefix {
        let prefix_max = if address.is_ipv4() { 32 } else { 128 };
        let plain = prefix.bytes().all(|digit| digit.is_ascii_digit());
        let prefix: u8 = prefix.parse().ok().filter(|bits| plain && *bits <= prefix_max).ok_or(NO_ADDRESS)?;
        write!(written, "/{prefix}").expect("a String takes everything");
    }
    Ok(written)
}

fn any<'s>(
    value: &Value<'s>,
    is_operand: bool,
    demands: &Demands,
    written: &'s mut String,
) -> Result<Cell<'s>, Misfit> {
    let time;
    let value = match demands.clockface.format {
        Some(_) => {
            time = Value::Instant(demands.clockface.sortable_instant(value)?);
            &time
        }
        None => value,
    };
    Ok(match *value {
        Value::Bool(truth) => Cell::Bool(truth),
        Value::Int(number) => Cell::Int(number),
        Value::Bytes(bytes) => Cell::Bytes(bytes),
        Value::Number(text) => match (text.parse(), text.parse::<f64>()) {
            (Ok(number), _) => Cell::Int(number),
            (_, Ok(float)) if is_operand && float.is_finite() || is_exact(float, text) => Cell::Float(float),
            _ if is_operand => return Err("a number out of the range of a double".into()),
            _ => Cell::Text(text),
        },
        _ => Cell::Text(as_text(value, written)?),
    })
}

/// Whether the shortest text of the float is the number that was written. Of two shortest texts that are equally near, which
/// take 16 digits at least, one program shows the even one and another the larger: then neither is.
fn is_exact(float: f64, text: &str) -> bool {
    let is_written = |shortest: &str| {
        let both = (Decimal::parse(shortest), Decimal::parse(text));
        matches!(both, (Some(shortest), Some(written)) if shortest.equals(&written))
    };
    let is_short = text.len() <= DOUBLE_DIGITS + 1;
    is_written(ryu::Buffer::new().format(float)) && (is_short || is_written(&format!("{float:e}")))
}

#[cfg(test)]
mod tests;
