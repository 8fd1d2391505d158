//! The functions that are not written in jq: jaq's own, except those that read anything but the message or cannot be
//! bounded, and our replacements of some.

use jaq_core::box_iter::{BoxIter, box_once};
use jaq_core::native::{Fun, v};
use jaq_core::{Bind, Cv, Error, Exn, Native, RunPtr, ValR, ValX, ValXs};

use super::budget::{Budget, Unfinished, budget};
use super::frame::Jq;
use super::number::Number;
use super::read::read;
use super::regex::{self, Wanted};
use super::value::Value;

/// Ends the run; the terms of the way out are calls of it.
pub(super) const STOP: &str = "!stop";
/// Gives something new to hang into a closure, see [`super::program`].
pub(super) const LINK: &str = "!link";

/// Why a function of jq is not there.
pub(super) const REFUSED: [(&str, &str); 17] = [
    ("env", "a program reads nothing but the message"),
    ("$ENV", "a program reads nothing but the message"),
    ("input", "there is one input, `.`"),
    ("inputs", "there is one input, `.`"),
    ("input_filename", "there is one input, `.`"),
    ("input_line_number", "there is one input, `.`"),
    ("now", "a message that is mapped again must give the same row; use `$received_at`"),
    ("localtime", "it depends on the host's time zone; use `gmtime`"),
    ("strflocaltime", "it depends on the host's time zone; use `strftime`"),
    ("mklocaltime", "it depends on the host's time zone; use `mktime`"),
    ("debug", "a program has no output but its values"),
    ("stderr", "a program has no output but its values"),
    ("halt", "use `empty`, or `error`"),
    ("halt_error", "use `empty`, or `error`"),
    ("tobytes", "values are JSON"),
    ("jn", "it cannot be bounded"),
    ("yn", "it cannot be bounded"),
];

/// jaq's that ours replace.
const REPLACED: [&str; 11] = [
    "range",
    "limit",
    "skip",
    "matches",
    "split_matches",
    "split_",
    "debug_empty",
    "stderr_empty",
    "implode",
    "ltrimstr",
    "rtrimstr",
];

pub(super) fn functions() -> impl Iterator<Item = Fun<Jq>> {
    let theirs = jaq_core::funs::<Jq>().chain(jaq_std::funs::<Jq>());
    let is_kept = |name: &str| !REPLACED.contains(&name) && !REFUSED.iter().any(|(refused, _)| *refused == name);
    theirs.filter(move |(name, ..)| is_kept(name)).chain(ours())
}

/// The same names, each of which ends the run.
pub(super) fn stops() -> impl Iterator<Item = Fun<Jq>> {
    functions().map(|(name, arguments, _)| (name, arguments, stop()))
}

fn stop() -> Native<Jq> {
    Native::new(|_| box_once(Err(Exn::halt(0))))
        .with_paths(|_| box_once(Err(Exn::halt(0))))
        .with_update(|_, _| box_once(Err(Exn::halt(0))))
}

fn ours() -> Vec<Fun<Jq>> {
    let count_and_filter = || [Bind::Var(()), Bind::Fun(())].into();
    let run = |name: &'static str, arity: usize, run: RunPtr<Jq>| (name, v(arity), Native::<Jq>::new(run));
    vec![
        (STOP, v(0), stop()),
        run(LINK, 0, |_| box_once(Ok(Value::linked(Default::default())))),
        run("range", 3, range),
        (
            "limit",
            count_and_filter(),
            Native::new(|cv| limited(cv, |(f, cv)| f.run(cv))).with_paths(|cv| limited(cv, |(f, cv)| f.paths(cv))),
        ),
        (
            "skip",
            count_and_filter(),
            Native::new(|cv| skipped(cv, |(f, cv)| f.run(cv))).with_paths(|cv| skipped(cv, |(f, cv)| f.paths(cv))),
        ),
        run("matches", 2, |cv| regex::run(cv, Wanted { matches: true, rest: false })),
        run("split_matches", 2, |cv| regex::run(cv, Wanted { matches: true, rest: true })),
        run("split_", 2, |cv| regex::run(cv, Wanted { matches: false, rest: true })),
        run("implode", 0, |cv| once(implode(&cv.1))),
        run("ltrimstr", 1, |cv| {
            binary(cv, |value, start| Ok(trimmed(value, &start, |text, start| text.strip_prefix(start))))
        }),
        run("rtrimstr", 1, |cv| binary(cv, |value, end| Ok(trimmed(value, &end, |text, end| text.strip_suffix(end))))),
        run("tojson", 0, |cv| once(Ok(Value::text(cv.1.json())))),
        run("fromjson", 0, |cv| once(from_json(cv.1))),
        run("length", 0, |cv| once(length(&cv.1))),
        run("contains", 1, |cv| binary(cv, |value, part| Ok(Value::Bool(contains(&value, &part))))),
        run("has", 1, |cv| binary(cv, |value, key| has(&value, &key))),
        run("indices", 1, |cv| binary(cv, |value, part| value.places_of(&part))),
        run("bsearch", 1, |cv| binary(cv, |value, item| binary_search(&value, &item))),
        run("isnull", 0, |cv| once(Ok(Value::Bool(matches!(cv.1, Value::Null(_)))))),
    ]
}

fn once<'a>(result: ValR<Value>) -> ValXs<'a, Value> {
    box_once(result.map_err(Exn::from))
}

fn binary<'a>(mut cv: Cv<'a, Jq>, f: impl Fn(Value, Value) -> ValR<Value>) -> ValXs<'a, Value> {
    let argument = cv.0.pop_var();
    once(f(cv.1, argument))
}

fn range(mut cv: Cv<'_, Jq>) -> ValXs<'_, Value> {
    let by = cv.0.pop_var();
    let to = cv.0.pop_var();
    let mut next = Some(Ok(cv.0.pop_var()));
    let direction = by.cmp(&Value::Number(Number::Int(0)));
    let unfinished = Unfinished::new();
    Box::new(std::iter::from_fn(move || {
        let _held = &unfinished;
        if !budget(Budget::step) {
            return Some(Err(Exn::halt(0)));
        }
        match next.take()? {
            Ok(value) => {
                let goes_on = match direction {
                    std::cmp::Ordering::Greater => value < to,
                    std::cmp::Ordering::Less => value > to,
                    std::cmp::Ordering::Equal => value != to,
                };
                if goes_on {
                    next = Some(value.clone() + by.clone());
                }
                goes_on.then_some(Ok(value))
            }
            Err(error) => Some(Err(Exn::from(error))),
        }
    }))
}

type Filter<'a, T> = (jaq_core::compile::TermId, (jaq_core::Ctx<'a, Jq>, T));
type Results<'a, T> = BoxIter<'a, ValX<'a, T, Value>>;

/// The count that `limit` and `skip` begin with, and the filter.
fn count_and_filter<'a, T>(mut cv: (jaq_core::Ctx<'a, Jq>, T)) -> (Value, Filter<'a, T>) {
    let (filter, context) = cv.0.pop_fun();
    (cv.0.pop_var(), (filter, (context, cv.1)))
}

/// Counts down; false when nothing is left.
fn count_down(count: &mut Value) -> bool {
    let one = Value::Number(Number::Int(1));
    if *count <= Value::Number(Number::Int(0)) {
        return false;
    }
    match count.clone() - one {
        Ok(less) => *count = less,
        // Greater than a number, but none: as if it were without end.
        Err(_) => return true,
    }
    true
}

fn limited<'a, T: 'a>(
    cv: (jaq_core::Ctx<'a, Jq>, T),
    run: impl FnOnce(Filter<'a, T>) -> Results<'a, T>,
) -> Results<'a, T> {
    let (mut count, filter) = count_and_filter(cv);
    if count <= Value::Number(Number::Int(0)) {
        return Box::new(std::iter::empty());
    }
    let unfinished = Unfinished::new();
    let mut outputs = run(filter);
    Box::new(std::iter::from_fn(move || {
        let _held = &unfinished;
        if count_down(&mut count) { outputs.next() } else { None }
    }))
}

fn skipped<'a, T: 'a>(
    cv: (jaq_core::Ctx<'a, Jq>, T),
    run: impl FnOnce(Filter<'a, T>) -> Results<'a, T>,
) -> Results<'a, T> {
    let (mut count, filter) = count_and_filter(cv);
    let unfinished = Unfinished::new();
    let mut outputs = run(filter);
    Box::new(std::iter::from_fn(move || {
        let _held = &unfinished;
        while count_down(&mut count) {
            if let Err(error) = outputs.next()? {
                return Some(Err(error));
            }
        }
        outputs.next()
    }))
}

/// As in jq, what is no string has nothing to be trimmed.
fn trimmed(value: Value, part: &Value, strip: for<'t> fn(&'t str, &str) -> Option<&'t str>) -> Value {
    let (Value::Text(text), Value::Text(part)) = (&value, part) else { return value };
    strip(text.as_str(), part.as_str()).map_or_else(|| value.clone(), Value::text)
}

fn implode(value: &Value) -> ValR<Value> {
    let Value::Array(array) = value else { return Err(Error::typ(value.clone(), "array")) };
    let mut text = String::new();
    for item in array.items() {
        let code = match item {
            Value::Number(Number::Int(code)) => u32::try_from(*code).ok().and_then(char::from_u32),
            _ => None,
        };
        text.push(code.ok_or_else(|| Error::typ(item.clone(), "character code"))?);
    }
    Ok(Value::text(text))
}

fn from_json(value: Value) -> ValR<Value> {
    match &value {
        Value::Text(text) => read(text.as_str()).map_err(|_| Error::typ(value.clone(), "JSON")),
        _ => Err(Error::typ(value, "string")),
    }
}

fn length(value: &Value) -> ValR<Value> {
    Ok(match value {
        Value::Null(_) => Value::from(0_usize),
        Value::Number(number) => Value::Number(number.length()),
        Value::Text(text) => Value::from(text.as_str().chars().count()),
        Value::Array(array) => Value::from(array.items().len()),
        Value::Object(object) => Value::from(object.entries().len()),
        Value::Bool(_) => return Err(Error::typ(value.clone(), "something that has a length")),
    })
}

/// A step for each pair: an array in an array in an array is compared with every other.
fn contains(value: &Value, part: &Value) -> bool {
    if !budget(Budget::step) {
        return false;
    }
    match (value, part) {
        (Value::Text(l), Value::Text(r)) => l.as_str().contains(r.as_str()),
        (Value::Array(l), Value::Array(r)) => r.items().iter().all(|r| l.items().iter().any(|l| contains(l, r))),
        (Value::Object(l), Value::Object(r)) => {
            r.entries().iter().all(|(key, r)| l.get(key.as_str()).is_some_and(|l| contains(l, r)))
        }
        _ => value == part,
    }
}

/// As in jq, no array has a negative index.
fn has(value: &Value, key: &Value) -> ValR<Value> {
    let is_there = match (value, key) {
        (Value::Array(_), Value::Number(index)) => *index >= Number::Int(0) && value.part(key)?.is_some(),
        (Value::Object(object), Value::Text(key)) => object.get(key.as_str()).is_some(),
        _ => return Err(Error::index(value.clone(), key.clone())),
    };
    Ok(Value::Bool(is_there))
}

fn binary_search(value: &Value, item: &Value) -> ValR<Value> {
    let Value::Array(array) = value else { return Err(Error::typ(value.clone(), "array")) };
    Ok(match array.items().binary_search(item) {
        Ok(at) => Value::from(at),
        Err(at) => Value::Number(Number::wide(-1 - at as i128)),
    })
}

impl Value {
    /// Where a part begins: in characters, or in elements.
    pub(super) fn places_of(&self, part: &Value) -> ValR<Value> {
        match (self, part) {
            (Value::Text(text), Value::Text(part)) => Ok(text_places(text.as_str(), part.as_str())),
            (Value::Array(_), Value::Array(part)) if part.items().is_empty() => Ok(Value::array(Vec::new())),
            (Value::Array(array), Value::Array(part)) => {
                let windows = array.items().windows(part.items().len()).enumerate();
                let is_it = |window: &[Value]| budget(Budget::step) && window == part.items();
                Ok(windows.filter(|(_, window)| is_it(window)).map(|(at, _)| Value::from(at)).collect())
            }
            (Value::Array(array), part) => {
                let items = array.items().iter().enumerate();
                Ok(items.filter(|(_, item)| *item == part).map(|(at, _)| Value::from(at)).collect())
            }
            (value, part) => Err(Error::index(value.clone(), part.clone())),
        }
    }
}

fn text_places(text: &str, part: &str) -> Value {
    if part.is_empty() {
        return Value::array(Vec::new());
    }
    let starts = text.char_indices().enumerate();
    let is_it = |byte: usize| budget(Budget::step) && text[byte..].starts_with(part);
    starts.filter(|(_, (byte, _))| is_it(*byte)).map(|(at, _)| Value::from(at)).collect()
}
