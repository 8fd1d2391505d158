//! Mappings with known keys. A missing or wrong value is replaced by its default. A configuration with findings
//! is not returned, so a default in place of a mistake is never used.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use config::{Map, Value as Merged};

use super::content::{Entries, Given};
use super::value::{Context, Value};
use crate::config::key_path::{KeyPath, names_a_secret};
use crate::config::report::{Finding, Place, nearest};
use crate::config::vocabulary::is_known_key;

/// A mapping with known keys; absent ones are empty.
pub(crate) struct Table<'a> {
    pub cx: &'a Context<'a>,
    pub path: KeyPath,
    /// The mapping, or the value in its place; `None` for a missing mapping and for the whole file.
    given: Option<Given<'a>>,
    entries: Option<Entries<'a>>,
    /// The keys that were looked up: exactly these are accepted.
    asked: RefCell<Vec<&'static str>>,
    /// Keys that have their finding: a later version takes them.
    later: RefCell<Vec<&'static str>>,
}

impl<'a> Table<'a> {
    pub(crate) fn root(cx: &'a Context<'a>, entries: &'a Map<String, Merged>) -> Table<'a> {
        Table::new(cx, KeyPath::root(), None, Some(Entries::Merged(entries)))
    }

    pub(super) fn new(
        cx: &'a Context<'a>,
        path: KeyPath,
        given: Option<Given<'a>>,
        entries: Option<Entries<'a>>,
    ) -> Table<'a> {
        Table { cx, path, given, entries, asked: RefCell::default(), later: RefCell::default() }
    }

    /// The value under a key, unless it is absent or null.
    pub(crate) fn get(&self, key: &'static str) -> Option<Value<'a>> {
        if !self.asked.borrow().contains(&key) {
            self.asked.borrow_mut().push(key);
        }
        self.find(key)
    }

    /// Like `get`, for a key under which null is a value.
    pub(crate) fn get_or_null(&self, key: &'static str) -> Option<Value<'a>> {
        self.get(key).or_else(|| self.place(key, self.entries.as_ref()?.get(key)?))
    }

    fn find(&self, key: &'static str) -> Option<Value<'a>> {
        self.place(key, self.entries.as_ref()?.get(key).filter(|given| !given.is_null())?)
    }

    fn place(&self, key: &'static str, given: Given<'a>) -> Option<Value<'a>> {
        Some(Value { cx: self.cx, path: self.path.key(key), key, given })
    }

    /// A mapping below; an absent one is empty.
    pub(crate) fn table(&self, key: &'static str) -> Table<'a> {
        match self.get(key) {
            Some(value) => value.table(),
            None => Table::new(self.cx, self.path.key(key), None, None),
        }
    }

    pub(crate) fn flag(&self, key: &'static str, default: bool) -> bool {
        self.get(key).and_then(|value| value.flag()).unwrap_or(default)
    }

    pub(crate) fn duration(&self, key: &'static str, default: Duration, range: RangeInclusive<Duration>) -> Duration {
        self.get(key).and_then(|value| value.duration(range)).unwrap_or(default)
    }

    pub(crate) fn size(&self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        self.get(key).and_then(|value| value.size(range)).unwrap_or(default)
    }

    pub(crate) fn integer(&self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        self.get(key).and_then(|value| value.integer(range)).unwrap_or(default)
    }

    /// One of some words.
    pub(crate) fn choice<T: Copy>(&self, key: &'static str, default: T, accepted: &[(&str, T)]) -> T {
        self.get(key).and_then(|value| value.choice(accepted)).unwrap_or(default)
    }

    /// The path of a file or directory.
    pub(crate) fn path(&self, key: &'static str) -> Option<PathBuf> {
        let value = self.get(key)?;
        let text = value.text()?;
        if text.is_empty() || text.contains('\0') {
            value.refuse(format!("found {}, which is not a path", value.shown()), "a path");
            return None;
        }
        Some(text.into())
    }

    /// Notes that something must be there and is not: at its key if that has no value, else at the mapping.
    pub(crate) fn miss(&self, key: &str, accepted: &str) {
        let path = self.path.key(key);
        let (place, key) = (self.place_of_missing(key, &path), path.to_string());
        if self.cx.is_reported(&key, &place) {
            return;
        }
        let finding = Finding {
            place,
            key,
            problem: "is missing".to_owned(),
            excerpt: None,
            accepted: Some(accepted.to_owned()),
            suggestion: None,
        };
        self.cx.findings.borrow_mut().push(finding);
    }

    /// Notes those of the keys that are there.
    pub(crate) fn refuse_later(&self, keys: &[&'static str]) {
        for key in keys {
            if let Some(value) = self.find(key) {
                value.refuse(format!("`{key}` comes in a later version"), "a configuration without it");
                self.later.borrow_mut().push(key);
            }
        }
    }

    /// At the key if it is there without a value, else at the mapping.
    fn place_of_missing(&self, key: &str, path: &KeyPath) -> Place {
        let Some(given @ Given::Listed { .. }) = self.given else {
            let is_empty = self.cx.provenances.contains_key(path);
            return self.cx.place(if is_empty { path } else { &self.path }, true);
        };
        let empty = self.entries.as_ref().and_then(|entries| entries.get(key));
        empty.unwrap_or(given).place(self.cx, path, true)
    }

    /// The known section without anything in it that comes before a key, if nothing else comes between: the key may have
    /// lost its indentation.
    fn section_before(&self, key: &str) -> Option<&'a str> {
        let mut last = None;
        for (at, given) in self.entries.iter().flat_map(Entries::iter) {
            if at == key {
                return last;
            }
            // Keys that are lost as well do not part them.
            if self.asked.borrow().contains(&at) {
                last = given.is_null().then_some(at);
            }
        }
        None
    }

    /// Reports every key that was not looked up. The values are not shown, because the key may be a misspelt
    /// `password`.
    pub(crate) fn finish(self) {
        let asked = self.asked.borrow().clone();
        let known = || asked.iter().copied();
        let has_secret = self.entries.iter().flat_map(Entries::iter).any(|(key, _)| names_a_secret(key));
        for (key, given) in self.entries.iter().flat_map(Entries::iter) {
            if known().any(|known| known == key) || self.later.borrow().contains(&key) {
                continue;
            }
            let path = self.path.key(key);
            if !given.is_from_user(self.cx, &path) {
                continue;
            }
            // In { password: a,b } the secret ends at the comma, and the rest of it becomes a key without a value.
            let is_rest_of_secret =
                has_secret && given.is_null() && !names_a_secret(key) && nearest(key, known()).is_none();
            let finding = Finding {
                place: given.place(self.cx, &path, true),
                key: if is_rest_of_secret { self.path.to_string() } else { path.to_string() },
                problem: match is_rest_of_secret || self.path.hides(key) {
                    true => "a key is not known; a secret with a comma or colon in it must be put in quotes".to_owned(),
                    false => match self.section_before(key) {
                        Some(section) if is_known_key(key) => {
                            format!("this key is not known here; if it belongs to `{section}`, it stands further right")
                        }
                        _ => "this key is not known".to_owned(),
                    },
                },
                excerpt: None,
                accepted: Some(asked.join(", ")),
                suggestion: nearest(key, known()),
            };
            self.cx.findings.borrow_mut().push(finding);
        }
    }
}
