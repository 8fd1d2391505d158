//! Several rows from one message: the values of its payload, the elements of each value, one row for each element.
//!
//! ```text
//! payload ─ documents (payload/) ─ decode ─ where, transform (shaping) ─ for_each ─ for_each ─ row
//! ```
//!
//! All rows of a message are one unit: the first fault ends the mapping, and its error names the place. A message is
//! bounded by `max_rows_per_message`. A message that gives no row at all, for example an empty array, is filtered.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::payload::{
    Document, DocumentMemory, Element, Embedded, EmbeddedMemory, PathTree, PayloadFault, Scalars, Slot, TabularSlots,
    distinct_elements, documents, single_document, tabular_rows, whole_text,
};
use super::route::Match;
use super::shaping::{Shaping, ShapingFault, ShapingMemory};
use super::value::Value;
use crate::config::Decoding;
use crate::jq;
use crate::message::Message;

/// Where no program asks for the whole value.
const NO_WHOLE: jq::Input<'static> = jq::Input::Json("null");

/// What is done with a payload before its values meet the columns.
#[derive(Debug)]
pub(super) struct Stages {
    pub(super) form: Form,
    /// The paths of `payload`; under `transform`, those that its and `where`'s programs take.
    pub(super) tree: Arc<PathTree>,
    /// The form of their values.
    pub(super) scalars: Scalars,
    /// `decode`: strings of the payload.
    pub(super) embedded: Option<Box<Embedded>>,
    pub(super) shaping: Option<Box<Shaping>>,
    /// `for_each`, the outermost first; at most two.
    pub(super) levels: Box<[Level]>,
    /// `for_each: auto`, in place of them.
    pub(super) tabular: Option<Tabular>,
    pub(super) rows_max: usize,
}

/// What a payload is.
#[derive(Debug)]
pub(super) enum Form {
    Json,
    Text,
    /// To programs a base64 string.
    Bytes,
    Decoded(Arc<Decoding>),
}

/// One `for_each`.
#[derive(Debug)]
pub(super) struct Level {
    /// Where the array or object is: a slot of the tree above.
    pub(super) slot: usize,
    /// As the rule writes it.
    pub(super) path: Box<str>,
    /// `decode`: strings of its elements.
    pub(super) embedded: Option<Box<Embedded>>,
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
    embedded: EmbeddedMemory,
    shaping: ShapingMemory,
    levels: [LevelMemory; 2],
}

#[derive(Debug, Default)]
struct LevelMemory {
    slots: Vec<Slot>,
    embedded: EmbeddedMemory,
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
/// With the whole value, if a program takes it.
type EachRow<'r, F> = dyn FnMut(Document<'_>, jq::Input<'_>, Option<&Item<'_>>) -> Result<(), F> + 'r;

impl<F> From<PayloadFault> for Stopped<F> {
    fn from(fault: PayloadFault) -> Stopped<F> {
        Stopped::Payload(fault)
    }
}

impl<F> From<ShapingFault> for Stopped<F> {
    fn from(ShapingFault(reason, message): ShapingFault) -> Stopped<F> {
        Stopped::Level(reason, message)
    }
}

impl Item<'_> {
    /// As JSON.
    pub(super) fn text(&self) -> &str {
        &self.document.text[self.range.clone()]
    }
}

impl Stages {
    /// The paths of what columns take their values from.
    pub(super) fn fields(&self) -> &Arc<PathTree> {
        let transform = self.shaping.as_ref().and_then(|shaping| shaping.transform.as_ref());
        transform.map_or(&self.tree, |transform| &transform.tree)
    }

    /// Calls `row` for each row of the payload, with its element if there is a `for_each`.
    pub(super) fn run<F>(
        &self,
        message: &Message<'_>,
        matched: &Match,
        memory: &mut StageMemory,
        row: &mut EachRow<'_, F>,
    ) -> Result<(), Stopped<F>> {
        let StageMemory { documents: document_memory, embedded, shaping: shaping_memory, levels: level_memory } =
            memory;
        let payload = message.payload;
        let mut left = self.rows_max;
        let mut row = |document: Document<'_>, whole: jq::Input<'_>, item: Option<&Item<'_>>| {
            left = left.checked_sub(1).ok_or_else(|| self.too_many())?;
            row(document, whole, item).map_err(Stopped::Row)
        };
        let mut shaped = |document: Document<'_>, text: Option<&str>| match &self.shaping {
            None => self.rows_of(document, NO_WHOLE, level_memory, &mut row),
            Some(shaping) => {
                let mut each = |document: Document<'_>, whole: jq::Input<'_>| {
                    self.rows_of(document, whole, level_memory, &mut row)
                };
                shaping.run(document, text, (message, matched), shaping_memory, &mut each)
            }
        };
        let tree = self.embedded.as_ref().map_or(&*self.tree, |of_payload| of_payload.tree());
        let mut each = |document: Document<'_>| match &self.embedded {
            None => shaped(document, None),
            Some(of_payload) => {
                let decoded = of_payload.document(document, &self.tree, embedded);
                shaped(decoded.map_err(|fault| fault.within(document.line, &[]))?, None)
            }
        };
        match &self.form {
            Form::Json => single_document(payload, tree, document_memory, &mut each),
            Form::Decoded(decoding) => documents(decoding, payload, (tree, &self.scalars), document_memory, &mut each),
            Form::Text => {
                let text = whole_text(payload, document_memory)?;
                shaped(Document::of_json(text, &[]), Some(text))
            }
            Form::Bytes => shaped(Document::of_json("", &[]), Some(&STANDARD.encode(payload))),
        }
    }

    /// The rows of a document.
    fn rows_of<F>(
        &self,
        document: Document<'_>,
        whole: jq::Input<'_>,
        memory: &mut [LevelMemory; 2],
        row: &mut EachRow<'_, Stopped<F>>,
    ) -> Result<(), Stopped<F>> {
        let Some(Tabular { slots: at, tree }) = &self.tabular else {
            return self.elements_of(document, whole, None, &mut memory[..self.levels.len()], row);
        };
        let slots = &mut memory[0].slots;
        tabular_rows(document.text, document.slots, at, tree, slots, &mut |element: &Element<'_>, slots| {
            let item = Item {
                document: document.with_slots(slots),
                range: element.range.clone(),
                index: element.index,
                key: element.key,
                parent: None,
            };
            row(document, whole, Some(&item))
        })
    }

    /// The rows of a document, or of an element of it.
    fn elements_of<F>(
        &self,
        document: Document<'_>,
        whole: jq::Input<'_>,
        outer: Option<&Item<'_>>,
        memory: &mut [LevelMemory],
        row: &mut EachRow<'_, Stopped<F>>,
    ) -> Result<(), Stopped<F>> {
        // There is memory for each level that is left.
        let Some((own, memory)) = memory.split_first_mut() else { return row(document, whole, outer) };
        let LevelMemory { slots, embedded } = own;
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
        let tree = level.embedded.as_ref().map_or(&*level.tree, |of_elements| of_elements.tree());
        distinct_elements(above.text, range, tree, slots, &mut |element: &Element<'_>, slots| {
            let (mut of_element, mut range) = (above.with_slots(slots), element.range.clone());
            if let Some(of_elements) = &level.embedded {
                let places = [outer.map(|outer| outer.index), Some(element.index)];
                let decoded = of_elements.document(of_element, &level.tree, embedded);
                of_element = decoded.map_err(|fault| fault.within(document.line, &places))?;
                range = 0..of_element.text.len();
            }
            let item = Item { document: of_element, range, index: element.index, key: element.key, parent: outer };
            self.elements_of(document, whole, Some(&item), memory, row)
        })
    }

    #[cold]
    fn too_many<F>(&self) -> Stopped<F> {
        let why = format!("the message gives more than {} rows (`max_rows_per_message`)", self.rows_max);
        Stopped::Level("size", why)
    }
}
