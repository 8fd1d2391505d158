//! Rows in whichever of the usual shapes they come: an object, an array of values, an array of either, or
//! `{"data":{"columns":[…],"rows":[[…],…]}}`.

use std::borrow::Cow;

use super::super::PayloadFault;
use super::super::tree::{Node, Path, PathTree, Slot};
use super::elements::{EachElement, Element, elements};
use super::walk_part;
use crate::rule::Step;

/// Where the shapes show: paths of the payload, and their slots once they are compiled.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::mapping) struct TabularSlots {
    whole: usize,
    columns: usize,
    rows: usize,
}

impl TabularSlots {
    /// Adds the paths; the slots are indexes of them until [`TabularSlots::compiled`].
    pub(in crate::mapping) fn place(paths: &mut Vec<Path>) -> TabularSlots {
        let key = |name: &str| Step::Key(name.to_owned());
        let mut place = |steps: Vec<Step>| {
            paths.push(Path::Steps(steps));
            paths.len() - 1
        };
        TabularSlots {
            whole: place(Vec::new()),
            columns: place(vec![key("data"), key("columns")]),
            rows: place(vec![key("data"), key("rows")]),
        }
    }

    pub(in crate::mapping) fn compiled(self, slots: &[usize]) -> TabularSlots {
        TabularSlots { whole: slots[self.whole], columns: slots[self.columns], rows: slots[self.rows] }
    }
}

/// Calls `each` with every row of a document, and with the wanted values in it as ranges of `text`. `document` are the
/// document's slots, `tree` has the paths of a row.
pub(in crate::mapping) fn rows<E: From<PayloadFault>>(
    text: &str,
    document: &[Slot],
    at: &TabularSlots,
    tree: &PathTree,
    slots: &mut Vec<Slot>,
    each: &mut EachElement<'_, E>,
) -> Result<(), E> {
    let Some(whole) = document[at.whole] else { return Ok(()) };
    let range = whole.0 as usize..whole.1 as usize;
    let raw = &text[range.clone()];
    match raw.as_bytes().first() {
        Some(b'[') if is_list_of_rows(raw) => return elements(text, whole, tree, slots, each),
        Some(b'{') => {
            if let (Some(columns), Some(rows)) = (document[at.columns], document[at.rows]) {
                return columned(text, columns, rows, tree, slots, each);
            }
        }
        Some(b'[') => {}
        _ => return Err(PayloadFault::parse("the payload is neither an object nor an array").into()),
    }
    slots.clear();
    slots.resize(tree.slot_count, None);
    walk_part(text, range.clone(), &tree.root, slots)?;
    each(&Element { index: 0, key: None, range }, slots)
}

/// Whether the array's elements are rows and not values: it is empty, or begins with an array or object.
fn is_list_of_rows(raw: &str) -> bool {
    matches!(raw[1..].trim_start().as_bytes().first(), Some(b'[' | b'{' | b']'))
}

/// `columns` names the values of every one of `rows`.
fn columned<E: From<PayloadFault>>(
    text: &str,
    columns: (u32, u32),
    rows: (u32, u32),
    tree: &PathTree,
    slots: &mut Vec<Slot>,
    each: &mut EachElement<'_, E>,
) -> Result<(), E> {
    let slice = |(start, end): (u32, u32)| &text[start as usize..end as usize];
    let names: Vec<Cow<'_, str>> = serde_json::from_str(slice(columns))
        .map_err(|_| PayloadFault::parse("`data.columns` is not an array of names"))?;
    if !slice(rows).starts_with('[') {
        return Err(PayloadFault::parse("`data.rows` is not an array of rows").into());
    }
    let nodes: Vec<Option<&Node>> = names.iter().map(|name| tree.root.member(name.as_bytes(), &mut 0)).collect();
    let nothing = PathTree::default();
    let mut unused = Vec::new();
    let mut values = Vec::new();
    elements(text, rows, &nothing, &mut unused, &mut |row, _| {
        values.clear();
        let range = (row.range.start as u32, row.range.end as u32);
        if !text[row.range.clone()].starts_with('[') {
            return Err(PayloadFault::parse(format!("row {} of `data.rows` is not an array", row.index)).into());
        }
        elements(text, range, &nothing, &mut Vec::new(), &mut |value, _| {
            values.push(value.range.clone());
            Ok::<(), E>(())
        })?;
        if values.len() != nodes.len() {
            let (index, found, wanted) = (row.index, values.len(), nodes.len());
            let why = format!("row {index} of `data.rows` has {found} values, and `data.columns` names {wanted}");
            return Err(PayloadFault::parse(why).into());
        }
        slots.clear();
        slots.resize(tree.slot_count, None);
        for (value, node) in values.iter().zip(&nodes) {
            if let Some(node) = node {
                walk_part(text, value.clone(), node, slots)?;
            }
        }
        each(row, slots)
    })
}
