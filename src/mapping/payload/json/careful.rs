//! The walk with serde_json, which decides whether a payload is JSON and explains what is wrong.
//!
//! Each value at a path is taken as raw text first and parsed afterwards, so a scalar is not parsed where the path
//! expects an object or array. A number that no float holds, or a string with half a surrogate pair, thus does not
//! spoil the payload.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer as _, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Deserializer;
use serde_json::value::RawValue;

use super::super::tree::{Node, Slot};

/// Finds the wanted values of `text`; `slots` are empty before.
pub(super) fn walk(text: &str, root: &Node, slots: &mut [Slot]) -> Result<(), serde_json::Error> {
    let mut deserializer = Deserializer::from_str(text);
    Visit { node: root, walk: Walk { whole: text, slots } }.deserialize(&mut deserializer)?;
    deserializer.end()
}

/// Finds the wanted values of a part of `text`, which is one value.
pub(super) fn walk_part(
    text: &str,
    part: std::ops::Range<usize>,
    node: &Node,
    slots: &mut [Slot],
) -> Result<(), serde_json::Error> {
    Walk { whole: text, slots }.take(node, &text[part])
}

/// What one walk carries along.
struct Walk<'w, 'p> {
    whole: &'p str,
    slots: &'w mut [Slot],
}

impl<'p> Walk<'_, 'p> {
    fn reborrow(&mut self) -> Walk<'_, 'p> {
        Walk { whole: self.whole, slots: self.slots }
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
        let raw: &'p RawValue = serde::Deserialize::deserialize(deserializer)?;
        self.walk.take(self.node, raw.get()).map_err(D::Error::custom)
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
        Ok(self.node.member(key.as_bytes(), &mut 0))
    }
}
