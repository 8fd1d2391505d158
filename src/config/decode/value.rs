//! One merged value and its position. Every mistake in it is recorded and decoding continues without it, so that one
//! run finds all mistakes.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use super::content::{Content, Given};
use super::table::Table;
use crate::config::key_path::{HIDDEN, KeyPath, carries_a_secret};
use crate::config::layer::{Origin, Provenances};
use crate::config::needs::SecretNeed;
use crate::config::report::{Finding, Place, Position, nearest};
use crate::config::substitute;
use crate::config::tree::Tree;
use crate::config::units::{
    DURATION_FORMS, SIZE_FORMS, UnitError, parse_duration, parse_integer, parse_size, show_duration, show_size,
};

/// What everything that decodes shares.
pub(crate) struct Context<'a> {
    pub file: &'a Path,
    pub environment: &'a BTreeMap<String, String>,
    /// The variables whose value is not UTF-8 text.
    pub not_text: &'a BTreeSet<String>,
    pub hostname: &'a str,
    pub secrets: SecretNeed,
    /// The file, for the lists in it.
    pub tree: &'a Tree,
    /// The files that `rules_from` names, once they are read.
    pub rule_files: OnceCell<Vec<Tree>>,
    /// Whether the command uses the rules.
    pub needs_rules: bool,
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

    /// Whether it is already reported why a value without content has none: its variable could not be filled in.
    pub(super) fn is_reported(&self, key: &str, place: &Place) -> bool {
        self.findings.borrow().iter().any(|finding| finding.key == key && finding.place.is_beside(place))
    }
}

/// One value that is there.
#[derive(Clone)]
pub(crate) struct Value<'a> {
    pub cx: &'a Context<'a>,
    pub path: KeyPath,
    /// The last key of the path, to know secrets by.
    pub(super) key: &'a str,
    pub(super) given: Given<'a>,
}

impl<'a> Value<'a> {
    fn content(&self) -> Content<'a> {
        self.given.content(self.cx)
    }

    fn place(&self) -> Place {
        self.given.place(self.cx, &self.path, false)
    }

    /// The text as it stands in the file, if variables were filled into it.
    fn written(&self) -> Option<&'a str> {
        match self.given {
            Given::Merged(_) => self.cx.provenances.get(&self.path)?.written.as_deref(),
            Given::Listed { node, .. } => node.written(),
        }
    }

    /// The text of a scalar, where it is known.
    fn known_text(&self) -> Option<&'a str> {
        match self.given {
            Given::Merged(_) => self.cx.provenances.get(&self.path)?.text.as_deref(),
            Given::Listed { node, .. } => Some(node.text()),
        }
    }

    /// Notes a mistake at this value.
    pub(crate) fn refuse(&self, problem: impl Into<String>, accepted: impl Into<String>) {
        self.refuse_with(problem, Some(accepted.into()), None);
    }

    pub(crate) fn refuse_with(&self, problem: impl Into<String>, accepted: Option<String>, suggestion: Option<String>) {
        let (place, key) = (self.place(), self.path.to_string());
        if self.is_null() && self.cx.is_reported(&key, &place) {
            return;
        }
        let finding = Finding {
            place,
            key,
            problem: self.without_variables(problem.into()),
            excerpt: None,
            accepted,
            suggestion: suggestion.map(|suggestion| self.without_variables(suggestion)),
        };
        self.cx.findings.borrow_mut().push(finding);
    }

    /// A message about this value in which the variables that were filled into it stand by their names: what they hold may
    /// be a secret.
    fn without_variables(&self, message: String) -> String {
        let Some(written) = self.written() else { return message };
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
            excerpt: None,
            accepted: Some(accepted.to_owned()),
            suggestion: None,
        };
        self.cx.findings.borrow_mut().push(finding);
    }

    /// The value for a message: in backticks, shortened, or `***`. A value with substituted variables is shown as the
    /// file has it.
    pub(crate) fn shown(&self) -> String {
        const SHOWN_CHARS_MAX: usize = 60;
        let text = match self.content() {
            Content::Mapping(_) => return "a mapping".to_owned(),
            Content::List(_) => return "a list".to_owned(),
            _ => self.written().or_else(|| self.known_text()),
        };
        let text = text.map_or_else(|| self.given.to_text(), str::to_owned);
        if self.hides(&text) {
            return format!("`{HIDDEN}`");
        }
        let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect();
        // Quotes need no escape between backticks.
        shown = shown.replace("\\\"", "\"").replace("\\'", "'");
        if text.chars().count() > SHOWN_CHARS_MAX {
            shown.push('…');
        }
        format!("`{shown}`")
    }

    /// Whether a text of this value must not be shown: a secret, or an address with a user in it, who may be a token.
    fn hides(&self, text: &str) -> bool {
        let is_address = matches!(self.key, "url" | "urls");
        self.path.is_secret() || carries_a_secret(text) || (is_address && text.contains('@'))
    }

    /// Whether `shown` hides nothing of a text.
    pub(crate) fn is_shown_whole(&self) -> bool {
        self.as_text().is_some_and(|text| self.shown() == format!("`{text}`"))
    }

    /// Whether a message may repeat parts of the text: no variable was filled into it, and it is no secret.
    pub(crate) fn may_be_quoted(&self) -> bool {
        self.written().is_none() && !self.hides(&self.as_text().unwrap_or_default())
    }

    /// A suggestion that repeats parts of the text, where a message may.
    pub(crate) fn quoting(&self, suggestion: impl FnOnce() -> String) -> Option<String> {
        self.may_be_quoted().then(suggestion)
    }

    /// Whether the whole value came from outside the file, where lists are written with commas.
    fn is_from_outside(&self) -> bool {
        let provenance = match self.given {
            Given::Merged(_) => self.cx.provenances.get(&self.path),
            Given::Listed { .. } => None,
        };
        provenance.is_some_and(|provenance| !matches!(provenance.origin, Origin::File { .. }))
    }

    /// `bridge.yaml:12:5`, or the variable.
    pub(crate) fn place_text(&self) -> String {
        match self.place() {
            Place::File { file, position } => format!("{}:{position}", file.display()),
            Place::Variable(name) => name,
            Place::Flag(path) => path,
            Place::Nowhere => String::new(),
        }
    }

    pub(crate) fn table(&self) -> Table<'a> {
        let entries = match self.content() {
            Content::Mapping(entries) => Some(entries),
            Content::Null => None,
            _ => {
                self.refuse(format!("found {}", self.kind_name()), "a mapping, `key: value`");
                None
            }
        };
        Table::new(self.cx, self.path.clone(), Some(self.given), entries)
    }

    /// A mapping whose keys the user chooses; null values are in it.
    pub(crate) fn entries(&self) -> Option<impl Iterator<Item = (&'a str, Value<'a>)> + use<'a>> {
        let Content::Mapping(entries) = self.content() else { return None };
        let (cx, above) = (self.cx, self.path.clone());
        Some(entries.iter().map(move |(key, given)| (key, Value { cx, path: above.key(key), key, given })))
    }

    /// A list. A single value counts as a list of one; outside the file commas separate the elements.
    pub(crate) fn list(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let (items, single) = match self.content() {
            Content::List(items) => (items, None),
            _ => (None, Some(self.clone())),
        };
        let (cx, above, key) = (self.cx, self.path.clone(), self.key);
        let item = move |(index, node)| Value { cx, path: above.index(index), key, given: Given::item(node) };
        items.into_iter().flatten().enumerate().map(item).chain(single)
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
        matches!(self.content(), Content::List(_))
    }

    pub(crate) fn is_scalar(&self) -> bool {
        !matches!(self.content(), Content::List(_) | Content::Mapping(_))
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.content(), Content::Null)
    }

    /// Whether an unquoted number or boolean stands there.
    pub(crate) fn is_number_or_flag(&self) -> bool {
        matches!(self.content(), Content::Flag(_) | Content::Integer(_) | Content::Float(_))
    }

    /// The text of a scalar, as written.
    pub(crate) fn as_text(&self) -> Option<String> {
        if !self.is_scalar() || self.is_null() {
            return None;
        }
        Some(self.known_text().map_or_else(|| self.given.to_text(), str::to_owned))
    }

    pub(crate) fn text(&self) -> Option<String> {
        let text = self.as_text();
        if text.is_none() {
            self.refuse(
                format!("found {}", self.kind_name()),
                "text; in quotes if it begins with { [ & * ! | > % @ ` or #",
            );
        }
        text
    }

    fn kind_name(&self) -> &'static str {
        match self.content() {
            Content::Null => "nothing",
            Content::Flag(_) => "true or false",
            Content::Text(_) => "text",
            Content::Mapping(_) => "a mapping",
            Content::List(_) => "a list",
            Content::Integer(_) | Content::Float(_) => "a number",
        }
    }

    pub(crate) fn flag(&self) -> Option<bool> {
        let flag = self.as_flag();
        if flag.is_none() {
            self.refuse(format!("found {}", self.shown()), "true or false");
        }
        flag
    }

    /// Also takes the words that YAML 1.1 took for booleans.
    pub(crate) fn as_flag(&self) -> Option<bool> {
        match self.as_text().as_deref().map(str::to_ascii_lowercase).as_deref() {
            Some("true" | "yes" | "on") => Some(true),
            Some("false" | "no" | "off") => Some(false),
            _ => None,
        }
    }

    pub(crate) fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let accepted = format!("a whole number from {} to {}", range.start(), range.end());
        let number = self.as_text().and_then(|text| parse_integer(&text));
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
                let fits = |text: &String| parse(text).is_ok_and(|quantity| is_in_range(&quantity));
                let suggestion = error.suggestion.filter(|text| self.may_be_quoted() && fits(text));
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
        let finite = match self.content() {
            Content::Null => Some(Json::Null),
            Content::Flag(flag) => Some(Json::Bool(flag)),
            Content::Integer(number) => {
                i64::try_from(number).map(Json::from).or_else(|_| u64::try_from(number).map(Json::from)).ok()
            }
            // What the nearest double rounds is refused: it would be another value in every row.
            Content::Float(number) => (number.is_finite()
                && significant(&self.as_text().unwrap_or_default()) == significant(&format!("{number:e}")))
            .then(|| Json::from(number)),
            Content::Text(text) => Some(Json::String(text.to_owned())),
            Content::List(_) => {
                let items = self.list().map(|item| item.literal());
                return items.collect::<Option<Vec<Json>>>().map(Json::Array);
            }
            Content::Mapping(_) => {
                let pairs = self.entries()?.map(|(key, value)| Some((key.to_owned(), value.literal()?)));
                return pairs.collect::<Option<serde_json::Map<_, _>>>().map(Json::Object);
            }
        };
        if finite.is_none() {
            self.refuse(
                format!("found {}", self.shown()),
                "a finite number that a double holds; write others in quotes, as text",
            );
        }
        finite
    }
}

/// The sign, the digits without zeros at their ends, and the power of ten of a number as YAML writes it: of equal numbers the
/// same.
fn significant(number: &str) -> Option<(bool, String, i64)> {
    let (mantissa, power) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let unsigned = mantissa.trim_start_matches(['+', '-']);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let written = format!("{whole}{fraction}");
    let digits = written.trim_end_matches('0');
    let power = power.parse::<i64>().ok()? - fraction.len() as i64 + (written.len() - digits.len()) as i64;
    match digits.trim_start_matches('0') {
        "" => Some((false, String::new(), 0)),
        digits => Some((mantissa.starts_with('-'), digits.to_owned(), power)),
    }
}
