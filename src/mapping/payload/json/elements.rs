//! The elements of an array, or the entries of an object, one after the other, each with the wanted values in it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

use indexmap::IndexMap;
use serde_json::value::RawValue;

use super::super::PayloadFault;
use super::super::tree::{PathTree, Slot};
use super::{quick, walk_part};
use crate::mapping::value::Value;

/// One element or entry.
#[derive(Debug)]
pub(in crate::mapping) struct Element<'t> {
    /// From 0, of entries too.
    pub(in crate::mapping) index: usize,
    /// An entry's.
    pub(in crate::mapping) key: Option<Value<'t>>,
    /// Where it stands in the text.
    pub(in crate::mapping) range: Range<usize>,
}

/// Takes an element and the wanted values in it.
pub(super) type EachElement<'e, E> = dyn FnMut(&Element<'_>, &[Slot]) -> Result<(), E> + 'e;

/// Calls `each` with every element of the array or object that stands in `part` of `text`, which is valid JSON, and with
/// the wanted values in it as ranges of `text`.
pub(in crate::mapping) fn elements<E: From<PayloadFault>>(
    text: &str,
    part: (u32, u32),
    tree: &PathTree,
    slots: &mut Vec<Slot>,
    each: &mut EachElement<'_, E>,
) -> Result<(), E> {
    let part = part.0 as usize..part.1 as usize;
    slots.clear();
    slots.resize(tree.slot_count, None);
    let mut done = Done::default();
    let mut counted = |element: &Element<'_>, slots: &[Slot]| {
        done = Done { count: done.count + 1, end: element.range.end };
        each(element, slots)
    };
    match quick::elements(text, part.clone(), &tree.root, slots, &mut counted) {
        Some(result) => result,
        // Too deep for the quick walk, from some element on.
        None => rest(text, part, tree, slots, done, each),
    }
}

/// As [`elements`], but of entries with equal keys only the last counts; it takes the place of the first.
pub(in crate::mapping) fn distinct_elements<E: From<PayloadFault>>(
    text: &str,
    part: (u32, u32),
    tree: &PathTree,
    slots: &mut Vec<Slot>,
    each: &mut EachElement<'_, E>,
) -> Result<(), E> {
    let range = part.0 as usize..part.1 as usize;
    let is_object = text[range.clone()].trim_start().starts_with('{');
    if !is_object || has_distinct_keys(text, range.clone()) {
        return elements(text, part, tree, slots, each);
    }
    slots.clear();
    slots.resize(tree.slot_count, None);
    rest(text, range, tree, slots, Done::default(), each)
}

/// Whether the keys of an object are known to differ. Of a key with an escape, and of an object that is too deep for the
/// quick walk, nothing is known.
fn has_distinct_keys(text: &str, part: Range<usize>) -> bool {
    let mut hashes = Vec::new();
    let mut add = |element: &Element<'_>, _: &[Slot]| match element.key {
        Some(Value::JsonString(raw)) if !raw.contains('\\') => {
            hashes.push(hash_of(raw));
            Ok(())
        }
        _ => Err(()),
    };
    let nothing = PathTree::default();
    if quick::elements(text, part, &nothing.root, &mut [], &mut add) != Some(Ok(())) {
        return false;
    }
    hashes.sort_unstable();
    hashes.windows(2).all(|pair| pair[0] != pair[1])
}

fn hash_of(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// The elements that were seen.
#[derive(Debug, Clone, Copy, Default)]
struct Done {
    count: usize,
    /// Where the last of them ends in the text.
    end: usize,
}

/// Those behind the ones that are done. Of entries with equal keys among them only the last counts.
fn rest<E: From<PayloadFault>>(
    text: &str,
    part: Range<usize>,
    tree: &PathTree,
    slots: &mut [Slot],
    done: Done,
    each: &mut EachElement<'_, E>,
) -> Result<(), E> {
    let unreadable = |_| E::from(PayloadFault::parse("an array or object of the payload cannot be read"));
    let raw = &text[part];
    let entries: Vec<(Option<String>, &RawValue)> = match raw.trim_start().starts_with('[') {
        true => {
            let all: Vec<&RawValue> = serde_json::from_str(raw).map_err(unreadable)?;
            all.into_iter().map(|value| (None, value)).collect()
        }
        false => {
            let all: IndexMap<String, &RawValue> = serde_json::from_str(raw).map_err(unreadable)?;
            all.into_iter().map(|(key, value)| (Some(key), value)).collect()
        }
    };
    let start_of = |value: &RawValue| value.get().as_ptr().addr() - text.as_ptr().addr();
    let open = entries.iter().filter(|(_, value)| start_of(value) >= done.end);
    for (index, (key, value)) in (done.count..).zip(open) {
        let start = start_of(value);
        let range = start..start + value.get().len();
        slots.fill(None);
        walk_part(text, range.clone(), &tree.root, slots)?;
        each(&Element { index, key: key.as_deref().map(Value::Text), range }, slots)?;
    }
    Ok(())
}
