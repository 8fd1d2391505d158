//! `unmapped`: the fields of a payload's object, or of an element, that no column takes.

use std::borrow::Cow;
use std::ops::Range;

use super::growth::Growth;
use super::payload::{Document, Element, PathTree, PayloadFault, Slot, elements};
use super::value::Value;

/// What a rule does with such fields, where no column holds them.
#[derive(Debug)]
pub(super) enum Others {
    /// The row is refused.
    Refuse(Rest),
    /// They become columns.
    Add(Growth),
}

/// The fields of an object that some column takes, and where the object is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Rest {
    /// Of the whole object.
    pub(super) slot: usize,
    /// Of the element at hand, not of the payload.
    pub(super) is_item: bool,
    /// Sorted.
    pub(super) taken: Box<[String]>,
    /// Taken in whichever case.
    pub(super) taken_folded: Box<[String]>,
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
            Others::Refuse(rest) => rest,
            Others::Add(growth) => &mut growth.rest,
        }
    }
}

impl Rest {
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
        self.each_of_all(document, &mut |field| self.takes(field.name) || each(field));
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

    fn takes(&self, name: &str) -> bool {
        self.takes_exactly(name) || self.takes_folded(name)
    }

    pub(super) fn takes_exactly(&self, name: &str) -> bool {
        self.taken.binary_search_by(|taken| taken.as_str().cmp(name)).is_ok()
    }

    pub(super) fn takes_folded(&self, name: &str) -> bool {
        self.taken_folded.iter().any(|taken| taken.eq_ignore_ascii_case(name))
    }
}

/// The text of a key that stands there with its quotes.
fn name_of(raw: &str) -> Cow<'_, str> {
    match raw.contains('\\') {
        false => raw[1..raw.len() - 1].into(),
        true => serde_json::from_str::<String>(raw).unwrap_or_default().into(),
    }
}
