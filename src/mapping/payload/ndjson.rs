//! Newline-delimited JSON: each line one value, walked where it lies. Lines of nothing but space are passed over.

use super::picked::Picked;
use super::tree::PathTree;
use super::{Document, PayloadFault};

pub(super) fn documents<E: From<PayloadFault>>(
    payload: &[u8],
    tree: &PathTree,
    picked: &mut Picked,
    each: &mut dyn FnMut(Document<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut is_empty = true;
    for (index, line) in lines(payload).enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        is_empty = false;
        let line_number = index + 1;
        let text = tree
            .pick(line, &mut picked.slots)
            .map_err(|fault| PayloadFault::parse(format!("line {line_number}: {}", fault.0)))?;
        each(Document { text, slots: &picked.slots, line: Some(line_number), binaries: &[], bytes: &[] })?;
    }
    if is_empty { Err(PayloadFault::parse("the payload is empty").into()) } else { Ok(()) }
}

/// The parts between line feeds.
fn lines(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = memchr::memchr_iter(b'\n', payload).chain([payload.len()]);
    ends.scan(0, |start, end| {
        let line = &payload[*start..end];
        *start = end + 1;
        Some(line)
    })
}
