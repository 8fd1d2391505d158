//! Wanted values as JSON text, for payloads that are not JSON: an arena that is reused from document to document.
//!
//! A format appends each wanted value and records its range. JSON has no bytes, so bytes are written as a base64 string
//! and also kept as bytes; a slot that is exactly this string gives the bytes.
//!
//! Writing a value as JSON and reading it back costs more than the rest of the mapping. So where only columns read the
//! values, a format may record them in another [`Kind`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::json;
use super::tree::{Node, PathTree, Slot};
use super::{Document, PayloadFault};
use crate::mapping::value::Value;

/// The most that a format may write for one document. Larger than any reasonable rule needs; it keeps positions in 32
/// bits and prevents a hostile document from filling the memory.
const TEXT_BYTES_MAX: usize = 256 << 20;

/// The values of one document.
#[derive(Debug, Default)]
pub(super) struct Picked {
    pub(super) text: String,
    pub(super) slots: Vec<Slot>,
    foreign: Foreign,
}

/// What is in a document besides JSON.
#[derive(Debug, Default)]
pub(in crate::mapping) struct Foreign {
    /// By slot; empty: each is JSON.
    pub(super) kinds: Vec<Kind>,
    /// In the order of their places in the text.
    binaries: Vec<Binary>,
    bytes: Vec<u8>,
}

/// What the range of a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mapping) enum Kind {
    Json,
    /// A string without quotes and escapes.
    Text,
    /// Not a range.
    Null,
    /// Not a range.
    Bool(bool),
    /// Not a range, but the bits of a double, the higher half first.
    Double,
}

/// The forms in which a format may record values.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::mapping) enum Scalars {
    Json,
    /// Only columns read them. By slot: whether all of these columns hold doubles.
    Plain(Box<[bool]>),
}

/// A string in the text that represents bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mapping) struct Binary {
    /// The range of the base64 string, with its quotes.
    pub(super) text: (u32, u32),
    /// The range of its bytes.
    pub(super) bytes: (u32, u32),
}

impl Picked {
    /// Forgets the document before. All values are JSON.
    pub(super) fn begin(&mut self, tree: &PathTree) {
        self.clear();
        self.slots.resize(tree.slot_count, None);
    }

    /// Forgets the document before. Values may have other kinds.
    pub(super) fn begin_plain(&mut self, tree: &PathTree) {
        self.begin(tree);
        self.foreign.kinds.resize(tree.slot_count, Kind::Json);
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.slots.clear();
        self.foreign.kinds.clear();
        self.foreign.binaries.clear();
        self.foreign.bytes.clear();
    }

    /// The value at a node is of this kind: a range of the document's text, or what stands for one.
    #[inline]
    pub(super) fn put(&mut self, node: &Node, kind: Kind, range: (u32, u32)) {
        if node.has_parts() {
            self.slots[node.slots.clone()].fill(None);
        }
        if let Some(slot) = node.slot {
            self.slots[slot] = Some(range);
            self.foreign.kinds[slot] = kind;
        }
    }

    /// The value at a node is this text, appended as it is.
    pub(super) fn put_text(&mut self, node: &Node, text: &str) -> Result<(), PayloadFault> {
        let start = self.text.len();
        self.text.push_str(text);
        let end = self.end()?;
        self.put(node, Kind::Text, (start as u32, end as u32));
        Ok(())
    }

    pub(super) fn put_double(&mut self, node: &Node, number: f64) {
        let bits = number.to_bits();
        self.put(node, Kind::Double, ((bits >> 32) as u32, bits as u32));
    }

    /// The value at a node, written by `write`, has no parts: no number, string, truth value, null or bytes has.
    #[inline]
    pub(super) fn scalar<E: From<PayloadFault>>(
        &mut self,
        node: &Node,
        write: impl FnOnce(&mut Picked) -> Result<(), E>,
    ) -> Result<(), E> {
        if node.has_parts() {
            // Of equal keys the last one wins, and the parts of the ones before are no parts of it.
            self.slots[node.slots.clone()].fill(None);
        }
        let Some(slot) = node.slot else { return Ok(()) };
        let start = self.text.len();
        write(self)?;
        self.slots[slot] = Some((start as u32, self.end()? as u32));
        self.note_json(slot..slot + 1);
        Ok(())
    }

    /// An equal key before may have had a value of another kind.
    #[inline]
    fn note_json(&mut self, slots: std::ops::Range<usize>) {
        if !self.foreign.kinds.is_empty() {
            self.foreign.kinds[slots].fill(Kind::Json);
        }
    }

    /// The value at a node, written whole by `write`; its wanted parts are looked for in what was written.
    pub(super) fn whole<E: From<PayloadFault>>(
        &mut self,
        node: &Node,
        write: impl FnOnce(&mut Picked) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.text.len();
        write(self)?;
        let end = self.end()?;
        self.note_json(node.slots.clone());
        if node.has_parts() {
            json::walk_part(&self.text, start..end, node, &mut self.slots)?;
        } else if let Some(slot) = node.slot {
            self.slots[slot] = Some((start as u32, end as u32));
        }
        Ok(())
    }

    /// Forgets what was found at a node before: a container comes there, whose parts follow one by one.
    pub(super) fn enter(&mut self, node: &Node) {
        self.slots[node.slots.clone()].fill(None);
    }

    /// The length so far, if it is within bounds.
    pub(super) fn end(&self) -> Result<usize, PayloadFault> {
        let end = self.text.len().max(self.foreign.bytes.len());
        if end > TEXT_BYTES_MAX {
            return Err(PayloadFault::size(format!(
                "the payload's values take more than {} MiB when they are written out",
                TEXT_BYTES_MAX >> 20
            )));
        }
        Ok(self.text.len())
    }

    /// The document, when all its values are written.
    pub(super) fn document(&self, line: Option<usize>) -> Document<'_> {
        Document { text: &self.text, slots: &self.slots, line, foreign: Some(&self.foreign) }
    }

    /// The same, with ranges of another text.
    pub(super) fn document_in<'d>(&'d self, text: &'d str, line: usize) -> Document<'d> {
        Document { text, slots: &self.slots, line: Some(line), foreign: Some(&self.foreign) }
    }

    /// The text before an element: a comma, unless it is the first.
    pub(super) fn push_comma(&mut self) {
        if !self.text.ends_with('[') {
            self.text.push(',');
        }
    }

    /// A member's key with its punctuation.
    pub(super) fn push_key(&mut self, key: &str) {
        if !self.text.ends_with('{') {
            self.text.push(',');
        }
        self.push_string(key);
        self.text.push(':');
    }

    pub(super) fn push_null(&mut self) {
        self.text.push_str("null");
    }

    pub(super) fn push_bool(&mut self, truth: bool) {
        self.text.push_str(if truth { "true" } else { "false" });
    }

    pub(super) fn push_integer(&mut self, number: impl itoa::Integer) {
        self.text.push_str(itoa::Buffer::new().format(number));
    }

    /// The shortest number that is read back as this one; what JSON has no number for, as a string.
    pub(super) fn push_float(&mut self, number: f64) {
        if number.is_finite() {
            self.text.push_str(ryu::Buffer::new().format_finite(number));
        } else if number.is_nan() {
            self.text.push_str("\"NaN\"");
        } else {
            self.text.push_str(if number > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" });
        }
    }

    /// A single is written as the double that it is: every digit of it. Beyond 2^24 it is whole, and written so.
    pub(super) fn push_single(&mut self, number: f32) {
        use std::fmt::Write as _;
        const WHOLE_FROM: f32 = 16_777_216.0;
        if number.is_finite() && number.abs() >= WHOLE_FROM {
            write!(self.text, "{number:.1}").expect("a String takes everything");
        } else {
            self.push_float(number.into());
        }
    }

    /// A JSON string.
    pub(super) fn push_string(&mut self, text: &str) {
        self.text.push('"');
        self.push_string_part(text);
        self.text.push('"');
    }

    /// Appends text between the quotes of a JSON string.
    pub(super) fn push_string_part(&mut self, text: &str) {
        let mut rest = text;
        while let Some(at) = rest.bytes().position(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
            self.text.push_str(&rest[..at]);
            match rest.as_bytes()[at] {
                b'"' => self.text.push_str("\\\""),
                b'\\' => self.text.push_str("\\\\"),
                b'\n' => self.text.push_str("\\n"),
                b'\r' => self.text.push_str("\\r"),
                b'\t' => self.text.push_str("\\t"),
                control => {
                    const DIGITS: &[u8; 16] = b"0123456789abcdef";
                    self.text.push_str("\\u00");
                    self.text.push(char::from(DIGITS[usize::from(control >> 4)]));
                    self.text.push(char::from(DIGITS[usize::from(control & 15)]));
                }
            }
            rest = &rest[at + 1..];
        }
        self.text.push_str(rest);
    }

    /// A part of another document, copied unchanged with its bytes.
    pub(super) fn push_part(&mut self, from: &Document<'_>, part: std::ops::Range<u32>) -> Result<(), PayloadFault> {
        let at = self.end()? as u32;
        self.text.push_str(&from.text[part.start as usize..part.end as usize]);
        let Foreign { binaries, bytes, .. } = &mut self.foreign;
        for (binary, of_it) in from.foreign.iter().flat_map(|foreign| foreign.binaries_in(part.clone())) {
            let (text_start, text_end) = binary.text;
            let start = bytes.len() as u32;
            bytes.extend_from_slice(of_it);
            binaries.push(Binary {
                text: (text_start - part.start + at, text_end - part.start + at),
                bytes: (start, bytes.len() as u32),
            });
        }
        self.end().map(drop)
    }

    /// Bytes, as a base64 string; the bytes themselves are kept too.
    pub(super) fn push_bytes(&mut self, bytes: &[u8]) -> Result<(), PayloadFault> {
        let (text_start, bytes_start) = (self.end()? as u32, self.foreign.bytes.len() as u32);
        self.text.push('"');
        STANDARD.encode_string(bytes, &mut self.text);
        self.text.push('"');
        self.foreign.bytes.extend_from_slice(bytes);
        let text_end = self.end()? as u32;
        let bytes = (bytes_start, self.foreign.bytes.len() as u32);
        self.foreign.binaries.push(Binary { text: (text_start, text_end), bytes });
        Ok(())
    }
}

impl Foreign {
    #[inline]
    pub(super) fn kind(&self, slot: usize) -> Kind {
        self.kinds.get(slot).copied().unwrap_or(Kind::Json)
    }

    /// The value of a slot; `None` for null.
    #[inline]
    pub(super) fn value<'d>(&'d self, slot: usize, range: (u32, u32), text: &'d str) -> Option<Value<'d>> {
        let of_text = || &text[range.0 as usize..range.1 as usize];
        match self.kind(slot) {
            Kind::Json => self.binary(range).or_else(|| Value::from_json(of_text())),
            Kind::Text => Some(Value::Text(of_text())),
            Kind::Null => None,
            Kind::Bool(truth) => Some(Value::Bool(truth)),
            Kind::Double => Some(Value::Double(f64::from_bits(u64::from(range.0) << 32 | u64::from(range.1)))),
        }
    }

    /// The bytes at a range of JSON, if they are bytes.
    pub(super) fn binary(&self, range: (u32, u32)) -> Option<Value<'_>> {
        let at = self.binaries.binary_search_by_key(&range, |binary| binary.text).ok()?;
        Some(Value::Bytes(self.bytes_of(&self.binaries[at])))
    }

    /// Those that lie within a part of the text, with their bytes.
    fn binaries_in(&self, part: std::ops::Range<u32>) -> impl Iterator<Item = (&Binary, &[u8])> {
        let first = self.binaries.partition_point(|binary| binary.text.0 < part.start);
        let within = self.binaries[first..].iter().take_while(move |binary| binary.text.1 <= part.end);
        within.map(|binary| (binary, self.bytes_of(binary)))
    }

    fn bytes_of(&self, binary: &Binary) -> &[u8] {
        &self.bytes[binary.bytes.0 as usize..binary.bytes.1 as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_string_comes_back_from_its_json() {
        let mut picked = Picked::default();
        let all: String = (0..0x180).filter_map(char::from_u32).chain("\u{2028}😀\"\\".chars()).collect();
        picked.push_string(&all);
        assert_eq!(serde_json::from_str::<String>(&picked.text).unwrap(), all);
    }

    #[test]
    fn floats_keep_every_digit() {
        for number in [0.0, -0.0, 0.1, 21.53, 5e-324, f64::MAX, 9_007_199_254_740_993.0, 1e21, -1.5] {
            let mut picked = Picked::default();
            picked.push_float(number);
            assert_eq!(picked.text.parse::<f64>().unwrap().to_bits(), number.to_bits(), "{}", picked.text);
            assert!(serde_json::from_str::<f64>(&picked.text).is_ok(), "{}", picked.text);
        }
        for number in [0.0f32, 0.1, 21.53, f32::MAX, f32::MIN_POSITIVE, 16_777_216.0, 16_777_218.0, -3.3e38] {
            let mut picked = Picked::default();
            picked.push_single(number);
            let double: f64 = picked.text.parse().unwrap();
            assert_eq!(double.to_bits(), f64::from(number).to_bits(), "{}", picked.text);
        }
    }
}
