//! Arithmetic of values, as in jaq; `%` as in jq.

use std::collections::BTreeSet;
use std::ops::{Add, Div, Mul, Neg, Rem, Sub};
use std::rc::Rc;

use jaq_core::ops::Math;
use jaq_core::{Error, ValR};

use super::budget::{Bound, budget};
use super::number::{Number, TooWide};
use super::value::{Object, TEXT_BYTES_MAX, Text, Value};

type Result = ValR<Value>;

fn number(result: std::result::Result<Number, TooWide>) -> Result {
    result.map(Value::Number).map_err(|TooWide| Error::str("integers of more than 38 digits cannot be calculated with"))
}

impl Add for Value {
    type Output = Result;

    fn add(self, other: Value) -> Result {
        match (self, other) {
            (Value::Null(_), value) | (value, Value::Null(_)) => Ok(value),
            (Value::Number(l), Value::Number(r)) => number(l.calculate(&r, i128::checked_add, |l, r| l + r)),
            (Value::Text(l), Value::Text(r)) => Ok(Value::Text(Text::joined(l, r.as_str()))),
            (Value::Array(mut l), Value::Array(r)) => {
                Rc::make_mut(&mut l).extend(r.items());
                Ok(Value::Array(l))
            }
            (Value::Object(mut l), Value::Object(r)) => {
                let own = Rc::make_mut(&mut l);
                r.entries().iter().for_each(|(key, value)| own.insert(Rc::clone(key), value.clone()));
                Ok(Value::Object(l))
            }
            (l, r) => Err(Error::math(l, Math::Add, r)),
        }
    }
}

impl Sub for Value {
    type Output = Result;

    fn sub(self, other: Value) -> Result {
        match (self, other) {
            (Value::Number(l), Value::Number(r)) => number(l.calculate(&r, i128::checked_sub, |l, r| l - r)),
            (Value::Array(l), Value::Array(r)) => {
                let removed: BTreeSet<&Value> = r.items().iter().collect();
                Ok(l.items().iter().filter(|item| !removed.contains(item)).cloned().collect())
            }
            (l, r) => Err(Error::math(l, Math::Sub, r)),
        }
    }
}

impl Mul for Value {
    type Output = Result;

    fn mul(self, other: Value) -> Result {
        match (self, other) {
            (Value::Number(l), Value::Number(r)) => number(l.calculate(&r, i128::checked_mul, |l, r| l * r)),
            (Value::Text(text), Value::Number(times)) | (Value::Number(times), Value::Text(text)) if times.is_int() => {
                Ok(repeated(&text, times.as_position().unwrap_or(i64::MAX)))
            }
            (Value::Object(l), Value::Object(r)) => Ok(Value::Object(merged(l, &r))),
            (l, r) => Err(Error::math(l, Math::Mul, r)),
        }
    }
}

/// Null for no times, as jq has it.
fn repeated(text: &Text, times: i64) -> Value {
    let Some(times) = usize::try_from(times).ok().filter(|times| *times > 0) else { return Value::NULL };
    if text.as_str().len().saturating_mul(times) > TEXT_BYTES_MAX {
        budget(|budget| budget.end(Bound::Memory));
        return Value::NULL;
    }
    Value::text(text.as_str().repeat(times))
}

fn merged(mut l: Rc<Object>, r: &Object) -> Rc<Object> {
    let own = Rc::make_mut(&mut l);
    for (key, value) in r.entries() {
        let merged = match (own.get(key.as_str()), value) {
            (Some(Value::Object(_)), Value::Object(r)) => match own.take(key.as_str()) {
                Some(Value::Object(l)) => Value::Object(merged(l, r)),
                _ => value.clone(),
            },
            _ => value.clone(),
        };
        own.insert(Rc::clone(key), merged);
    }
    l
}

impl Div for Value {
    type Output = Result;

    fn div(self, other: Value) -> Result {
        match (self, other) {
            (Value::Number(l), Value::Number(r)) => Ok(Value::Number(Number::Float(l.as_f64() / r.as_f64()))),
            (Value::Text(l), Value::Text(r)) => {
                let (text, separator) = (l.as_str(), r.as_str());
                Ok(match (text.is_empty(), separator.is_empty()) {
                    (true, _) => Value::array(Vec::new()),
                    (false, true) => text.chars().map(Value::text).collect(),
                    (false, false) => text.split(separator).map(Value::text).collect(),
                })
            }
            (l, r) => Err(Error::math(l, Math::Div, r)),
        }
    }
}

impl Rem for Value {
    type Output = Result;

    fn rem(self, other: Value) -> Result {
        match (self, other) {
            (Value::Number(l), Value::Number(r)) if l.is_nan() || r.is_nan() => {
                Ok(Value::Number(Number::Float(f64::NAN)))
            }
            (Value::Number(l), Value::Number(r)) => match (l.truncated(), r.truncated()) {
                (Ok(_), Ok(0)) => Err(Error::str("cannot be divided because the divisor is zero")),
                // The least integer and -1: nothing remains.
                (Ok(l), Ok(r)) => Ok(Value::Number(Number::wide(l.checked_rem(r).unwrap_or(0)))),
                (Err(TooWide), _) | (_, Err(TooWide)) => number(Err(TooWide)),
            },
            (l, r) => Err(Error::math(l, Math::Rem, r)),
        }
    }
}

impl Neg for Value {
    type Output = Result;

    fn neg(self) -> Result {
        match self {
            Value::Number(number) => Ok(Value::Number(number.negated())),
            other => Err(Error::typ(other, "number")),
        }
    }
}
