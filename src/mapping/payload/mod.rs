//! Payload formats, one file each: from a payload to the values at a rule's paths.
//!
//! A plain JSON payload that is one value is walked in place: [`PathTree::pick`] returns ranges of the payload. Every
//! other payload goes through [`documents`], which calls its closure once for each value of the payload, in order. A
//! [`Document`] has the form of a JSON result: a text and the ranges of the wanted values in it, each as JSON. The text
//! is an arena that holds wanted values only, or, if the value itself is JSON (`ndjson`), the line.
//!
//! [`Document::value`] returns the value of a range. If the payload has bytes there (MessagePack, CBOR, protobuf, `hex`
//! …), the text holds a base64 string, and the value is the bytes. A whole array or object with bytes inside shows the
//! strings.
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
use self::picked::{Binary, Picked};
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
    binaries: &'d [Binary],
    bytes: &'d [u8],
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
    tree: &PathTree,
    memory: &mut DocumentMemory,
    each: Each<'_, E>,
) -> Result<(), E> {
    let DocumentMemory { picked, expanded, decoded } = memory;
    let bytes_max = decoding.expanded_bytes_max;
    let payload = expand::expand(decoding.compression, payload, bytes_max, expanded)?;
    match &decoding.syntax {
        Syntax::Bytes => return text::bytes(payload, tree, picked, each),
        Syntax::Msgpack => return tokens::document(msgpack::Msgpack::new(payload), tree, picked, each),
        Syntax::Cbor => return tokens::document(cbor::Cbor::new(payload), tree, picked, each),
        Syntax::Protobuf(message_type) => return protobuf::document(message_type, payload, tree, picked, each),
        _ => {}
    }
    let text = charset::text(payload, decoding.charset, bytes_max, decoded)?;
    match &decoding.syntax {
        Syntax::Json => ndjson::json(text, tree, picked, each),
        Syntax::Ndjson => ndjson::documents(text, tree, picked, each),
        Syntax::Csv(options) => csv::documents(options, text, tree, picked, each),
        Syntax::Auto(_) if text.trim_ascii_start().starts_with(['{', '[']) => ndjson::either(text, tree, picked, each),
        Syntax::Auto(options) => csv::documents(options, text, tree, picked, each),
        Syntax::Text => text::text(text, tree, picked, each),
        Syntax::Hex => text::bytes(&text::hex(text)?, tree, picked, each),
        Syntax::Base64 => text::bytes(&text::base64(text)?, tree, picked, each),
        Syntax::Regex(pattern) => pattern::documents(pattern, text, tree, picked, each),
        Syntax::Influx(precision) => influx::documents(*precision, false, text, tree, picked, each),
        Syntax::InfluxNumbers(precision) => influx::documents(*precision, true, text, tree, picked, each),
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
        Document { text, slots, line: None, binaries: &[], bytes: &[] }
    }

    /// Other ranges of the same text.
    pub(super) fn with_slots(self, slots: &'d [Slot]) -> Document<'d> {
        Document { slots, ..self }
    }

    /// The value at a slot's range; `None` for null.
    #[inline]
    pub(super) fn value(&self, (start, end): (u32, u32)) -> Option<Value<'d>> {
        if !self.binaries.is_empty()
            && let Ok(at) = self.binaries.binary_search_by_key(&(start, end), |binary| binary.text)
        {
            let (start, end) = self.binaries[at].bytes;
            return Some(Value::Bytes(&self.bytes[start as usize..end as usize]));
        }
        Value::from_json(&self.text[start as usize..end as usize])
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
