//! JSON in a payload that had to be decoded first, and newline-delimited JSON: each value is walked in place.

use super::picked::Picked;
use super::tree::PathTree;
use super::{Document, Each, PayloadFault};

/// One value.
pub(super) fn json<E: From<PayloadFault>>(
    text: &str,
    tree: &PathTree,
    picked: &mut Picked,
    each: Each<'_, E>,
) -> Result<(), E> {
    tree.pick_text(text, &mut picked.slots).map_err(|fault| PayloadFault::parse(fault.0))?;
    each(Document::of_json(text, &picked.slots))
}

/// A value a line. Lines of nothing but space are passed over.
pub(super) fn documents<E: From<PayloadFault>>(
    text: &str,
    tree: &PathTree,
    picked: &mut Picked,
    each: Each<'_, E>,
) -> Result<(), E> {
    let mut is_empty = true;
    for (number, line) in lines(text) {
        is_empty = false;
        tree.pick_text(line, &mut picked.slots)
            .map_err(|fault| PayloadFault::parse(format!("line {number}: {}", fault.0)))?;
        each(Document { line: Some(number), ..Document::of_json(line, &picked.slots) })?;
    }
    if is_empty { Err(PayloadFault::empty().into()) } else { Ok(()) }
}

/// One value, or a value a line: what the first line is by itself decides.
pub(super) fn either<E: From<PayloadFault>>(
    text: &str,
    tree: &PathTree,
    picked: &mut Picked,
    each: Each<'_, E>,
) -> Result<(), E> {
    let Err(whole_fault) = tree.pick_text(text, &mut picked.slots) else {
        return each(Document::of_json(text, &picked.slots));
    };
    let begins_with_value = lines(text).next().is_some_and(|(_, line)| tree.pick_text(line, &mut picked.slots).is_ok());
    match begins_with_value {
        true => documents(text, tree, picked, each),
        false => Err(PayloadFault::parse(whole_fault.0).into()),
    }
}

/// The lines that are not empty, with their numbers, without the carriage return of CR LF.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let ends = memchr::memchr_iter(b'\n', text.as_bytes()).chain([text.len()]);
    let lines = ends.scan(0, |start, end| {
        let line = &text[*start..end];
        *start = end + 1;
        Some(line.strip_suffix('\r').unwrap_or(line))
    });
    (1..).zip(lines).filter(|(_, line)| !line.trim_ascii().is_empty())
}
