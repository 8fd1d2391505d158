//! What no column takes of a payload's object, or of an element's: `unmapped`.

use super::payload::{Document, Element, PathTree, PayloadFault, Slot, elements};
use super::value::Value;

/// The fields of an object that some column takes, and where the object is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Rest {
    /// Of the whole object.
    pub(super) slot: usize,
    /// Of the element at hand, not of the payload.
    pub(super) is_item: bool,
    pub(super) taken: Box<[String]>,
    /// Taken in whichever case.
    pub(super) taken_folded: Box<[String]>,
}

impl Rest {
    /// The rest as a JSON object; `None` if there is none, or no object.
    pub(super) fn of(&self, document: &Document<'_>) -> Option<String> {
        let mut rest = String::new();
        self.each(document, &mut |key, value| {
            rest.push_str(if rest.is_empty() { "{" } else { "," });
            rest.push_str(key);
            rest.push(':');
            rest.push_str(value);
        });
        (!rest.is_empty()).then(|| rest + "}")
    }

    /// How many fields no column takes.
    pub(super) fn count(&self, document: &Document<'_>) -> usize {
        let mut count = 0;
        self.each(document, &mut |_, _| count += 1);
        count
    }

    /// Calls `each` with key and value of every such field, as JSON.
    fn each(&self, document: &Document<'_>, each: &mut dyn FnMut(&str, &str)) {
        let Some(range) = document.slots[self.slot] else { return };
        if document.text.as_bytes()[range.0 as usize] != b'{' {
            return;
        }
        let mut nothing = Vec::new();
        let mut visit = |element: &Element<'_>, _: &[Slot]| -> Result<(), PayloadFault> {
            let (raw, name) = match element.key {
                Some(Value::JsonString(raw)) => (raw.to_owned(), serde_json::from_str(raw).unwrap_or_default()),
                Some(Value::Text(name)) => (serde_json::Value::from(name).to_string(), name.to_owned()),
                _ => return Ok(()),
            };
            if !self.takes(&name) {
                each(&raw, &document.text[element.range.clone()]);
            }
            Ok(())
        };
        // It was read before, so it can be read.
        let _ = elements(document.text, range, &PathTree::default(), &mut nothing, &mut visit);
    }

    fn takes(&self, name: &str) -> bool {
        self.taken.iter().any(|taken| taken == name)
            || self.taken_folded.iter().any(|taken| taken.eq_ignore_ascii_case(name))
    }
}
