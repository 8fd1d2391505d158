//! A YAML mapping during parsing, when keys and values alternate. A duplicate or invalid key is cut out of the tree and
//! reported with its position.

use std::collections::HashMap;
use std::ops::Range;

use super::report::Position;
use super::tree::{Kind, Slot, Tree};

/// Every key path repeats the keys above it, so that long ones would add up.
const KEY_BYTES_MAX: usize = 1000;

/// A mapping that is still being read: keys and values come in turn.
#[derive(Default)]
pub(super) struct OpenMapping {
    entries: usize,
    /// The slots of the keys by their texts, once there are so many that looking through them would take long.
    seen: Option<HashMap<String, usize>>,
    /// The values of `<<`.
    pub(super) merges: Vec<Box<[Slot]>>,
    /// The key whose value comes next.
    pub(super) key: Option<Key>,
}

/// A key that cannot be taken.
pub(super) struct Clash {
    pub(super) key: String,
    pub(super) position: Position,
    pub(super) problem: String,
}

pub(super) struct Key {
    /// Its slot.
    pub(super) at: usize,
    is_merge: bool,
}

impl OpenMapping {
    /// Takes the last node of the tree, which stands at `at`, as a key or, in its turn, as a value. The mapping stands
    /// at `mapping`.
    pub(super) fn take(&mut self, tree: &mut Tree, mapping: usize, at: usize) -> Result<(), Clash> {
        let Some(key) = self.key.take() else {
            let (key, fault) = Key::of(tree, at);
            let (text, position) = (tree.text_at(key.at).to_owned(), tree.node(key.at).position());
            self.key = Some(key);
            return fault.map_or(Ok(()), |problem| Err(Clash { key: text, position, problem: problem.to_owned() }));
        };
        if key.is_merge {
            self.merges.push(tree.copy(at));
            tree.cut(key.at);
            return Ok(());
        }
        let text = tree.text_at(key.at);
        if let Some(first) = self.find(tree, mapping + 1..key.at, text) {
            let (first, position) = (tree.node(first).position(), tree.node(key.at).position());
            let clash = Clash { key: text.to_owned(), position, problem: format!("was given before, at {first}") };
            tree.cut(key.at);
            return Err(clash);
        }
        self.count(tree, mapping, key.at);
        Ok(())
    }

    /// The slot of the key that equals `text`, if there is one; `entries` are the mapping's so far.
    pub(super) fn find(&self, tree: &Tree, entries: Range<usize>, text: &str) -> Option<usize> {
        match &self.seen {
            Some(seen) => seen.get(text).copied(),
            None => tree.keys(entries).find(|key| tree.text_at(*key) == text),
        }
    }

    /// Notes that the entry at the end of the tree stays.
    pub(super) fn count(&mut self, tree: &Tree, mapping: usize, key: usize) {
        // Most mappings are smaller, and faster looked through than hashed.
        const LOOKED_THROUGH_MAX: usize = 16;
        self.entries += 1;
        match &mut self.seen {
            Some(seen) => {
                seen.insert(tree.text_at(key).to_owned(), key);
            }
            None if self.entries >= LOOKED_THROUGH_MAX => {
                let keys = tree.keys(mapping + 1..tree.end());
                self.seen = Some(keys.map(|key| (tree.text_at(key).to_owned(), key)).collect());
            }
            None => {}
        }
    }
}

impl Key {
    /// The key that the node at `at` becomes, and what is wrong with it.
    pub(super) fn of(tree: &mut Tree, at: usize) -> (Key, Option<&'static str>) {
        let fault = match tree.node(at).kind() {
            Kind::Scalar(_) if tree.text_at(at).len() > KEY_BYTES_MAX => Some("is longer than 1000 bytes"),
            Kind::Scalar(_) => None,
            Kind::Sequence(_) | Kind::Mapping(_) => Some("is a list or a mapping; keys are words"),
        };
        let is_merge = tree.is_plain(at) && tree.text_at(at) == "<<";
        tree.make_key(at, fault.is_none());
        (Key { at, is_merge }, fault)
    }
}
