//! Payload formats, one file each: from a payload to the values at a rule's paths.
//!
//! A plain JSON payload that is one value is walked in place: [`PathTree::pick`] returns ranges of the payload. Every
//! other payload goes through [`documents`], which calls its closure once for each value of the payload, in order. A
//! [`Document`] has the form of a JSON result: a text and the ranges of the wanted values in it, each as JSON. The text
//! is an arena that holds wanted values only, or, if the value itself is JSON (`ndjson`), the line.
//!
//! [`Document::slot`] returns the value of a slot. If the payload has bytes there (MessagePack, CBOR, protobuf, `hex`
//! …), the text holds a base64 string, and the value is the bytes. A whole array or object with bytes inside shows the
//! strings.
//!
//! If nothing but columns reads a payload's values, they need not be JSON ([`Scalars::Plain`]): a string is its plain
//! text, for CSV and line protocol a range of the payload itself, and a double stays binary. See [`Kind`].
//!
//! The first fault ends the payload, whatever was passed to the closure before: one message is one unit. A fault names
//! the line or the byte, never the payload. An error of the closure is returned unchanged.

mod cbor;
mod charset;
mod csv;
mod embedded;
mod epoch;
mod expand;
mod foreign;
mod influx;
mod json;
mod msgpack;
mod ndjson;
mod pattern;
mod picked;
mod protobuf;
mod text;
mod tokens;
mod tree;

pub(super) use self::charset::unmarked;
pub(super) use self::embedded::{Embedded, EmbeddedMemory};
pub(super) use self::json::{Element, TabularSlots, distinct_elements, elements, not_utf8, tabular_rows};
pub(super) use self::picked::Scalars;
use self::picked::{Foreign, Kind, Picked};
pub(super) use self::tree::{FoldedKey, Path, PathTree, Slot};
use super::value::Value;
use crate::config::{Decoding, Syntax};

/// One value of a payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Document<'d> {
    /// The text of the slots' ranges.
    pub(super) text: &'d str,
    /// One for each slot of the tree.
    pub(super) slots: &'d [Slot],
    /// The line or record, from 1, of a payload that has several.
    pub(super) line: Option<usize>,
    /// `None`: each range is JSON.
    foreign: Option<&'d Foreign>,
}

/// The payload cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PayloadFault {
    /// The dead letter's reason: `parse`, or `size` where a bound is exceeded.
    pub(super) reason: &'static str,
    /// Names the place and what is expected, never the payload.
    pub(super) message: String,
}

/// Reused from message to message.
#[derive(Debug, Default)]
pub(super) struct DocumentMemory {
    picked: Picked,
    expanded: Vec<u8>,
    decoded: String,
}

/// The closure that is called with each document.
type Each<'e, E> = &'e mut dyn FnMut(Document<'_>) -> Result<(), E>;

/// Calls `each` with every value of the payload, in order.
pub(super) fn documents<E: From<PayloadFault>>(
    decoding: &Decoding,
    payload: &[u8],
    (tree, scalars): (&PathTree, &Scalars),
    memory: &mut DocumentMemory,
    each: Each<'_, E>,
) -> Result<(), E> {
    let DocumentMemory { picked, expanded, decoded } = memory;
    let bytes_max = decoding.expanded_bytes_max;
    let payload = expand::expand(decoding.compression, payload, bytes_max, expanded)?;
    match &decoding.syntax {
        Syntax::Bytes => return text::bytes(payload, tree, picked, each),
        Syntax::Msgpack => return tokens::document(msgpack::Msgpack::new(payload), (tree, scalars), picked, each),
        Syntax::Cbor => return tokens::document(cbor::Cbor::new(payload), (tree, scalars), picked, each),
        Syntax::Protobuf(message_type) => return protobuf::document(message_type, payload, tree, picked, each),
        _ => {}
    }
    let text = charset::text(payload, decoding.charset, bytes_max, decoded)?;
    match &decoding.syntax {
        Syntax::Json => ndjson::json(text, tree, picked, each),
        Syntax::Ndjson => ndjson::documents(text, tree, picked, each),
        Syntax::Csv(options) => csv::documents(options, text, (tree, scalars), picked, each),
        Syntax::Auto(_) if text.trim_ascii_start().starts_with(['{', '[']) => ndjson::either(text, tree, picked, each),
        Syntax::Auto(options) => csv::documents(options, text, (tree, scalars), picked, each),
        Syntax::Text => text::text(text, tree, picked, each),
        Syntax::Hex => text::bytes(&text::hex(text)?, tree, picked, each),
        Syntax::Base64 => text::bytes(&text::base64(text)?, tree, picked, each),
        Syntax::Regex(pattern) => pattern::documents(pattern, text, tree, picked, each),
        Syntax::Influx(precision) => influx::documents((*precision, false), text, (tree, scalars), picked, each),
        Syntax::InfluxNumbers(precision) => influx::documents((*precision, true), text, (tree, scalars), picked, each),
        Syntax::Bytes | Syntax::Msgpack | Syntax::Cbor | Syntax::Protobuf(_) => unreachable!("these are no text"),
    }
}

/// Calls `each` with the one value of a JSON payload.
pub(super) fn single_document<E: From<PayloadFault>>(
    payload: &[u8],
    tree: &PathTree,
    memory: &mut DocumentMemory,
    each: &mut dyn FnMut(Document<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let slots = &mut memory.picked.slots;
    let payload = unmarked(payload, &mut memory.decoded)?;
    let text = tree.pick(payload, slots).map_err(|fault| PayloadFault::parse(fault.0))?;
    each(Document::of_json(text, slots))
}

/// A payload that is one text.
pub(super) fn whole_text<'t>(payload: &'t [u8], memory: &'t mut DocumentMemory) -> Result<&'t str, PayloadFault> {
    let payload = unmarked(payload, &mut memory.decoded)?;
    std::str::from_utf8(payload).map_err(|error| PayloadFault::parse(not_utf8(payload, error)))
}

impl<'d> Document<'d> {
    /// Ranges of a JSON text.
    #[inline]
    pub(super) fn of_json(text: &'d str, slots: &'d [Slot]) -> Document<'d> {
        Document { text, slots, line: None, foreign: None }
    }

    /// Other ranges of the same text, which are JSON.
    pub(super) fn with_slots(self, slots: &'d [Slot]) -> Document<'d> {
        debug_assert!(self.foreign.is_none_or(|foreign| foreign.kinds.is_empty()), "elements are parts of JSON");
        Document { slots, ..self }
    }

    /// The value of a slot: `None` if there is none, `Some(None)` for null.
    #[inline]
    pub(super) fn slot(&self, slot: usize) -> Option<Option<Value<'d>>> {
        let range = self.slots[slot]?;
        Some(match self.foreign {
            None => Value::from_json(&self.text[range.0 as usize..range.1 as usize]),
            Some(foreign) => foreign.value(slot, range, self.text),
        })
    }

    /// The value at a range of JSON; `None` for null.
    pub(super) fn value(&self, range: (u32, u32)) -> Option<Value<'d>> {
        let binary = self.foreign.and_then(|foreign| foreign.binary(range));
        binary.or_else(|| Value::from_json(&self.text[range.0 as usize..range.1 as usize]))
    }

    /// The JSON of a slot, if it has any.
    pub(super) fn json(&self, slot: usize) -> Option<&'d str> {
        let (start, end) = self.slots[slot]?;
        let is_json = self.foreign.is_none_or(|foreign| foreign.kind(slot) == Kind::Json);
        is_json.then(|| &self.text[start as usize..end as usize])
    }
}

impl PayloadFault {
    fn parse(message: impl Into<String>) -> PayloadFault {
        PayloadFault { reason: "parse", message: message.into() }
    }

    /// With the line and the elements that contain it.
    #[cold]
    pub(super) fn within(self, line: Option<usize>, items: &[Option<usize>]) -> PayloadFault {
        let line = line.map(|line| format!("line {line}"));
        let items = items.iter().flatten().map(|index| format!("item {index}"));
        let places: Vec<String> = line.into_iter().chain(items).collect();
        match places.is_empty() {
            true => self,
            false => PayloadFault { message: format!("{}: {}", places.join(", "), self.message), ..self },
        }
    }

    fn empty() -> PayloadFault {
        PayloadFault::parse("the payload is empty")
    }

    fn too_large(bytes_max: usize) -> PayloadFault {
        PayloadFault::size(format!("the payload expands to more than the rule's `max_expanded` ({bytes_max} bytes)"))
    }

    fn size(message: impl Into<String>) -> PayloadFault {
        PayloadFault { reason: "size", message: message.into() }
    }
}

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod tests;
