//! One message, several rows: the values of its payload, then the elements of each, one row for each.
//!
//! ```text
//! payload ─ documents (payload/) ─ for_each ─ for_each ─ row
//! ```
//!
//! All rows of a message belong together: the first fault ends it, and says where it lies. A message is bounded by
//! `max_rows_per_message`; what gives no row at all, such as an empty array, is filtered.

use std::sync::Arc;

use super::payload::{
    Document, DocumentMemory, Element, PathTree, PayloadFault, Slot, TabularSlots, documents, elements,
    single_document, tabular_rows,
};
use super::value::Value;
use crate::config::Decoding;

/// What is done with a payload before its values meet the columns.
#[derive(Debug)]
pub(super) struct Stages {
    /// `None` for plain JSON.
    pub(super) decoding: Option<Arc<Decoding>>,
    /// The paths of `payload`.
    pub(super) tree: Arc<PathTree>,
    /// `for_each`, the outermost first; at most two.
    pub(super) levels: Box<[Level]>,
    /// `for_each: auto`, in place of them.
    pub(super) tabular: Option<Tabular>,
    pub(super) rows_max: usize,
}

/// One `for_each`.
#[derive(Debug)]
pub(super) struct Level {
    /// Where the array or object is: a slot of the tree above.
    pub(super) slot: usize,
    /// As the rule writes it.
    pub(super) path: Box<str>,
    /// The paths of its elements.
    pub(super) tree: Arc<PathTree>,
}

/// Rows in whichever of the usual shapes they come.
#[derive(Debug)]
pub(super) struct Tabular {
    pub(super) slots: TabularSlots,
    /// The paths of a row.
    pub(super) tree: Arc<PathTree>,
}

/// An element at hand.
#[derive(Debug)]
pub(super) struct Item<'i> {
    /// Slots are those of its level's tree.
    pub(super) document: Document<'i>,
    /// The element itself, in the document's text.
    pub(super) range: std::ops::Range<usize>,
    pub(super) index: usize,
    pub(super) key: Option<Value<'i>>,
    /// Of a nested `for_each`.
    pub(super) parent: Option<&'i Item<'i>>,
}

/// Memory reused from message to message.
#[derive(Debug, Default)]
pub(super) struct StageMemory {
    documents: DocumentMemory,
    levels: [Vec<Slot>; 2],
}

/// Why a message gives no rows: `F` is what a row was refused for.
#[derive(Debug)]
pub(super) enum Stopped<F> {
    Payload(PayloadFault),
    /// The value at a `for_each`: a dead letter's reason and a sentence.
    Level(&'static str, String),
    Row(F),
}

/// Takes what a row is made of.
type EachRow<'r, F> = dyn FnMut(Document<'_>, Option<&Item<'_>>) -> Result<(), F> + 'r;

impl<F> From<PayloadFault> for Stopped<F> {
    fn from(fault: PayloadFault) -> Stopped<F> {
        Stopped::Payload(fault)
    }
}

impl Stages {
    /// Calls `row` for each row of the payload, with its element if there is a `for_each`.
    pub(super) fn run<F>(
        &self,
        payload: &[u8],
        memory: &mut StageMemory,
        row: &mut EachRow<'_, F>,
    ) -> Result<(), Stopped<F>> {
        let StageMemory { documents: document_memory, levels: level_memory } = memory;
        let mut left = self.rows_max;
        let mut row = |document: Document<'_>, item: Option<&Item<'_>>| {
            left = left.checked_sub(1).ok_or_else(|| self.too_many())?;
            row(document, item).map_err(Stopped::Row)
        };
        if let Some(tabular) = &self.tabular {
            return self.run_tabular(tabular, payload, document_memory, &mut level_memory[0], &mut row);
        }
        let level_memory = &mut level_memory[..self.levels.len()];
        let mut document = |document: Document<'_>| self.elements_of(document, None, level_memory, &mut row);
        match &self.decoding {
            Some(decoding) => documents(decoding, payload, &self.tree, document_memory, &mut document),
            None => single_document(payload, &self.tree, document_memory, &mut document),
        }
    }

    fn run_tabular<F>(
        &self,
        tabular: &Tabular,
        payload: &[u8],
        memory: &mut DocumentMemory,
        slots: &mut Vec<Slot>,
        row: &mut EachRow<'_, Stopped<F>>,
    ) -> Result<(), Stopped<F>> {
        let mut document = |document: Document<'_>| {
            let Tabular { slots: at, tree } = tabular;
            tabular_rows(document.text, document.slots, at, tree, slots, &mut |element: &Element<'_>, slots| {
                let item = Item {
                    document: document.with_slots(slots),
                    range: element.range.clone(),
                    index: element.index,
                    key: element.key,
                    parent: None,
                };
                row(document, Some(&item))
            })
        };
        match &self.decoding {
            Some(decoding) => documents(decoding, payload, &self.tree, memory, &mut document),
            None => single_document(payload, &self.tree, memory, &mut document),
        }
    }

    /// The rows of a document, or of an element of it.
    fn elements_of<F>(
        &self,
        document: Document<'_>,
        outer: Option<&Item<'_>>,
        memory: &mut [Vec<Slot>],
        row: &mut EachRow<'_, Stopped<F>>,
    ) -> Result<(), Stopped<F>> {
        // There is memory for each level that is left.
        let Some((slots, memory)) = memory.split_first_mut() else { return row(document, outer) };
        let level = &self.levels[self.levels.len() - 1 - memory.len()];
        let above = outer.map_or(document, |outer| outer.document);
        let Some(range) = above.slots[level.slot] else {
            return Err(Stopped::Level("required", format!("{}: there is none", level.path)));
        };
        match above.value(range) {
            // An empty list, as devices write it.
            None => return Ok(()),
            Some(Value::Tree(_)) => {}
            Some(other) => {
                let why = format!("{}: {} where an array or an object is expected", level.path, other.kind());
                return Err(Stopped::Level("value", why));
            }
        }
        elements(above.text, range, &level.tree, slots, &mut |element: &Element<'_>, slots| {
            let item = Item {
                document: above.with_slots(slots),
                range: element.range.clone(),
                index: element.index,
                key: element.key,
                parent: outer,
            };
            self.elements_of(document, Some(&item), memory, row)
        })
    }

    #[cold]
    fn too_many<F>(&self) -> Stopped<F> {
        let why = format!("the message gives more than {} rows (`max_rows_per_message`)", self.rows_max);
        Stopped::Level("size", why)
    }
}
