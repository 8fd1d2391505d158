//! Numbers into columns of integers and decimals.

use crate::mapping::decimal::{Decimal, NoInteger};
use crate::mapping::temporal::Clockface;
use crate::mapping::value::{Misfit, Value, expected};

/// Digits that Postgres' numeric holds before and after the point. Bounds the encoder's work on `1e1000000000`.
const NUMERIC_INTEGER_DIGITS_MAX: i64 = 131_072;
const NUMERIC_FRACTION_DIGITS_MAX: i64 = 16_383;
/// Digits altogether: on the wire they go in at most 32,767 groups of four.
const NUMERIC_DIGITS_MAX: i64 = 131_000;

pub(super) fn integer(value: &Value<'_>, clockface: &Clockface, min: i64, max: i64) -> Result<i64, Misfit> {
    let number = match *value {
        Value::Instant(micros) => micros.div_euclid(1_000),
        _ if clockface.format.is_some() => clockface.instant(value)?.div_euclid(1_000),
        Value::Int(number) => number,
        Value::Bool(truth) => truth.into(),
        Value::Number(text) => whole(text)?,
        Value::Text(text) => whole(text.trim())?,
        _ => return Err(expected("an integer", value)),
    };
    if (min..=max).contains(&number) { Ok(number) } else { Err("a number out of the column's range".into()) }
}

fn whole(text: &str) -> Result<i64, Misfit> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    match decimal(text)?.to_i64() {
        Ok(number) => Ok(number),
        Err(NoInteger::Fraction) => {
            Err("a number with a fraction where an integer is expected; make the column double or numeric".into())
        }
        Err(NoInteger::OutOfRange) => Err("a number out of the column's range".into()),
    }
}

fn decimal(text: &str) -> Result<Decimal<'_>, Misfit> {
    Decimal::parse(text).ok_or("a string that is not a number".into())
}

pub(super) fn numeric<'s>(
    value: &Value<'s>,
    limits: Option<(u16, i16)>,
    written: &'s mut String,
) -> Result<&'s str, Misfit> {
    let text = match *value {
        Value::Number(text) => text,
        Value::Text(text) => text.trim(),
        Value::Bool(truth) => {
            if truth {
                "1"
            } else {
                "0"
            }
        }
        Value::Int(number) => {
            push_integer(number, written);
            return numeric_text(written, limits, &mut String::new()).map(|_| written.as_str());
        }
        _ => return Err(expected("a number", value)),
    };
    numeric_text(text, limits, written)
}

fn numeric_text<'s>(text: &'s str, limits: Option<(u16, i16)>, written: &'s mut String) -> Result<&'s str, Misfit> {
    let number = decimal(text)?;
    let (integer_digits, fraction_digits) = number.significant_places();
    let (integer_max, fraction_max) = match limits {
        Some((precision, scale)) => (i64::from(precision) - i64::from(scale), i64::from(scale)),
        None => (NUMERIC_INTEGER_DIGITS_MAX, NUMERIC_FRACTION_DIGITS_MAX),
    };
    if integer_digits + fraction_digits > NUMERIC_DIGITS_MAX {
        return Err("a number with more than 131,000 digits, which no decimal column can hold".into());
    }
    if !number.is_zero() && integer_digits > integer_max {
        if limits.is_none() {
            return Err("a number with more than 131,072 digits before the point, which numeric cannot hold".into());
        }
        return Err(match integer_max {
            ..0 => {
                format!("a number that is too large for the column, which takes numbers below 10^{integer_max}").into()
            }
            _ => "a number with more digits before the point than the column has".into(),
        });
    }
    if !number.is_zero() && fraction_digits > fraction_max {
        if limits.is_none() {
            return Err("a number with more than 16,383 digits after the point, which numeric cannot hold".into());
        }
        return Err(match fraction_max {
            ..0 => {
                let places = -fraction_max;
                format!(
                    "a number that is no multiple of 10^{places}, which the column's scale of -{places} asks for; it would be \
                     rounded: give the column a larger scale, or make it plain numeric"
                )
                .into()
            }
            _ => "a number with more digits after the point than the column has; it would be rounded: give the column \
                  more, or make it plain numeric"
                .into(),
        });
    }
    // The text of the payload if JSON writes numbers so, and no longer than necessary.
    let odd = text.starts_with(['+', '.']) || text.starts_with("-.") || text.contains(".e") || text.contains(".E");
    if odd || text.ends_with('.') || number.written_fraction_digits() > NUMERIC_FRACTION_DIGITS_MAX {
        number.write(written);
        return Ok(written);
    }
    // Zero with an exponent beyond all measure is still zero.
    Ok(if number.is_zero() && text.contains(['e', 'E']) { "0" } else { text })
}

/// Whether numeric holds a number as JSON writes it, with the zeros that it is written with.
pub(in crate::mapping) fn fits_numeric(text: &str) -> bool {
    Decimal::parse(text).is_some_and(|number| {
        let (integer_digits, _) = number.significant_places();
        integer_digits <= NUMERIC_INTEGER_DIGITS_MAX && number.written_fraction_digits() <= NUMERIC_FRACTION_DIGITS_MAX
    })
}

pub(super) fn push_integer(number: i64, written: &mut String) {
    written.push_str(itoa::Buffer::new().format(number));
}
