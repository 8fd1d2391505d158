//! `unmapped`: the fields of a payload's object, or of an element, that no column takes.

use std::borrow::Cow;
use std::ops::Range;

use super::growth::{Growth, shown};
use super::payload::{Document, Element, FoldedKey, Path, PathTree, PayloadFault, Slot, elements};
use super::value::Value;

/// What a rule does with such fields, where no column holds them.
#[derive(Debug)]
pub(super) enum Others {
    /// The row is refused.
    Refuse(Rest),
    /// They become columns.
    Add(Growth),
    /// They are ignored, or a column takes them. But the row is refused if a field fits several columns alike.
    Watch(Rest),
}

/// The fields of an object that some column takes, and where the object is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Rest {
    /// Of the whole object.
    pub(super) slot: usize,
    /// Of the element at hand, not of the payload.
    pub(super) is_item: bool,
    /// The slot of an array's value for the column that takes the rest.
    pub(super) at: Option<usize>,
    /// Sorted.
    pub(super) taken: Box<[String]>,
    /// Columns that take a field in another case, if no field has exactly their name.
    pub(super) folded: Box<[FoldedKey]>,
    /// Some of these columns have names that differ only in case.
    pub(super) has_rivals: bool,
}

/// A field of the object.
pub(super) struct Field<'f> {
    /// As JSON.
    key: &'f str,
    pub(super) name: &'f str,
    /// Where its value stands in the document's text.
    pub(super) range: Range<usize>,
}

/// The walk over the fields ended early.
enum Ended {
    /// Whoever looks has seen enough.
    Enough,
    Broken,
}

impl From<PayloadFault> for Ended {
    fn from(_: PayloadFault) -> Ended {
        Ended::Broken
    }
}

impl Others {
    pub(super) fn rest_mut(&mut self) -> &mut Rest {
        match self {
            Others::Refuse(rest) | Others::Watch(rest) => rest,
            Others::Add(growth) => &mut growth.rest,
        }
    }
}

impl Rest {
    /// Takes the keys of the columns, whose paths these are.
    pub(super) fn complete(&mut self, tree: &PathTree, slots: &[usize], paths: &[Path]) {
        self.slot = slots[self.slot];
        self.at = self.at.map(|path| slots[path]);
        (self.taken, self.folded) = tree.first_keys(paths);
        self.has_rivals = self.folded.iter().any(|key| self.in_any_case(&key.name).count() > 1);
    }

    /// The rest as a JSON object; `None` if there is none, or no object.
    pub(super) fn of(&self, document: &Document<'_>) -> Option<String> {
        let mut rest = String::new();
        self.each(document, &mut |field| {
            rest.push_str(if rest.is_empty() { "{" } else { "," });
            rest.push_str(field.key);
            rest.push(':');
            rest.push_str(&document.text[field.range.clone()]);
            true
        });
        (!rest.is_empty()).then(|| rest + "}")
    }

    /// How many fields no column takes.
    pub(super) fn count(&self, document: &Document<'_>) -> usize {
        let mut count = 0;
        self.each(document, &mut |_| {
            count += 1;
            true
        });
        count
    }

    /// Whether there is an object.
    pub(super) fn has_object(&self, document: &Document<'_>) -> bool {
        document.slots[self.slot].is_some_and(|(start, _)| document.text.as_bytes()[start as usize] == b'{')
    }

    /// Calls `each` with every field that no column takes, until it says no.
    pub(super) fn each(&self, document: &Document<'_>, each: &mut dyn FnMut(&Field<'_>) -> bool) {
        self.each_of_all(document, &mut |field| self.takes(document, field) || each(field));
    }

    /// The value that an array has for the column that takes the rest.
    pub(super) fn by_position(&self, document: &Document<'_>) -> Slot {
        document.slots[self.at?]
    }

    /// The same with every field.
    pub(super) fn each_of_all(&self, document: &Document<'_>, each: &mut dyn FnMut(&Field<'_>) -> bool) {
        let Some(range) = document.slots[self.slot].filter(|_| self.has_object(document)) else { return };
        let mut nothing = Vec::new();
        let mut visit = |element: &Element<'_>, _: &[Slot]| {
            let (key, name) = match element.key {
                Some(Value::JsonString(raw)) => (Cow::Borrowed(raw), name_of(raw)),
                Some(Value::Text(name)) => (serde_json::Value::from(name).to_string().into(), name.into()),
                _ => return Ok(()),
            };
            let field = Field { key: &key, name: &name, range: element.range.clone() };
            if each(&field) { Ok(()) } else { Err(Ended::Enough) }
        };
        // It was read before, so it can be read.
        let _ = elements(document.text, range, &PathTree::default(), &mut nothing, &mut visit);
    }

    /// Whether a column takes just this field. Of fields that differ only in case, a column takes one.
    fn takes(&self, document: &Document<'_>, field: &Field<'_>) -> bool {
        let is_there = |slot: usize| document.slots[slot].is_some();
        let is_its = |key: &FoldedKey| {
            !key.exact.is_some_and(is_there)
                && document.slots[key.slot].is_some_and(|(start, _)| start as usize == field.range.start)
        };
        self.takes_exactly(field.name) || self.folded.iter().any(is_its)
    }

    pub(super) fn takes_exactly(&self, name: &str) -> bool {
        self.taken.binary_search_by(|taken| taken.as_str().cmp(name)).is_ok()
    }

    /// Whether just one column has this name in some case.
    pub(super) fn takes_folded(&self, name: &str) -> bool {
        self.in_any_case(name).count() == 1
    }

    /// The first field that several columns have a claim to, with two of these columns.
    pub(super) fn ambiguity(&self, document: &Document<'_>) -> Option<String> {
        let mut found = None;
        self.each_of_all(document, &mut |field| {
            let mut rivals = self.in_any_case(field.name).filter(|_| !self.takes_exactly(field.name));
            let (Some(one), Some(other)) = (rivals.next(), rivals.next()) else { return true };
            // Columns that all have a field of their own claim no other.
            let is_open = |key: &FoldedKey| key.exact.is_none_or(|exact| document.slots[exact].is_none());
            if self.in_any_case(field.name).any(is_open) {
                let (name, one, other) = (shown(field.name), &one.name, &other.name);
                found = Some(format!(
                    "the field `{name}` differs only in case from the columns `{one}` and `{other}`, and may be meant for either: \
                     write it as the column, or name the rule's `columns`"
                ));
            }
            found.is_none()
        });
        found
    }

    fn in_any_case<'r>(&'r self, name: &'r str) -> impl Iterator<Item = &'r FoldedKey> {
        self.folded.iter().filter(move |key| key.name.eq_ignore_ascii_case(name))
    }
}

/// The text of a key that stands there with its quotes.
fn name_of(raw: &str) -> Cow<'_, str> {
    match raw.contains('\\') {
        false => raw[1..raw.len() - 1].into(),
        true => serde_json::from_str::<String>(raw).unwrap_or_default().into(),
    }
}
