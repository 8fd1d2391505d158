//! Numbers: integers of up to 38 digits are exact, decimals keep their digits until a calculation uses them.
//!
//! As in jaq, the sum, difference and product of integers are integers; every other operation but the remainder uses doubles.

use std::cmp::Ordering;
use std::fmt;
use std::rc::Rc;

use super::value::Text;

/// From here on a whole double is written with an exponent, as jq does.
const WHOLE_DOUBLE_MAX: f64 = 1e17;

/// 2^127: an `i128` is less.
const WIDE_MAX: f64 = 170_141_183_460_469_231_731_687_303_715_884_105_728.0;

const LARGEST_DOUBLE: &str = "1.7976931348623157e+308";
const LARGEST_NEGATIVE_DOUBLE: &str = "-1.7976931348623157e+308";

#[derive(Debug, Clone)]
pub(super) enum Number {
    Int(i64),
    /// Outside of `i64`.
    Wide(Rc<i128>),
    Float(f64),
    /// As it was written: decimals, and integers that are wider still. Valid JSON.
    Digits(Rc<Text>),
}

/// An integer of more than 38 digits cannot be calculated with.
pub(super) struct TooWide;

impl Number {
    /// `text` is a number by JSON's grammar.
    pub(super) fn of_json(text: &str) -> Number {
        let digits = text.strip_prefix('-').unwrap_or(text);
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) || text == "-0" {
            return Number::Digits(Text::new(text.to_owned()));
        }
        if let Ok(int) = text.parse() {
            return Number::Int(int);
        }
        text.parse().map_or_else(|_| Number::Digits(Text::new(text.to_owned())), Number::wide)
    }

    /// A number of a program, whose grammar is wider than JSON's.
    pub(super) fn of_program(text: &str) -> Number {
        // The sign is of a number that a function made.
        let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
        let trimmed = digits.trim_start_matches('0');
        let zero = if trimmed.starts_with(|c: char| c.is_ascii_digit()) { "" } else { "0" };
        let text = format!("{sign}{zero}{trimmed}");
        match super::read::is_number(text.as_bytes()) {
            true => Number::of_json(&text),
            false => Number::Float(text.parse().unwrap_or(f64::NAN)),
        }
    }

    pub(super) fn wide(int: i128) -> Number {
        i64::try_from(int).map_or_else(|_| Number::Wide(Rc::new(int)), Number::Int)
    }

    pub(super) fn is_int(&self) -> bool {
        match self {
            Number::Int(_) | Number::Wide(_) => true,
            Number::Float(_) => false,
            Number::Digits(digits) => is_integer(digits),
        }
    }

    fn as_wide(&self) -> Option<i128> {
        match self {
            Number::Int(int) => Some(i128::from(*int)),
            Number::Wide(int) => Some(**int),
            Number::Float(_) | Number::Digits(_) => None,
        }
    }

    /// A position: an integer, or a double that is whole.
    pub(super) fn as_position(&self) -> Option<i64> {
        match self {
            Number::Int(int) => Some(*int),
            Number::Wide(int) => Some(if **int < 0 { i64::MIN } else { i64::MAX }),
            // Saturates where the array ends anyway.
            _ => Some(self.as_f64()).filter(|float| float.fract() == 0.0).map(|float| float as i64),
        }
    }

    pub(super) fn as_f64(&self) -> f64 {
        match self {
            Number::Int(int) => *int as f64,
            Number::Wide(int) => **int as f64,
            Number::Float(float) => *float,
            Number::Digits(digits) => digits.as_str().parse().unwrap_or(f64::NAN),
        }
    }

    pub(super) fn is_nan(&self) -> bool {
        matches!(self, Number::Float(float) if float.is_nan())
    }

    /// Without the fraction, for a remainder. An infinity is the greatest or the least 64-bit integer, as in jq.
    pub(super) fn truncated(&self) -> Result<i128, TooWide> {
        if let Some(int) = self.as_wide() {
            return Ok(int);
        }
        match self.as_f64().trunc() {
            float if matches!(self, Number::Float(_)) && float.is_infinite() => {
                Ok(if float > 0.0 { i64::MAX.into() } else { i64::MIN.into() })
            }
            float if float.abs() < WIDE_MAX => Ok(float as i128),
            _ => Err(TooWide),
        }
    }

    pub(super) fn length(&self) -> Number {
        match self {
            Number::Int(int) => Number::wide(i128::from(*int).abs()),
            Number::Wide(int) => int.checked_abs().map_or_else(|| self.clone(), Number::wide),
            Number::Float(float) => Number::Float(float.abs()),
            Number::Digits(digits) => match digits.as_str().strip_prefix('-') {
                Some(digits) => Number::of_json(digits),
                None => self.clone(),
            },
        }
    }

    pub(super) fn negated(&self) -> Number {
        match self {
            Number::Int(int) => Number::wide(-i128::from(*int)),
            Number::Wide(int) => int.checked_neg().map_or(Number::Float(-self.as_f64()), Number::wide),
            Number::Float(float) => Number::Float(-float),
            Number::Digits(digits) => match digits.as_str().strip_prefix('-') {
                Some(digits) => Number::of_json(digits),
                None => Number::of_json(&format!("-{}", digits.as_str())),
            },
        }
    }

    /// `ints` is `None` where the result is wider than 38 digits.
    pub(super) fn calculate(
        &self,
        other: &Number,
        ints: fn(i128, i128) -> Option<i128>,
        floats: fn(f64, f64) -> f64,
    ) -> Result<Number, TooWide> {
        if let (Some(l), Some(r)) = (self.as_wide(), other.as_wide()) {
            return ints(l, r).map(Number::wide).ok_or(TooWide);
        }
        let is_too_wide =
            |number: &Number| matches!(number, Number::Digits(digits) if is_integer(digits) && digits.as_str() != "-0");
        if (is_too_wide(self) && other.is_int()) || (is_too_wide(other) && self.is_int()) {
            return Err(TooWide);
        }
        Ok(Number::Float(floats(self.as_f64(), other.as_f64())))
    }
}

fn is_integer(digits: &Text) -> bool {
    !digits.as_str().bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E'))
}

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// NaN is less than anything, itself included, as in jq.
impl Ord for Number {
    fn cmp(&self, other: &Number) -> Ordering {
        match (self, other) {
            (Number::Int(l), Number::Int(r)) => l.cmp(r),
            (Number::Digits(l), Number::Digits(r)) if Rc::ptr_eq(l, r) => Ordering::Equal,
            _ => match (self.as_wide(), other.as_wide()) {
                (Some(l), Some(r)) => l.cmp(&r),
                _ => compare_doubles(self.as_f64(), other.as_f64()),
            },
        }
    }
}

pub(super) fn compare_doubles(l: f64, r: f64) -> Ordering {
    if l.is_nan() { Ordering::Less } else { l.partial_cmp(&r).unwrap_or(Ordering::Greater) }
}

/// JSON. As in jq, NaN is null and an infinity the largest double.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number::Int(int) => write!(f, "{int}"),
            Number::Wide(int) => write!(f, "{int}"),
            Number::Digits(digits) => f.write_str(digits.as_str()),
            Number::Float(float) if float.is_nan() => f.write_str("null"),
            Number::Float(float) if float.is_infinite() => {
                f.write_str(if *float > 0.0 { LARGEST_DOUBLE } else { LARGEST_NEGATIVE_DOUBLE })
            }
            Number::Float(float) if float.fract() == 0.0 && float.abs() < WHOLE_DOUBLE_MAX => write!(f, "{float:.0}"),
            Number::Float(float) => f.write_str(ryu::Buffer::new().format_finite(*float)),
        }
    }
}
