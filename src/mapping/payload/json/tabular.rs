//! Rows in one of the usual shapes: an object, an array of values, an array of either, or
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
    /// A name in `columns` that is no column is a fault.
    loses_nothing: bool,
    /// `rows` may come without `columns`, as Machbase takes them.
    is_convention: bool,
}

impl TabularSlots {
    /// Adds the paths; the slots are indexes of them until [`TabularSlots::compiled`].
    pub(in crate::mapping) fn place(paths: &mut Vec<Path>, loses_nothing: bool, is_convention: bool) -> TabularSlots {
        let key = |name: &str| Step::Key(name.to_owned());
        let mut place = |steps: Vec<Step>| {
            paths.push(Path::Steps(steps));
            paths.len() - 1
        };
        TabularSlots {
            whole: place(Vec::new()),
            columns: place(vec![key("data"), key("columns")]),
            rows: place(vec![key("data"), key("rows")]),
            loses_nothing,
            is_convention,
        }
    }

    pub(in crate::mapping) fn compiled(self, slots: &[usize]) -> TabularSlots {
        let (whole, columns, rows) = (slots[self.whole], slots[self.columns], slots[self.rows]);
        TabularSlots { whole, columns, rows, ..self }
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
        Some(b'{') => match (document[at.columns], document[at.rows]) {
            (Some(columns), Some(rows)) => return columned(text, (columns, rows), at, tree, slots, each),
            (None, Some(rows)) if at.is_convention && is_list_of_rows(&text[rows.0 as usize..rows.1 as usize]) => {
                return elements(text, rows, tree, slots, each);
            }
            _ => {}
        },
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
    let Some(inside) = raw.strip_prefix('[') else { return false };
    matches!(inside.trim_start().as_bytes().first(), Some(b'[' | b'{' | b']'))
}

/// `columns` names the values of every one of `rows`.
fn columned<E: From<PayloadFault>>(
    text: &str,
    (columns, rows): ((u32, u32), (u32, u32)),
    at: &TabularSlots,
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
    if let Some((name, _)) = names.iter().zip(&nodes).find(|(_, node)| at.loses_nothing && node.is_none()) {
        let message = format!(
            "`data.columns` names `{name}`, which no column takes; `unmapped` does not reach these names: add the column to the table"
        );
        return Err(PayloadFault { reason: "value", message }.into());
    }
    // Of names that differ only in case, one that is a column's own stands for that column alone.
    let is_own = |at: usize| tree.root.keys.find(names[at].as_bytes()).is_some();
    let is_same = |at: usize, other: usize| match is_own(at) && is_own(other) {
        true => names[at] == names[other],
        false => names[at].eq_ignore_ascii_case(&names[other]),
    };
    // Only names of columns are compared, which are few before the first comes again.
    let is_second = |at: &usize| nodes[*at].is_some() && (0..*at).any(|other| is_same(*at, other));
    if let Some(second) = (0..nodes.len()).find(is_second) {
        let message = format!("`data.columns` names a column twice: `{}`", names[second]);
        return Err(PayloadFault { reason: "value", message }.into());
    }
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
