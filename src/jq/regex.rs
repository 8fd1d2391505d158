//! Regular expressions in programs. A search is bounded: it reads the text once for each state of the expression.

use std::cell::RefCell;
use std::rc::Rc;

use jaq_core::box_iter::box_once;
use jaq_core::{Cv, Error, Exn, ValR, ValT, ValXs};
use regex_bites::{Captures, Regex, RegexBuilder};

use super::budget::{Budget, budget};
use super::frame::Jq;
use super::number::Number;
use super::value::Value;

const TEXT_BYTES_MAX: usize = 1 << 20;
/// Bytes of the expression's states times bytes of the text. A search takes about 10 ns for 32 of the former and one of
/// the latter, so this is half a second.
const WORK_MAX: usize = 3 << 29;
const STATES_BYTES_MAX: usize = 256 << 10;
/// Expressions that a thread keeps compiled.
const CACHED_MAX: usize = 16;

type Cached = (Box<str>, Box<str>, Rc<Regex>);

thread_local! {
    static COMPILED: RefCell<Vec<Cached>> = const { RefCell::new(Vec::new()) };
}

/// The requested parts of a text: the matches, the text between them, or both.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) matches: bool,
    pub(super) rest: bool,
}

pub(super) fn run(mut cv: Cv<'_, Jq>, wanted: Wanted) -> ValXs<'_, Value> {
    let flags = cv.0.pop_var();
    let pattern = cv.0.pop_var();
    box_once(search(&cv.1, &pattern, &flags, wanted).map_err(Exn::from))
}

fn string(value: &Value) -> Result<&str, Error<Value>> {
    match value {
        Value::Text(text) => Ok(text.as_str()),
        other => Err(Error::typ(other.clone(), "string")),
    }
}

fn search(text: &Value, pattern: &Value, flags: &Value, wanted: Wanted) -> ValR<Value> {
    let (text, pattern, flags) = (string(text)?, string(pattern)?, string(flags)?);
    if text.len() > TEXT_BYTES_MAX {
        return Err(Error::str("regular expressions take strings of at most 1 MiB"));
    }
    let regex = compiled(pattern, flags, (WORK_MAX / text.len().max(1)).min(STATES_BYTES_MAX))?;
    let (all, skips_empty) = (flags.contains('g'), flags.contains('n'));
    let mut found = Vec::new();
    let mut places = Places { text, byte: 0, char: 0 };
    let mut rest_from = 0;
    for captures in regex.captures_iter(text) {
        let Some(whole) = captures.get(0) else { continue };
        if skips_empty && whole.is_empty() {
            continue;
        }
        if wanted.rest {
            found.push(Value::text(&text[rest_from..whole.start()]));
            rest_from = whole.end();
        }
        if wanted.matches {
            found.push(groups(&captures, &regex, &mut places)?);
        }
        if !all || !budget(Budget::long_step) {
            break;
        }
    }
    if wanted.rest {
        found.push(Value::text(&text[rest_from..]));
    }
    Ok(Value::array(found))
}

/// One object for the match and one for each group, as jq writes them; with null for a group that takes no part.
fn groups(captures: &Captures<'_>, regex: &Regex, places: &mut Places<'_>) -> ValR<Value> {
    let key = |name: &str| Value::text(name);
    let mut groups = Vec::new();
    for (at, (group, name)) in captures.iter().zip(regex.capture_names()).enumerate() {
        let (offset, length, string) = match group {
            Some(group) => {
                let length = Value::from(group.as_str().chars().count());
                (Value::from(places.char_of(group.start())), length, Value::text(group.as_str()))
            }
            None => (Value::Number(Number::Int(-1)), Value::from(0_usize), Value::NULL),
        };
        let fields = [(key("offset"), offset), (key("length"), length), (key("string"), string)];
        // The match itself has none.
        let name = (at > 0).then(|| (key("name"), name.map_or(Value::NULL, Value::text)));
        groups.push(Value::from_map(fields.into_iter().chain(name))?);
    }
    Ok(Value::array(groups))
}

/// Bytes to characters, counted on from the last place asked for.
struct Places<'t> {
    text: &'t str,
    byte: usize,
    char: usize,
}

impl Places<'_> {
    fn char_of(&mut self, byte: usize) -> usize {
        // A group of an earlier match never lies before this one, but one within a repetition may.
        if byte < self.byte {
            return self.text[..byte].chars().count();
        }
        self.char += self.text[self.byte..byte].chars().count();
        self.byte = byte;
        self.char
    }
}

fn compiled(pattern: &str, flags: &str, states_bytes_max: usize) -> Result<Rc<Regex>, Error<Value>> {
    let is_it = |(known, its_flags, _): &Cached| **known == *pattern && **its_flags == *flags;
    // Only what is compiled for any text is kept.
    let is_kept = states_bytes_max == STATES_BYTES_MAX;
    if is_kept
        && let Some(regex) = COMPILED.with_borrow(|all| all.iter().find(|one| is_it(one)).map(|one| Rc::clone(&one.2)))
    {
        return Ok(regex);
    }
    let mut builder = RegexBuilder::new(pattern);
    for flag in flags.chars() {
        match flag {
            // `^` and `$` are the text's ends as it is.
            'g' | 'n' | 's' => &mut builder,
            'i' => builder.case_insensitive(true),
            'm' => builder.multi_line(true),
            'x' => builder.ignore_whitespace(true),
            'p' => builder.dot_matches_new_line(true),
            'l' => {
                return Err(Error::str(
                    "the flag `l` of a regular expression, for the longest match, is not supported",
                ));
            }
            _ => return Err(Error::str("a flag of a regular expression is none of g i m n p s x")),
        };
    }
    let built = builder.size_limit(states_bytes_max).build();
    let regex = Rc::new(built.map_err(|_| Error::str("a regular expression is invalid, or too large for its text"))?);
    if is_kept {
        COMPILED.with_borrow_mut(|all| {
            if all.len() == CACHED_MAX {
                all.remove(0);
            }
            all.push((pattern.into(), flags.into(), Rc::clone(&regex)));
        });
    }
    Ok(regex)
}
