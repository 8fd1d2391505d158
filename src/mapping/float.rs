//! Coercion of numbers to binary floating point: the nearest float, unless digits before the point would change.
//!
//! A double keeps 53 binary digits and a single 24. Below 2^53 or 2^24 only digits after the point can be lost, and
//! readers of such a column expect these to be rounded. Beyond, a number is accepted if the float is exactly that
//! number, or if the number has a point or an exponent and is the text that the float is printed as. So a float from
//! another system keeps its text.

use super::decimal::Decimal;
use super::double::double_of_few_digits;
use super::value::{Misfit, Value, expected};

const OUT_OF_RANGE: &str = "a number out of the column's range";

/// What a width of floats keeps.
struct Width {
    parse: fn(&str) -> Option<f64>,
    /// The shortest decimal number that is read back as this float.
    shortest: fn(f64) -> [String; 2],
    /// A number written with so many characters always passes (C's DBL_DIG; FLT_DIG and one more, as 10^7 < 2^24).
    safe_length: usize,
    /// Every integer below this is a float, and so is this one.
    integers_max: f64,
    refusal: &'static str,
}

const DOUBLE: Width = Width {
    parse: |text| text.parse::<f64>().ok(),
    shortest: |number| [ryu::Buffer::new().format(number).to_owned(), format!("{number:e}")],
    safe_length: 15,
    integers_max: 9_007_199_254_740_992.0,
    refusal: "a number with more digits before the point than a double keeps (about 15); they would be rounded: make \
              the column bigint or numeric",
};

const SINGLE: Width = Width {
    // At once: through a double it would be rounded twice.
    parse: |text| text.parse::<f32>().ok().map(f64::from),
    shortest: |number| [ryu::Buffer::new().format(number as f32).to_owned(), format!("{:e}", number as f32)],
    safe_length: 7,
    integers_max: 16_777_216.0,
    refusal: "a number with more digits before the point than a real column keeps (about 7); they would be rounded: \
              make the column double, or bigint or numeric",
};

pub(super) fn double(value: &Value<'_>) -> Result<f64, Misfit> {
    match *value {
        Value::Double(number) => Ok(number),
        Value::Number(text) | Value::Text(text) if let Some(number) = double_of_few_digits(text) => Ok(number),
        _ => float(value, &DOUBLE),
    }
}

pub(super) fn single(value: &Value<'_>) -> Result<f64, Misfit> {
    float(value, &SINGLE)
}

/// The greatest single that is not above the number, for an R-tree's lower bounds.
pub(super) fn lower_bound(value: &Value<'_>) -> Result<f64, Misfit> {
    let exact = double(value)?;
    let nearest = exact as f32;
    finite(if f64::from(nearest) > exact { nearest.next_down() } else { nearest })
}

/// The smallest single that is not below the number, for an R-tree's upper bounds.
pub(super) fn upper_bound(value: &Value<'_>) -> Result<f64, Misfit> {
    let exact = double(value)?;
    let nearest = exact as f32;
    finite(if f64::from(nearest) < exact { nearest.next_up() } else { nearest })
}

fn finite(bound: f32) -> Result<f64, Misfit> {
    if bound.is_finite() { Ok(bound.into()) } else { Err(OUT_OF_RANGE.into()) }
}

fn float(value: &Value<'_>, width: &Width) -> Result<f64, Misfit> {
    let mut buffer = itoa::Buffer::new();
    let text = match *value {
        Value::Number(text) => text,
        Value::Text(text) => {
            // Rust reads `inf` and `NaN` too, which no database column of numbers should get from a sensor's text.
            Decimal::parse(text.trim()).ok_or("a string that is not a number")?;
            text.trim()
        }
        Value::Int(number) => buffer.format(number),
        Value::Bool(truth) => return Ok(f64::from(u8::from(truth))),
        _ => return Err(expected("a number", value)),
    };
    let number = (width.parse)(text).filter(|number| number.is_finite()).ok_or(OUT_OF_RANGE)?;
    if number == 0.0 && Decimal::parse(text).is_some_and(|exact| !exact.is_zero()) {
        return Err("a number too small for the column, which would become 0".into());
    }
    if text.len() > width.safe_length && !is_kept(number, text, width) {
        return Err(width.refusal.into());
    }
    Ok(number)
}

/// Whether no digit before the point changed. `number` is the float nearest to `text`.
fn is_kept(number: f64, text: &str, width: &Width) -> bool {
    let is_measured = text.contains(['.', 'e', 'E']);
    if is_measured && number.abs() < width.integers_max {
        return true;
    }
    if let Ok(integer) = text.parse::<i64>() {
        return number as i128 == i128::from(integer);
    }
    let is_written = |other: &str| match (Decimal::parse(other), Decimal::parse(text)) {
        (Some(other), Some(written)) => other.equals(&written),
        _ => false,
    };
    // All digits of the float, which has none after the point.
    is_written(&format!("{number:.0}")) || is_measured && (width.shortest)(number).iter().any(|text| is_written(text))
}
