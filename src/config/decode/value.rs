//! One merged value and its place. Every mistake in it is noted; whoever asked goes on without it, so that one run finds
//! all mistakes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use config::{Value as Merged, ValueKind};

use super::table::Table;
use crate::config::key_path::{KeyPath, carries_a_secret, names_a_secret};
use crate::config::layer::{Origin, Provenance, Provenances};
use crate::config::report::{Finding, Place, Position, nearest};
use crate::config::substitute;
use crate::config::units::{
    DURATION_FORMS, SIZE_FORMS, UnitError, parse_duration, parse_size, show_duration, show_size,
};

/// What everything that decodes shares.
pub(crate) struct Context<'a> {
    pub file: &'a Path,
    pub environment: &'a BTreeMap<String, String>,
    pub hostname: &'a str,
    pub provenances: Provenances,
    pub findings: RefCell<Vec<Finding>>,
}

impl Context<'_> {
    /// Where the value at a path stands (or, with `at_key`, its key); the file's beginning if nothing is known.
    pub(super) fn place(&self, path: &KeyPath, at_key: bool) -> Place {
        match self.provenances.get(path).map(|provenance| &provenance.origin) {
            Some(Origin::File { key, value }) => {
                Place::File { file: self.file.to_owned(), position: if at_key { *key } else { *value } }
            }
            Some(Origin::Variable(name)) => Place::Variable(name.clone()),
            Some(Origin::Flag(path)) => Place::Flag(path.clone()),
            None => Place::File { file: self.file.to_owned(), position: Position { line: 1, column: 1 } },
        }
    }
}

/// One value that is there.
#[derive(Clone)]
pub(crate) struct Value<'a> {
    pub cx: &'a Context<'a>,
    pub path: KeyPath,
    /// The last key of the path, to know secrets by.
    pub(super) key: String,
    pub(super) value: &'a Merged,
}

impl<'a> Value<'a> {
    fn provenance(&self) -> Option<&'a Provenance> {
        self.cx.provenances.get(&self.path)
    }

    /// Notes a mistake at this value.
    pub(crate) fn refuse(&self, problem: impl Into<String>, accepted: impl Into<String>) {
        self.refuse_with(problem, Some(accepted.into()), None);
    }

    pub(crate) fn refuse_with(&self, problem: impl Into<String>, accepted: Option<String>, suggestion: Option<String>) {
        let finding = Finding {
            place: self.cx.place(&self.path, false),
            key: self.path.to_string(),
            problem: self.without_variables(problem.into()),
            accepted,
            suggestion: suggestion.map(|suggestion| self.without_variables(suggestion)),
        };
        self.cx.findings.borrow_mut().push(finding);
    }

    /// A message about this value in which the variables that were filled into it stand by their names: what they hold may
    /// be a secret.
    fn without_variables(&self, message: String) -> String {
        let Some(written) = self.provenance().and_then(|provenance| provenance.written.as_deref()) else {
            return message;
        };
        substitute::names(written).fold(message, |message, name| match self.cx.environment.get(name) {
            Some(value) if value.len() >= substitute::SECRET_LEN_MIN => {
                message.replace(value.as_str(), &format!("${{{name}}}"))
            }
            _ => message,
        })
    }

    /// Notes a mistake in a variable that fills a gap of this value.
    pub(crate) fn refuse_variable(&self, name: &str, problem: &str, accepted: &str) {
        let finding = Finding {
            place: Place::Variable(name.to_owned()),
            key: self.path.to_string(),
            problem: problem.to_owned(),
            accepted: Some(accepted.to_owned()),
            suggestion: None,
        };
        self.cx.findings.borrow_mut().push(finding);
    }

    /// Notes that a key of the contract has no effect yet.
    pub(crate) fn refuse_unsupported(&self, what: &str, accepted: &str) {
        self.refuse(format!("{what} is not supported yet"), accepted);
    }

    /// The value for a message: in backticks, shortened, or `***`. What variables were filled into is shown as it
    /// stands in the file.
    pub(crate) fn shown(&self) -> String {
        const SHOWN_CHARS_MAX: usize = 60;
        let text = match &self.value.kind {
            ValueKind::Table(_) => return "a mapping".to_owned(),
            ValueKind::Array(_) => return "a list".to_owned(),
            _ => self.provenance().and_then(|provenance| provenance.written.clone().or(provenance.text.clone())),
        };
        let text = text.unwrap_or_else(|| self.value.to_string());
        if names_a_secret(&self.key) || carries_a_secret(&text) {
            return "`***`".to_owned();
        }
        let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect();
        // Quotes need no escape between backticks.
        shown = shown.replace("\\\"", "\"").replace("\\'", "'");
        if text.chars().count() > SHOWN_CHARS_MAX {
            shown.push('…');
        }
        format!("`{shown}`")
    }

    /// Whether `shown` hides nothing of a text.
    pub(crate) fn is_shown_whole(&self) -> bool {
        self.as_text().is_some_and(|text| self.shown() == format!("`{text}`"))
    }

    /// Whether a message may repeat parts of the text: no variable was filled into it, and it is no secret.
    pub(crate) fn may_be_quoted(&self) -> bool {
        let is_filled = self.provenance().is_some_and(|provenance| provenance.written.is_some());
        !is_filled && self.shown() != "`***`"
    }

    /// A suggestion that repeats parts of the text, where a message may.
    pub(crate) fn quoting(&self, suggestion: impl FnOnce() -> String) -> Option<String> {
        self.may_be_quoted().then(suggestion)
    }

    /// Whether the whole value came from outside the file, where lists are written with commas.
    fn is_from_outside(&self) -> bool {
        self.provenance().is_some_and(|provenance| !matches!(provenance.origin, Origin::File { .. }))
    }

    /// `bridge.yaml:12:5`, or the variable.
    pub(crate) fn place_text(&self) -> String {
        match self.cx.place(&self.path, false) {
            Place::File { file, position } => format!("{}:{position}", file.display()),
            Place::Variable(name) => name,
            Place::Flag(path) => path,
            Place::Nowhere => String::new(),
        }
    }

    pub(crate) fn table(&self) -> Table<'a> {
        match &self.value.kind {
            ValueKind::Table(entries) => Table::new(self.cx, self.path.clone(), Some(entries)),
            ValueKind::Nil => Table::new(self.cx, self.path.clone(), None),
            _ => {
                self.refuse(format!("found {}", self.kind_name()), "a mapping, `key: value`");
                Table::new(self.cx, self.path.clone(), None)
            }
        }
    }

    /// A mapping whose keys the user chooses; null values are in it.
    pub(crate) fn entries(&self) -> Option<Vec<(&'a str, Value<'a>)>> {
        let ValueKind::Table(entries) = &self.value.kind else { return None };
        let entry = |(key, value): (&'a String, &'a Merged)| {
            (key.as_str(), Value { cx: self.cx, path: self.path.key(key), key: key.clone(), value })
        };
        Some(entries.iter().map(entry).collect())
    }

    /// A list; one value stands for a list of it, and from outside the file commas separate.
    pub(crate) fn list(&self) -> Vec<Value<'a>> {
        match &self.value.kind {
            ValueKind::Array(items) => {
                let item = |(index, value): (usize, &'a Merged)| Value {
                    cx: self.cx,
                    path: self.path.index(index),
                    key: self.key.clone(),
                    value,
                };
                items.iter().enumerate().map(item).collect()
            }
            _ => vec![self.clone()],
        }
    }

    /// The texts of a list, each with the value it came from.
    pub(crate) fn texts(&self) -> Vec<(String, Value<'a>)> {
        let mut texts = Vec::new();
        for value in self.list() {
            match value.text() {
                Some(text) if self.is_from_outside() => {
                    texts.extend(text.split(',').map(|part| (part.trim().to_owned(), value.clone())));
                }
                Some(text) => texts.push((text, value)),
                None => {}
            }
        }
        texts
    }

    pub(crate) fn is_list(&self) -> bool {
        matches!(self.value.kind, ValueKind::Array(_))
    }

    pub(crate) fn is_scalar(&self) -> bool {
        !matches!(self.value.kind, ValueKind::Array(_) | ValueKind::Table(_))
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value.kind, ValueKind::Nil)
    }

    /// Whether an unquoted number or boolean stands there.
    pub(crate) fn is_number_or_flag(&self) -> bool {
        self.is_scalar() && !self.is_null() && !matches!(self.value.kind, ValueKind::String(_))
    }

    /// The text of a scalar, as written.
    pub(crate) fn as_text(&self) -> Option<String> {
        if !self.is_scalar() || self.is_null() {
            return None;
        }
        let text = self.provenance().and_then(|provenance| provenance.text.clone());
        Some(text.unwrap_or_else(|| self.value.to_string()))
    }

    pub(crate) fn text(&self) -> Option<String> {
        let text = self.as_text();
        if text.is_none() {
            self.refuse(format!("found {}", self.kind_name()), "text; in quotes if it begins with { [ * or #");
        }
        text
    }

    fn kind_name(&self) -> &'static str {
        match &self.value.kind {
            ValueKind::Nil => "nothing",
            ValueKind::Boolean(_) => "true or false",
            ValueKind::String(_) => "text",
            ValueKind::Table(_) => "a mapping",
            ValueKind::Array(_) => "a list",
            _ => "a number",
        }
    }

    /// Also takes the words that YAML 1.1 took for booleans.
    pub(crate) fn flag(&self) -> Option<bool> {
        match self.as_text().as_deref().map(str::to_ascii_lowercase).as_deref() {
            Some("true" | "yes" | "on") => Some(true),
            Some("false" | "no" | "off") => Some(false),
            _ => {
                self.refuse(format!("found {}", self.shown()), "true or false");
                None
            }
        }
    }

    pub(crate) fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let accepted = format!("a whole number from {} to {}", range.start(), range.end());
        let number = self.as_text().and_then(|text| text.parse::<u64>().ok());
        let fits = number.filter(|number| range.contains(number));
        if fits.is_none() {
            self.refuse(format!("found {}", self.shown()), accepted);
        }
        fits
    }

    pub(crate) fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let accepted = format!("from {} to {}", show_duration(*range.start()), show_duration(*range.end()));
        self.quantity(parse_duration, DURATION_FORMS, |duration| range.contains(duration), accepted)
    }

    pub(crate) fn size(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let accepted = format!("from {} to {}", show_size(*range.start()), show_size(*range.end()));
        self.quantity(parse_size, SIZE_FORMS, |size| range.contains(size), accepted)
    }

    fn quantity<T>(
        &self,
        parse: fn(&str) -> Result<T, UnitError>,
        forms: &str,
        is_in_range: impl Fn(&T) -> bool,
        range: String,
    ) -> Option<T> {
        let Some(text) = self.as_text() else {
            self.refuse(format!("found {}", self.kind_name()), forms);
            return None;
        };
        match parse(&text) {
            Ok(quantity) if is_in_range(&quantity) => Some(quantity),
            Ok(_) => {
                self.refuse(format!("found {}, which is out of range", self.shown()), range);
                None
            }
            Err(error) => {
                let problem = format!("found {}, which {error}", self.shown());
                let suggestion = error.suggestion.filter(|_| self.may_be_quoted());
                self.refuse_with(problem, Some(format!("{forms}, {range}")), suggestion);
                None
            }
        }
    }

    pub(crate) fn choice<T: Copy>(&self, accepted: &[(&str, T)]) -> Option<T> {
        let text = self.as_text();
        let chosen = accepted.iter().find(|(name, _)| text.as_deref() == Some(name)).map(|(_, value)| *value);
        if chosen.is_none() {
            let names: Vec<&str> = accepted.iter().map(|(name, _)| *name).collect();
            let suggestion = text.and_then(|text| nearest(&text, names.iter().copied()));
            self.refuse_with(format!("found {}", self.shown()), Some(names.join(", ")), suggestion);
        }
        chosen
    }

    /// A literal, for columns.
    pub(crate) fn literal(&self) -> Option<serde_json::Value> {
        use serde_json::Value as Json;
        Some(match &self.value.kind {
            ValueKind::Nil => Json::Null,
            ValueKind::Boolean(flag) => Json::Bool(*flag),
            ValueKind::I64(number) => Json::from(*number),
            ValueKind::U64(number) => Json::from(*number),
            ValueKind::Float(number) if number.is_finite() => Json::from(*number),
            ValueKind::I128(_) | ValueKind::U128(_) | ValueKind::Float(_) => {
                self.refuse(format!("found {}", self.shown()), "a finite number; write others in quotes, as text");
                return None;
            }
            ValueKind::String(text) => Json::String(text.clone()),
            ValueKind::Array(_) => Json::Array(self.list().iter().map(Value::literal).collect::<Option<Vec<Json>>>()?),
            ValueKind::Table(_) => {
                let pair = |(key, value): (&str, Value<'_>)| Some((key.to_owned(), value.literal()?));
                Json::Object(self.entries()?.into_iter().map(pair).collect::<Option<serde_json::Map<_, _>>>()?)
            }
        })
    }
}
