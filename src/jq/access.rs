//! Access to parts of values and updates of them, as in jaq.

use std::rc::Rc;

use jaq_core::box_iter::{BoxIter, box_once};
use jaq_core::path::Opt;
use jaq_core::val::Range;
use jaq_core::{Error, Exn, ValR, ValX};

use super::budget::{Bound, Budget, Unfinished, budget};
use super::number::Number;
use super::value::{Array, Entries, Object, Text, Value};

const ITERABLE: &str = "iterable (array or object)";
/// 4 million elements are all that memory has room for.
const ITEMS_MAX: usize = 4 << 20;
/// Largest integer that is handed to jaq as one: it multiplies them by a million without looking.
const SMALL_INT_MAX: i64 = 9_000_000_000_000;

impl jaq_core::ValT for Value {
    fn from_num(text: &str) -> ValR<Value> {
        Ok(Value::Number(Number::of_program(text)))
    }

    fn from_map<I: IntoIterator<Item = (Value, Value)>>(pairs: I) -> ValR<Value> {
        let mut entries = Entries::default();
        for (key, value) in pairs {
            let Value::Text(key) = key else { return Err(Error::typ(key, "object key (a string)")) };
            entries.insert(key, value);
        }
        Ok(Value::object(entries))
    }

    fn key_values(self) -> BoxIter<'static, ValR<(Value, Value), Value>> {
        match self {
            Value::Array(array) => {
                let key = |index: usize| Value::from(index);
                Box::new(children(array.items().len(), move |at| Ok((key(at), array.items()[at].clone()))))
            }
            Value::Object(object) => Box::new(children(object.entries().len(), move |at| {
                let (key, value) = object.entries().get_index(at).expect("the index is below the length");
                Ok((Value::Text(Rc::clone(key)), value.clone()))
            })),
            other => box_once(Err(Error::typ(other, ITERABLE))),
        }
    }

    fn values(self) -> Box<dyn Iterator<Item = ValR<Value>>> {
        match self {
            Value::Array(array) => Box::new(children(array.items().len(), move |at| Ok(array.items()[at].clone()))),
            Value::Object(object) => {
                Box::new(children(object.entries().len(), move |at| Ok(object.entries()[at].clone())))
            }
            other => box_once(Err(Error::typ(other, ITERABLE))),
        }
    }

    fn index(self, index: &Value) -> ValR<Value> {
        let missing = match self {
            Value::Null(steps) => Value::null_below(steps),
            _ => Value::NULL,
        };
        Ok(self.part(index)?.unwrap_or(missing))
    }

    fn range(self, range: Range<&Value>) -> ValR<Value> {
        match &self {
            Value::Null(steps) => Ok(Value::null_below(*steps)),
            Value::Array(array) => {
                let (from, to) = bounds(&range, array.items().len())?;
                Ok(Value::array(array.items()[from..to].to_vec()))
            }
            Value::Text(text) => {
                let (from, to) = text_bounds(&range, text.as_str())?;
                Ok(Value::text(&text.as_str()[from..to]))
            }
            _ => Err(Error::typ(self, "rangeable (array or string)")),
        }
    }

    fn map_values<'a, I: Iterator<Item = ValX<'a, Value>>>(self, opt: Opt, f: impl Fn(Value) -> I) -> ValX<'a, Value> {
        match self {
            Value::Array(array) => {
                let items = Rc::try_unwrap(array).map_or_else(|array| array.items().to_vec(), Array::into_items);
                let mut mapped = Vec::with_capacity(items.len());
                for value in items.into_iter().flat_map(f) {
                    mapped.push(value?);
                }
                Ok(Value::array(mapped))
            }
            Value::Object(object) => {
                let entries =
                    Rc::try_unwrap(object).map_or_else(|object| object.entries().clone(), Object::into_entries);
                let mut mapped = Entries::with_capacity(entries.len());
                for (key, value) in entries {
                    if let Some(value) = f(value).next() {
                        mapped.insert(key, value?);
                    }
                }
                Ok(Value::object(mapped))
            }
            other => opt.fail(other, |other| Exn::from(Error::typ(other, ITERABLE))),
        }
    }

    fn map_index<'a, I: Iterator<Item = ValX<'a, Value>>>(
        self,
        index: &Value,
        opt: Opt,
        f: impl Fn(Value) -> I,
    ) -> ValX<'a, Value> {
        match (self, index) {
            (value @ (Value::Text(_) | Value::Array(_)), Value::Object(range)) => {
                value.map_range(range.get("start")..range.get("end"), opt, f)
            }
            // As in jq, and unlike jaq: what is not there yet is made.
            (Value::Null(_), Value::Text(_)) => Value::object(Entries::default()).map_index(index, opt, f),
            (Value::Null(_), Value::Number(_)) => Value::array(Vec::new()).map_index(index, opt, f),
            (Value::Object(mut object), Value::Text(key)) => {
                let own = Rc::make_mut(&mut object);
                let old = own.take(key.as_str()).unwrap_or(Value::NULL);
                match f(old).next().transpose()? {
                    Some(new) => own.insert(Rc::clone(key), new),
                    None => own.remove(key.as_str()),
                }
                Ok(Value::Object(object))
            }
            (Value::Array(mut array), index) => {
                let at = match position(index).map(|at| absolute(at, array.items().len())) {
                    Ok(Some(at)) => at,
                    Ok(None) => return opt.fail(Value::Array(array), |_| Exn::from(Error::str("index out of bounds"))),
                    Err(error) => return opt.fail(Value::Array(array), |_| Exn::from(error)),
                };
                if at >= array.items().len() {
                    let new = f(Value::NULL).next().transpose()?;
                    return Ok(new.map_or(Value::Array(Rc::clone(&array)), |new| padded(array.items(), at, new)));
                }
                let own = Rc::make_mut(&mut array);
                let old = own.take(at);
                match f(old).next().transpose()? {
                    Some(new) => own.put(at, new),
                    None => own.remove(at),
                }
                Ok(Value::Array(array))
            }
            (other, _) => opt.fail(other, |other| Exn::from(Error::typ(other, ITERABLE))),
        }
    }

    fn map_range<'a, I: Iterator<Item = ValX<'a, Value>>>(
        self,
        range: Range<&Value>,
        opt: Opt,
        f: impl Fn(Value) -> I,
    ) -> ValX<'a, Value> {
        match &self {
            Value::Array(array) => {
                let (from, to) = match bounds(&range, array.items().len()) {
                    Ok(bounds) => bounds,
                    Err(error) => return opt.fail(self, |_| Exn::from(error)),
                };
                let (before, rest) = array.items().split_at(from);
                let (within, behind) = rest.split_at(to - from);
                let new = match f(Value::array(within.to_vec())).next().transpose()? {
                    Some(Value::Array(new)) => new.items().to_vec(),
                    Some(other) => return Err(Error::typ(other, "array").into()),
                    None => Vec::new(),
                };
                Ok(Value::array([before, &new, behind].concat()))
            }
            Value::Text(text) => {
                let (from, to) = match text_bounds(&range, text.as_str()) {
                    Ok(bounds) => bounds,
                    Err(error) => return opt.fail(self, |_| Exn::from(error)),
                };
                let (before, rest) = text.as_str().split_at(from);
                let (within, behind) = rest.split_at(to - from);
                let new = match f(Value::text(within)).next().transpose()? {
                    Some(Value::Text(new)) => new,
                    Some(other) => return Err(Error::typ(other, "string").into()),
                    None => Text::new(String::new()),
                };
                Ok(Value::text([before, new.as_str(), behind].concat()))
            }
            _ => opt.fail(self, |other| Exn::from(Error::typ(other, "array"))),
        }
    }

    fn as_bool(&self) -> bool {
        self.is_true()
    }

    fn into_string(self) -> Value {
        match self {
            Value::Text(_) => self,
            other => Value::text(other.json()),
        }
    }
}

impl Value {
    pub(super) fn json(&self) -> String {
        let mut text = String::new();
        // A String takes all that is written to it.
        let _ = super::write::value(self, &mut text);
        text
    }

    /// What is under a key, at an index or in a range; `None` if nothing is.
    pub(super) fn part(&self, index: &Value) -> ValR<Option<Value>, Value> {
        match (self, index) {
            (Value::Null(_), _) => Ok(None),
            (Value::Object(object), Value::Text(key)) => Ok(object.get(key.as_str()).cloned()),
            (Value::Array(array), Value::Number(_)) => {
                let at = absolute(position(index)?, array.items().len());
                Ok(at.and_then(|at| array.items().get(at)).cloned())
            }
            (Value::Array(_), Value::Array(_)) => self.places_of(index).map(Some),
            (Value::Array(_) | Value::Text(_), Value::Object(range)) => {
                jaq_core::ValT::range(self.clone(), range.get("start")..range.get("end")).map(Some)
            }
            _ => Err(Error::index(self.clone(), index.clone())),
        }
    }
}

/// The elements with another at `at`, behind them all, and nulls in between.
fn padded(items: &[Value], at: usize, new: Value) -> Value {
    if at > ITEMS_MAX {
        budget(|budget| budget.end(Bound::Memory));
        return Value::NULL;
    }
    let nulls = std::iter::repeat_n(Value::NULL, at - items.len());
    Value::array(items.iter().cloned().chain(nulls).chain([new]).collect())
}

/// The children of a value, one after the other; counted, because programs leave iterators unfinished.
fn children<T>(length: usize, child: impl Fn(usize) -> ValR<T, Value>) -> impl Iterator<Item = ValR<T, Value>> {
    let unfinished = Unfinished::new();
    (0..length).map_while(move |at| {
        let _held = &unfinished;
        budget(Budget::step).then(|| child(at))
    })
}

fn position(index: &Value) -> Result<i64, Error<Value>> {
    let position = match index {
        Value::Number(number) => number.as_position(),
        _ => None,
    };
    position.ok_or_else(|| Error::typ(index.clone(), "integer"))
}

/// Counted from the end if it is negative; `None` before the start.
fn absolute(position: i64, length: usize) -> Option<usize> {
    match usize::try_from(position) {
        Ok(position) => Some(position),
        Err(_) if position > 0 => Some(usize::MAX),
        Err(_) => length.checked_sub(usize::try_from(position.unsigned_abs()).unwrap_or(usize::MAX)),
    }
}

/// Both ends, within the length and in order.
fn bounds(range: &Range<&Value>, length: usize) -> Result<(usize, usize), Error<Value>> {
    let bound = |end: Option<&Value>, default: usize| match end {
        None | Some(Value::Null(_)) => Ok(default),
        Some(end) => position(end).map(|at| absolute(at, length).unwrap_or(0).min(length)),
    };
    let (from, to) = (bound(range.start, 0)?, bound(range.end, length)?);
    Ok((from, to.max(from)))
}

/// Counted in characters, given in bytes.
fn text_bounds(range: &Range<&Value>, text: &str) -> Result<(usize, usize), Error<Value>> {
    let (from, to) = bounds(range, text.chars().count())?;
    let byte = |at: usize| text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte);
    Ok((byte(from), byte(to)))
}

impl jaq_std::ValT for Value {
    fn into_seq<S: FromIterator<Value>>(self) -> Result<S, Value> {
        match self {
            Value::Array(array) => Ok(match Rc::try_unwrap(array) {
                Ok(array) => array.into_items().into_iter().collect(),
                Err(array) => array.items().iter().cloned().collect(),
            }),
            other => Err(other),
        }
    }

    fn is_int(&self) -> bool {
        matches!(self, Value::Number(number) if number.is_int())
    }

    fn as_isize(&self) -> Option<isize> {
        match self {
            Value::Number(Number::Int(int)) if int.abs_diff(0) <= SMALL_INT_MAX.unsigned_abs() => {
                isize::try_from(*int).ok()
            }
            _ => None,
        }
    }

    fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Number(number) => Some(number.as_f64()),
            _ => None,
        }
    }

    fn is_utf8_str(&self) -> bool {
        matches!(self, Value::Text(_))
    }

    fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Text(text) => Some(text.as_str().as_bytes()),
            _ => None,
        }
    }

    fn as_sub_str(&self, part: &[u8]) -> Value {
        Value::text(String::from_utf8_lossy(part))
    }

    fn from_utf8_bytes(bytes: impl AsRef<[u8]> + Send + 'static) -> Value {
        Value::text(String::from_utf8_lossy(bytes.as_ref()))
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Value {
        Value::Bool(truth)
    }
}

impl From<isize> for Value {
    fn from(int: isize) -> Value {
        Value::Number(Number::Int(int as i64))
    }
}

impl From<usize> for Value {
    fn from(int: usize) -> Value {
        Value::Number(Number::wide(int as i128))
    }
}

impl From<f64> for Value {
    fn from(float: f64) -> Value {
        Value::Number(Number::Float(float))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::text(text)
    }
}

/// A slice as a step of a path.
impl From<Range<Value>> for Value {
    fn from(range: Range<Value>) -> Value {
        let ends = [("start", range.start), ("end", range.end)];
        let entries = ends.into_iter().filter_map(|(key, end)| Some((Text::new(key.to_owned()), end?)));
        Value::linked(entries.collect())
    }
}

/// Ends early where there may be no more steps: what it gives then goes nowhere.
impl FromIterator<Value> for Value {
    fn from_iter<I: IntoIterator<Item = Value>>(values: I) -> Value {
        let mut items = Vec::new();
        for value in values {
            items.push(value);
            if items.len() > ITEMS_MAX {
                budget(|budget| budget.end(Bound::Memory));
            }
            if !budget(Budget::step) {
                break;
            }
        }
        Value::array(items)
    }
}
