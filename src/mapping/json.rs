//! Reads only the wanted paths out of a JSON payload.
//!
//! All paths of a rule become one tree. The payload is walked once by a serde visitor along that tree; what no path
//! leads to is skipped by serde_json without recursion, so nesting costs no stack however deep it is. A value at the
//! end of a path stays text, exactly as it stands in the payload (numbers keep every digit), and is remembered as a
//! byte range: nothing is copied and no document tree is built.
//!
//! Two cases look at a value twice: one that is wanted itself and has wanted parts too, and an array with an index
//! counted from its end. Duplicate keys: the last one wins, with all its parts.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer as _, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Deserializer;
use serde_json::value::RawValue;

use super::Step;

/// Where a wanted value stands in the payload; `None` if it is not there.
pub(super) type Slot = Option<(u32, u32)>;

/// Up to this many keys are compared one by one; more are searched by halves.
const KEYS_COMPARED_MAX: usize = 12;

/// The wanted paths as a tree.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct PathTree {
    root: Node,
    slot_count: usize,
}

#[derive(Debug, Default, PartialEq, Eq, Hash)]
struct Node {
    /// The value itself is wanted.
    slot: Option<usize>,
    /// Slots of this node and everything below it.
    slots: std::ops::Range<usize>,
    /// Sorted by key.
    keys: Vec<(String, Node)>,
    /// Keys that match without regard to case, if none matches as it is.
    folded: Vec<(String, Node)>,
    /// Sorted by index.
    indexes: Vec<(u32, Node)>,
    /// Indexes counted from the end: 1 is the last element.
    from_end: Vec<(u32, Node)>,
}

/// One wanted path.
#[derive(Debug, Clone)]
pub(super) enum Path {
    Steps(Vec<Step>),
    /// A key of the outermost object, without regard to ASCII case. Never takes a value that an exact key takes.
    Folded(String),
}

/// The payload is not JSON. Names the place, never the payload.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct JsonFault(pub(super) String);

impl PathTree {
    /// The tree and, for each path, its slot. Equal paths share one.
    pub(super) fn compile(paths: &[Path]) -> (PathTree, Vec<usize>) {
        let mut root = Node::default();
        for path in paths {
            root.place(path);
        }
        let mut slot_count = 0;
        root.number(&mut slot_count);
        let slots = paths.iter().map(|path| root.place(path).slot.expect("every placed path has a slot")).collect();
        (PathTree { root, slot_count }, slots)
    }

    /// Finds the wanted values; `slots` has one entry per slot afterwards, each a range of the text returned.
    pub(super) fn pick<'p>(&self, payload: &'p [u8], slots: &mut Vec<Slot>) -> Result<&'p str, JsonFault> {
        slots.clear();
        slots.resize(self.slot_count, None);
        let text = std::str::from_utf8(payload)
            .map_err(|error| JsonFault(format!("the payload is not UTF-8 (byte {})", error.valid_up_to() + 1)))?;
        if text.bytes().all(is_json_space) {
            return Err(JsonFault("the payload is empty".to_owned()));
        }
        let quick = self.walk(text, slots, false);
        // The quick walk reads a scalar that stands where an object is expected, and stumbles over numbers no float
        // can hold; the careful one skips it. So only the careful walk condemns a payload.
        let result = quick.or_else(|_| {
            slots.fill(None);
            self.walk(text, slots, true)
        });
        result.map(|()| text).map_err(|error| describe(&error, text))
    }

    fn walk(&self, text: &str, slots: &mut [Slot], careful: bool) -> Result<(), serde_json::Error> {
        let mut deserializer = Deserializer::from_str(text);
        let walk = Walk { whole: text, slots, careful };
        Visit { node: &self.root, walk }.deserialize(&mut deserializer)?;
        deserializer.end()
    }
}

impl Node {
    /// The node of a path, made if need be.
    fn place(&mut self, path: &Path) -> &mut Node {
        let node = match path {
            Path::Folded(key) => entry(&mut self.folded, key.clone()),
            Path::Steps(steps) => steps.iter().fold(self, |node, step| match step {
                Step::Key(key) => entry(&mut node.keys, key.clone()),
                Step::Index(index) if *index < 0 => entry(&mut node.from_end, index.unsigned_abs()),
                Step::Index(index) => entry(&mut node.indexes, index.unsigned_abs()),
            }),
        };
        node.slot.get_or_insert(usize::MAX);
        node
    }

    /// Numbers the slots so that those of a subtree are neighbours.
    fn number(&mut self, next: &mut usize) {
        let first = *next;
        if let Some(slot) = &mut self.slot {
            *slot = *next;
            *next += 1;
        }
        let named = self.keys.iter_mut().chain(&mut self.folded).map(|(_, node)| node);
        for node in named.chain(self.indexes.iter_mut().chain(&mut self.from_end).map(|(_, node)| node)) {
            node.number(next);
        }
        self.slots = first..*next;
    }

    fn has_parts(&self) -> bool {
        self.slots.len() > usize::from(self.slot.is_some())
    }
}

/// The node under `key` in a list sorted by key.
fn entry<K: Ord>(children: &mut Vec<(K, Node)>, key: K) -> &mut Node {
    let at = match children.binary_search_by(|(known, _)| known.cmp(&key)) {
        Ok(at) => at,
        Err(at) => {
            children.insert(at, (key, Node::default()));
            at
        }
    };
    &mut children[at].1
}

fn find<'n>(children: &'n [(String, Node)], key: &str) -> Option<&'n Node> {
    if children.len() <= KEYS_COMPARED_MAX {
        return children.iter().find(|(known, _)| known == key).map(|(_, node)| node);
    }
    children.binary_search_by(|(known, _)| known.as_str().cmp(key)).ok().map(|at| &children[at].1)
}

/// What one walk carries along.
struct Walk<'w, 'p> {
    whole: &'p str,
    slots: &'w mut [Slot],
    careful: bool,
}

impl<'p> Walk<'_, 'p> {
    fn reborrow(&mut self) -> Walk<'_, 'p> {
        Walk { whole: self.whole, slots: self.slots, careful: self.careful }
    }

    fn keep(&mut self, slot: usize, raw: &'p str) {
        let start = raw.as_ptr().addr() - self.whole.as_ptr().addr();
        // A payload is at most 256 MiB (MQTT), so its positions fit 32 bits.
        self.slots[slot] = Some((start as u32, (start + raw.len()) as u32));
    }

    /// Goes on inside a value whose text is known.
    fn descend(&mut self, node: &Node, raw: &'p str) -> Result<(), serde_json::Error> {
        match raw.as_bytes().first() {
            Some(b'[') if !node.from_end.is_empty() => self.descend_from_end(node, raw),
            Some(b'{' | b'[') => Deserializer::from_str(raw).deserialize_any(Visit { node, walk: self.reborrow() }),
            _ => Ok(()),
        }
    }

    fn descend_from_end(&mut self, node: &Node, raw: &'p str) -> Result<(), serde_json::Error> {
        let elements: Vec<&'p RawValue> = serde_json::from_str(raw)?;
        for (index, element) in elements.iter().enumerate() {
            let from_end = elements.len() - index;
            let forward = node.indexes.iter().filter(|(at, _)| *at as usize == index);
            let backward = node.from_end.iter().filter(|(at, _)| *at as usize == from_end);
            for (_, child) in forward.chain(backward) {
                self.take(child, element.get())?;
            }
        }
        Ok(())
    }

    /// Takes a value whose text is known.
    fn take(&mut self, node: &Node, raw: &'p str) -> Result<(), serde_json::Error> {
        self.slots[node.slots.clone()].fill(None);
        if let Some(slot) = node.slot {
            self.keep(slot, raw);
        }
        if node.has_parts() { self.descend(node, raw) } else { Ok(()) }
    }
}

/// Visits the value at a node.
struct Visit<'n, 'w, 'p> {
    node: &'n Node,
    walk: Walk<'w, 'p>,
}

impl<'p> DeserializeSeed<'p> for Visit<'_, '_, 'p> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'p>>(mut self, deserializer: D) -> Result<(), D::Error> {
        let node = self.node;
        if node.slot.is_some() || !node.from_end.is_empty() || self.walk.careful {
            let raw: &'p RawValue = serde::Deserialize::deserialize(deserializer)?;
            return self.walk.take(node, raw.get()).map_err(D::Error::custom);
        }
        self.walk.slots[node.slots.clone()].fill(None);
        deserializer.deserialize_any(self)
    }
}

impl<'p> Visitor<'p> for Visit<'_, '_, 'p> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'p>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(child) = map.next_key_seed(Key { node: self.node })? {
            match child {
                Some(node) => map.next_value_seed(Visit { node, walk: self.walk.reborrow() })?,
                None => map.next_value::<IgnoredAny>().map(drop)?,
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'p>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let mut index = 0;
        for (wanted, node) in &self.node.indexes {
            while index < *wanted {
                if seq.next_element::<IgnoredAny>()?.is_none() {
                    return Ok(());
                }
                index += 1;
            }
            if seq.next_element_seed(Visit { node, walk: self.walk.reborrow() })?.is_none() {
                return Ok(());
            }
            index += 1;
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    // A scalar where parts are expected: the parts are missing.
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Looks an object's key up among a node's children.
struct Key<'n> {
    node: &'n Node,
}

impl<'p, 'n> DeserializeSeed<'p> for Key<'n> {
    type Value = Option<&'n Node>;

    fn deserialize<D: serde::Deserializer<'p>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'n> Visitor<'_> for Key<'n> {
    type Value = Option<&'n Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        let folded =
            || self.node.folded.iter().find(|(known, _)| known.eq_ignore_ascii_case(key)).map(|(_, node)| node);
        Ok(find(&self.node.keys, key).or_else(folded))
    }
}

fn is_json_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
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
