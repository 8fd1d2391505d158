//! What a column gets of a JSON value, slowly and by other means than the mapping's own.

use std::collections::HashMap;

use rowbridge::rule::TimeFormat;
use rowbridge::schema::{Cell, ColumnType, SecondDigits};
use serde_json::Value;
use serde_json::value::RawValue;

/// Digits below which the limits of numeric do not matter.
const FEW_DIGITS: i64 = 1_000;

pub(super) enum Expected {
    /// Exactly this, as debug text.
    Cell(String),
    /// This number, however written.
    Number(Number),
    Refused,
    /// Refused, or exactly this.
    NoneOrCell(String),
    /// Not told here.
    Open,
}

/// The value at `payload`, `payload.v`, `payload.a.l[1].b` and the like; an error if the payload is not JSON.
pub(super) fn pick<'t>(text: &'t str, path: &str) -> Result<Option<&'t str>, ()> {
    let mut value: &RawValue = serde_json::from_str(text).map_err(drop)?;
    for step in path.split(['.', '[']).skip(1) {
        let next = match step.strip_suffix(']') {
            Some(index) => {
                let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(value.get()) else { return Ok(None) };
                let index: isize = index.parse().unwrap();
                let index = if index < 0 { elements.len().checked_add_signed(index) } else { Some(index as usize) };
                index.and_then(|index| elements.get(index).copied())
            }
            None if !value.get().starts_with('{') => None,
            None => {
                let fields: HashMap<String, &RawValue> = serde_json::from_str(value.get()).map_err(drop)?;
                fields.get(step).copied()
            }
        };
        let Some(next) = next else { return Ok(None) };
        value = next;
    }
    Ok(Some(value.get()))
}

pub(super) fn expected(column_type: &ColumnType, time: Option<&TimeFormat>, raw: Option<&str>) -> Expected {
    let Some(raw) = raw.filter(|raw| *raw != "null") else { return Expected::Cell("Null".to_owned()) };
    let shown = |cell: Cell<'_>| Expected::Cell(format!("{cell:?}"));
    if let Some(time) = time {
        return expected_time(column_type, time, raw);
    }
    match (column_type, raw.as_bytes()[0]) {
        (ColumnType::Array(element_type, _), b'[') => expected_array(element_type, raw),
        (ColumnType::Array(..), _) => Expected::Refused,
        // Nesting may be too deep, an escape no character.
        (ColumnType::Json, _) if raw.len() <= 2_048 => shown(Cell::Text(raw)),
        (ColumnType::Json | ColumnType::Jsonb, _) => Expected::NoneOrCell(format!("{:?}", Cell::Text(raw))),
        (ColumnType::Text { max_chars }, first) => {
            let unescaped;
            let text = if first == b'"' {
                let Ok(text) = serde_json::from_str::<String>(raw) else { return Expected::Refused };
                unescaped = text;
                &unescaped
            } else {
                raw
            };
            let is_long = max_chars.is_some_and(|max| text.chars().count() > max as usize);
            if is_long || text.contains('\0') { Expected::Refused } else { shown(Cell::Text(text)) }
        }
        (ColumnType::Bytes, b'"') => match serde_json::from_str::<String>(raw) {
            Ok(text) => shown(Cell::Bytes(text.as_bytes())),
            Err(_) => Expected::Refused,
        },
        (ColumnType::Bytes, _) => shown(Cell::Bytes(raw.as_bytes())),
        (_, b't' | b'f') => expected_of_truth(column_type, raw == "true"),
        (_, b'-' | b'0'..=b'9') => expected_of_number(column_type, raw),
        (ColumnType::Any, b'{' | b'[') => shown(Cell::Text(raw)),
        (_, b'{' | b'[') if !matches!(column_type, ColumnType::Enum(_)) => Expected::Refused,
        _ => Expected::Open,
    }
}

fn expected_of_truth(column_type: &ColumnType, truth: bool) -> Expected {
    let cell = match column_type {
        ColumnType::Bool | ColumnType::Any => Cell::Bool(truth),
        ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8 => Cell::Int(truth.into()),
        ColumnType::Float4 | ColumnType::Float8 => Cell::Float(f64::from(u8::from(truth))),
        _ => return Expected::Open,
    };
    Expected::Cell(format!("{cell:?}"))
}

fn expected_of_number(column_type: &ColumnType, raw: &str) -> Expected {
    let number = Number::parse(raw).unwrap();
    number.check_against_serde(raw);
    let within = |min: i64, max: i64| match number.to_integer() {
        Some(integer) if (i128::from(min)..=max.into()).contains(&integer) => {
            Expected::Cell(format!("{:?}", Cell::Int(integer as i64)))
        }
        _ => Expected::Refused,
    };
    match column_type {
        ColumnType::Bool => match number.to_integer() {
            Some(integer @ (0 | 1)) => Expected::Cell(format!("{:?}", Cell::Bool(integer == 1))),
            _ => Expected::Refused,
        },
        ColumnType::Int2 => within(i16::MIN.into(), i16::MAX.into()),
        ColumnType::Int4 => within(i32::MIN.into(), i32::MAX.into()),
        ColumnType::Int8 => within(i64::MIN, i64::MAX),
        ColumnType::Float4 => {
            let float: f32 = raw.parse().unwrap();
            expected_float(raw, &number, float.into(), &format!("{float:e}"), 16_777_216.0)
        }
        ColumnType::Float8 => {
            let float: f64 = raw.parse().unwrap();
            expected_float(raw, &number, float, &format!("{float:e}"), 9_007_199_254_740_992.0)
        }
        ColumnType::Numeric(Some((precision, scale))) => {
            let (precision, scale) = (i64::from(*precision), i64::from(*scale));
            let (before, after) = number.places();
            let fits = number.digits.is_empty() || (before <= precision - scale && after <= scale);
            if fits { Expected::Number(number) } else { Expected::Refused }
        }
        ColumnType::Numeric(None) => {
            let (before, after) = number.places();
            let is_short = before.abs() < FEW_DIGITS && after.abs() < FEW_DIGITS;
            if is_short { Expected::Number(number) } else { Expected::Open }
        }
        ColumnType::Any => Expected::Number(number),
        ColumnType::Uuid | ColumnType::Inet => Expected::Refused,
        _ => Expected::Open,
    }
}

/// `shortest` is the float's own text; below `integers_max` only digits after the point can be lost.
fn expected_float(raw: &str, number: &Number, float: f64, shortest: &str, integers_max: f64) -> Expected {
    /// So many digits may be those of a float that lies between two of its texts, which programs choose differently.
    const SHORTEST_MAX: usize = 17;
    let vanishes = float == 0.0 && !number.digits.is_empty();
    let is_integer = !raw.contains(['.', 'e', 'E']);
    if !float.is_finite() || vanishes {
        return Expected::Refused;
    }
    // Rust writes every digit of a float, and all of them are exact.
    let is_exact = Number::parse(&format!("{float:.0}")).as_ref() == Some(number);
    if is_integer && !is_exact {
        return Expected::Refused;
    }
    if !is_exact && float.abs() >= integers_max && Number::parse(shortest).as_ref() != Some(number) {
        return if number.digits.len() <= SHORTEST_MAX { Expected::Open } else { Expected::Refused };
    }
    Expected::Cell(format!("{:?}", Cell::Float(float)))
}

fn expected_array(element_type: &ColumnType, raw: &str) -> Expected {
    let elements: Vec<&RawValue> = serde_json::from_str(raw).unwrap();
    let mut cells = Vec::new();
    for element in elements {
        let element = element.get();
        if element.starts_with('[') {
            return Expected::Refused;
        }
        match expected(element_type, None, Some(element)) {
            Expected::Cell(cell) => cells.push(cell),
            Expected::Refused => return Expected::Refused,
            _ => return Expected::Open,
        }
    }
    Expected::Cell(format!("Array([{}])", cells.join(", ")))
}

/// Whole numbers of a unit, as long as no limit is near.
fn expected_time(column_type: &ColumnType, time: &TimeFormat, raw: &str) -> Expected {
    let nanos_each: i128 = match time {
        TimeFormat::Seconds => 1_000_000_000,
        TimeFormat::Millis => 1_000_000,
        TimeFormat::Micros => 1_000,
        TimeFormat::Nanos => 1,
        _ => return Expected::Open,
    };
    let count = Number::parse(raw).and_then(|number| number.to_integer());
    // From 0001 to 9999, in nanoseconds.
    let near = -62_135_596_800_000_000_000..253_402_300_800_000_000_000;
    let Some(nanos) = count.and_then(|count| count.checked_mul(nanos_each)).filter(|nanos| near.contains(nanos)) else {
        return Expected::Open;
    };
    let micros = nanos.div_euclid(1_000) as i64;
    let cell = match column_type {
        ColumnType::Timestamptz(digits) | ColumnType::Timestamp(digits) => Cell::Timestamp(digits.cut(micros)),
        ColumnType::TimestampText => Cell::Timestamp(SecondDigits::MILLIS.cut(micros)),
        ColumnType::Int8 => Cell::Int(micros.div_euclid(1_000)),
        ColumnType::Date if micros % 86_400_000_000 != 0 => return Expected::Refused,
        ColumnType::Date => Cell::Date(micros.div_euclid(86_400_000_000) as i32),
        _ => return Expected::Open,
    };
    Expected::Cell(format!("{cell:?}"))
}

/// Whether a cell's debug text is that number.
pub(super) fn shows(cell: &str, number: &Number) -> bool {
    let inside = cell.split_once('(').map_or("", |(_, rest)| rest.trim_end_matches(')'));
    Number::parse(inside.trim_matches('"')).as_ref() == Some(number)
}

/// A decimal number: digits without zeros at either end, times ten to a power. Zero has no digits, power 0 and no sign.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Number {
    is_negative: bool,
    digits: Vec<u8>,
    power: i64,
}

impl Number {
    /// Reads what JSON writes, and what Rust's formatting does.
    fn parse(text: &str) -> Option<Number> {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (is_negative, mantissa) = mantissa.strip_prefix('-').map_or((false, mantissa), |rest| (true, rest));
        let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all: Vec<u8> = integer.bytes().chain(fraction.bytes()).collect();
        if all.is_empty() || !all.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let first = all.iter().position(|digit| *digit != b'0');
        let Some(first) = first else { return Some(Number { is_negative: false, digits: Vec::new(), power: 0 }) };
        let end = all.iter().rposition(|digit| *digit != b'0').unwrap_or(first) + 1;
        let cut_off = (all.len() - end) as i64;
        // An exponent of twenty digits is beyond everything in the same way as one of ten.
        let magnitude = exponent.trim_start_matches(['+', '-']).parse::<i64>().unwrap_or(i64::MAX).min(1_000_000_000);
        let exponent = if exponent.starts_with('-') { -magnitude } else { magnitude };
        Some(Number {
            is_negative,
            digits: all[first..end].to_vec(),
            power: exponent - fraction.len() as i64 + cut_off,
        })
    }

    fn to_integer(&self) -> Option<i128> {
        if self.power < 0 || self.digits.len() as i64 + self.power > 30 {
            return None;
        }
        let digits = self.digits.iter().fold(0, |sum, digit| sum * 10 + i128::from(digit - b'0'));
        let magnitude = digits * 10_i128.pow(self.power as u32);
        Some(if self.is_negative { -magnitude } else { magnitude })
    }

    /// Digits before and after the point.
    fn places(&self) -> (i64, i64) {
        (self.digits.len() as i64 + self.power, -self.power)
    }

    /// serde_json reads the same integer, where it reads one at all.
    fn check_against_serde(&self, raw: &str) {
        let Ok(value) = serde_json::from_str::<Value>(raw) else { return };
        let integer = value.as_i64().map(i128::from).or(value.as_u64().map(i128::from));
        if let Some(integer) = integer {
            assert_eq!(self.to_integer(), Some(integer), "{raw}");
        }
    }
}
