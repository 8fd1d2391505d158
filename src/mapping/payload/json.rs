//! Reads only the wanted paths of a JSON payload.
//!
//! All paths of a rule form one tree, and the payload is walked once along it. Values outside the paths are skipped
//! without recursion, so nesting of any depth costs no stack. A value at the end of a path stays text, exactly as
//! written in the payload (numbers keep every digit), and is recorded as a byte range: nothing is copied and no
//! document tree is built.
//!
//! There are two walks. [`quick`] handles almost every payload; the others are left to [`careful`], which uses
//! serde_json and alone decides what is not JSON. For a payload that both accept they find the same values.
//!
//! A value is read twice in two cases: an array with an index counted from its end, and, in the careful walk, every
//! value with wanted parts. If a key occurs twice, the last one counts, with all its parts.

mod absence;
mod careful;
mod elements;
mod quick;
mod tabular;

pub(in crate::mapping) use self::elements::{Element, distinct_elements, elements};
pub(in crate::mapping) use self::tabular::{TabularSlots, rows as tabular_rows};
use super::tree::{Node, PathTree, Slot};
use super::{PayloadFault, foreign};

/// The payload is not JSON. Names the place, never the payload.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::mapping) struct JsonFault(pub(in crate::mapping) String);

impl PathTree {
    /// Finds the wanted values of JSON; `slots` has one entry per slot afterwards, each a range of the text returned.
    pub(in crate::mapping) fn pick<'p>(&self, payload: &'p [u8], slots: &mut Vec<Slot>) -> Result<&'p str, JsonFault> {
        let text = std::str::from_utf8(payload).map_err(|error| JsonFault(not_utf8(payload, error)))?;
        self.pick_text(text, slots).map(|()| text)
    }

    /// Finds the wanted values of JSON that is text already.
    #[inline]
    pub(super) fn pick_text(&self, text: &str, slots: &mut Vec<Slot>) -> Result<(), JsonFault> {
        slots.clear();
        slots.resize(self.slot_count, None);
        if quick::walk(text, &self.root, slots).is_some() {
            return Ok(());
        }
        if text.bytes().all(is_json_space) {
            return Err(JsonFault("the payload is empty".to_owned()));
        }
        slots.fill(None);
        careful::walk(text, &self.root, slots).map_err(|error| match foreign::name(text.as_bytes()) {
            Some(what) => JsonFault(format!("the payload is not JSON: it {what}")),
            None => describe(&error, text),
        })
    }
}

/// Finds the wanted values in a part of `text` that was written as JSON; slots are ranges of the whole.
pub(super) fn walk_part(
    text: &str,
    part: std::ops::Range<usize>,
    node: &Node,
    slots: &mut [Slot],
) -> Result<(), PayloadFault> {
    if quick::walk_part(&text[..part.end], part.start, node, slots).is_some() {
        return Ok(());
    }
    careful::walk_part(text, part, node, slots).map_err(|error| PayloadFault::parse(describe(&error, text).0))
}

fn is_json_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Why bytes are no text.
pub(in crate::mapping) fn not_utf8(payload: &[u8], error: std::str::Utf8Error) -> String {
    let byte = error.valid_up_to() + 1;
    match foreign::name(payload) {
        Some(what) => format!("the payload is not UTF-8 (byte {byte}): it {what}"),
        None => format!("the payload is not UTF-8 (byte {byte})"),
    }
}

/// The fault with its position as a byte of the payload, as dead letters show them.
fn describe(error: &serde_json::Error, text: &str) -> JsonFault {
    let line_start: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let words = error.to_string();
    let what = words.split(" at line ").next().unwrap_or("a syntax error");
    JsonFault(format!("the payload is not JSON: {what} (byte {})", (line_start + error.column()).min(text.len())))
}

#[cfg(test)]
mod tests;
