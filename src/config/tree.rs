//! bridge.yaml as a tree in which every key and value has its position, in two allocations.
//!
//! Ten thousand rules are 700,000 keys and values. With a string and a list for each, every value would take some
//! hundreds of bytes in small allocations, scattered between the rules, so their memory could not be returned to the
//! system. Here each value is a [`Slot`] of 20 bytes, and the texts are stored one after another.
//!
//! Slots are in the order of the file: a collection before its content, a key before its value. So a whole value
//! is a range of slots, which aliases copy and faults cut off.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::report::Position;
use super::yaml_core::{Core, resolve_plain};

/// A document. Not `Debug`: what variables filled in may be a secret.
#[derive(Default)]
pub(crate) struct Tree {
    slots: Vec<Slot>,
    texts: String,
    /// The substituted texts of scalars, by slot; the original text stays in place.
    filled: HashMap<usize, String>,
    /// Where it was read from.
    pub(super) file: PathBuf,
}

/// One key or value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    form: Form,
    line: u32,
    column: u32,
    /// Where the text begins; 0 for a collection.
    begin: u32,
    /// Bytes of the text, or slots of the collection, its own included.
    extent: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Key,
    Scalar {
        /// Without quotes.
        plain: bool,
        reading: Reading,
    },
    Sequence,
    Mapping,
}

/// How a scalar is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// As the core schema has it.
    Core,
    /// As text, whatever it looks like.
    Text,
    /// As nothing: variables filled it with that, or could not fill it.
    Nothing,
}

impl Slot {
    pub(super) fn position(&self) -> Position {
        Position { line: self.line as usize, column: self.column as usize }
    }

    /// Slots that it takes with everything in it.
    fn size(&self) -> usize {
        match self.form {
            Form::Key | Form::Scalar { .. } => 1,
            Form::Sequence | Form::Mapping => self.extent as usize,
        }
    }
}

/// A file has 8 MiB at most, and bounded nodes.
fn narrow(number: usize) -> u32 {
    u32::try_from(number).expect("what a configuration file counts fits 32 bits")
}

/// For the reader, which builds the tree at its end.
impl Tree {
    /// The slot that comes next.
    pub(super) fn end(&self) -> usize {
        self.slots.len()
    }

    /// Appends a scalar; its slot.
    pub(super) fn push_scalar(&mut self, text: &str, plain: bool, reading: Reading, position: Position) -> usize {
        let begin = self.texts.len();
        self.texts.push_str(text);
        self.push(Form::Scalar { plain, reading }, position, begin, text.len())
    }

    /// Begins a collection, to be ended by `close`; its slot.
    pub(super) fn open(&mut self, form: Form, position: Position) -> usize {
        self.push(form, position, 0, 1)
    }

    /// What was appended since a collection was opened is in it.
    pub(super) fn close(&mut self, collection: usize) {
        self.slots[collection].extent = narrow(self.slots.len() - collection);
    }

    fn push(&mut self, form: Form, position: Position, begin: usize, extent: usize) -> usize {
        let (line, column) = (narrow(position.line), narrow(position.column));
        self.slots.push(Slot { form, line, column, begin: narrow(begin), extent: narrow(extent) });
        self.slots.len() - 1
    }

    /// Makes a key of the last value: of its text, or an empty one.
    pub(super) fn make_key(&mut self, value: usize, has_text: bool) {
        self.slots.truncate(value + 1);
        let slot = &mut self.slots[value];
        slot.form = Form::Key;
        if !has_text {
            (slot.begin, slot.extent) = (0, 0);
        }
    }

    /// Takes back everything from a slot on.
    pub(super) fn cut(&mut self, from: usize) {
        self.slots.truncate(from);
    }

    /// A copy of everything from a slot on.
    pub(super) fn copy(&self, from: usize) -> Box<[Slot]> {
        self.slots[from..].into()
    }

    /// Appends a copied value, which stands at a place of its own; its slot.
    pub(super) fn paste_value(&mut self, value: &[Slot], position: Position) -> usize {
        let at = self.slots.len();
        self.slots.extend_from_slice(value);
        (self.slots[at].line, self.slots[at].column) = (narrow(position.line), narrow(position.column));
        at
    }

    /// Appends a copied key and its value.
    pub(super) fn paste_entry(&mut self, entry: &[Slot]) {
        self.slots.extend_from_slice(entry);
    }

    /// The slots of the keys, if these slots are the inside of a mapping or the beginning of it.
    pub(super) fn keys(&self, entries: Range<usize>) -> impl Iterator<Item = usize> {
        let mut next = entries.start;
        std::iter::from_fn(move || {
            let key = (next < entries.end).then_some(next)?;
            next = key + 1 + self.slots[key + 1].size();
            Some(key)
        })
    }

    /// Whether an unquoted scalar stands there.
    pub(super) fn is_plain(&self, at: usize) -> bool {
        matches!(self.slots[at].form, Form::Scalar { plain: true, .. })
    }

    /// The text of the key or scalar at a slot, as it stands in the file; empty for a collection.
    pub(super) fn text_at(&self, at: usize) -> &str {
        self.text_of(&self.slots[at])
    }

    pub(super) fn text_of(&self, slot: &Slot) -> &str {
        match slot.form {
            Form::Key | Form::Scalar { .. } => &self.texts[slot.begin as usize..][..slot.extent as usize],
            Form::Sequence | Form::Mapping => "",
        }
    }
}

/// The values of a copied sequence; `None` if it is none.
pub(super) fn items(value: &[Slot]) -> Option<impl Iterator<Item = &[Slot]>> {
    let (first, inside) = value.split_first()?;
    (first.form == Form::Sequence).then(|| parts(inside, 0))
}

/// The entries of a copied mapping, each a key and its value; `None` if it is none.
pub(super) fn entries(value: &[Slot]) -> Option<impl Iterator<Item = &[Slot]>> {
    let (first, inside) = value.split_first()?;
    (first.form == Form::Mapping).then(|| parts(inside, 1))
}

/// Values, each with so many keys before it.
fn parts(mut rest: &[Slot], keys: usize) -> impl Iterator<Item = &[Slot]> {
    std::iter::from_fn(move || {
        let size = keys + rest.get(keys)?.size();
        let (part, after) = rest.split_at(size);
        rest = after;
        Some(part)
    })
}

/// For whoever reads the finished document.
impl Tree {
    /// The whole document; `None` if it is empty.
    pub(crate) fn root(&self) -> Option<Node<'_>> {
        (!self.slots.is_empty()).then(|| self.node(0))
    }

    /// The value at a [`Node::index`].
    pub(super) fn node(&self, index: usize) -> Node<'_> {
        Node { tree: self, index }
    }

    /// Puts what variables made of a scalar in its place. It is text then; only nothing is nothing: `username: ${USER:-}`
    /// leaves the key out.
    pub(super) fn fill(&mut self, index: usize, filled: String) {
        if let Form::Scalar { plain, reading } = &mut self.slots[index].form {
            *reading = if *plain && filled.is_empty() { Reading::Nothing } else { Reading::Text };
            self.filled.insert(index, filled);
        }
    }

    /// Notes that variables could not fill a scalar.
    pub(super) fn leave_unfilled(&mut self, index: usize) {
        if let Form::Scalar { reading, .. } = &mut self.slots[index].form {
            *reading = Reading::Nothing;
        }
    }

    /// The texts that variables were filled into, as they stand in the file.
    pub(super) fn written(&self) -> impl Iterator<Item = &str> {
        self.filled.keys().map(|index| self.text_at(*index))
    }
}

/// A value of the tree.
#[derive(Clone, Copy)]
pub(crate) struct Node<'t> {
    tree: &'t Tree,
    index: usize,
}

/// What a value is.
pub(crate) enum Kind<'t> {
    Scalar(Core),
    Sequence(Items<'t>),
    Mapping(Entries<'t>),
}

/// An entry of a mapping.
pub(crate) struct Entry<'t> {
    pub key: &'t str,
    pub key_position: Position,
    pub value: Node<'t>,
}

impl<'t> Node<'t> {
    fn slot(self) -> &'t Slot {
        &self.tree.slots[self.index]
    }

    /// What it is known by in its tree.
    pub(super) fn index(self) -> usize {
        self.index
    }

    pub(crate) fn position(self) -> Position {
        self.slot().position()
    }

    /// The file that it stands in.
    pub(super) fn file(self) -> &'t Path {
        &self.tree.file
    }

    pub(crate) fn kind(self) -> Kind<'t> {
        let below = Below { tree: self.tree, next: self.index + 1, end: self.index + self.slot().size() };
        match self.slot().form {
            Form::Sequence => Kind::Sequence(Items(below)),
            Form::Mapping => Kind::Mapping(Entries(below)),
            Form::Key | Form::Scalar { reading: Reading::Text, .. } => Kind::Scalar(Core::Text),
            Form::Scalar { reading: Reading::Nothing, .. } => Kind::Scalar(Core::Null),
            Form::Scalar { reading: Reading::Core, .. } => Kind::Scalar(resolve_plain(self.as_written())),
        }
    }

    /// The text of a scalar without quotes and escapes, its variables filled in; empty for a collection.
    pub(crate) fn text(self) -> &'t str {
        self.tree.filled.get(&self.index).map_or_else(|| self.as_written(), String::as_str)
    }

    /// The text as it stands in the file, if variables were filled into it.
    pub(super) fn written(self) -> Option<&'t str> {
        self.tree.filled.contains_key(&self.index).then(|| self.as_written())
    }

    fn as_written(self) -> &'t str {
        self.tree.text_at(self.index)
    }
}

/// What is left of the inside of a collection.
#[derive(Clone)]
struct Below<'t> {
    tree: &'t Tree,
    next: usize,
    end: usize,
}

impl<'t> Below<'t> {
    fn next(&mut self) -> Option<Node<'t>> {
        let node = (self.next < self.end).then_some(Node { tree: self.tree, index: self.next })?;
        self.next += node.slot().size();
        Some(node)
    }
}

/// The values of a sequence.
#[derive(Clone)]
pub(crate) struct Items<'t>(Below<'t>);

impl<'t> Iterator for Items<'t> {
    type Item = Node<'t>;

    fn next(&mut self) -> Option<Node<'t>> {
        self.0.next()
    }
}

/// The entries of a mapping.
#[derive(Clone)]
pub(crate) struct Entries<'t>(Below<'t>);

impl<'t> Iterator for Entries<'t> {
    type Item = Entry<'t>;

    fn next(&mut self) -> Option<Entry<'t>> {
        let key = self.0.next()?;
        let value = self.0.next()?;
        Some(Entry { key: key.as_written(), key_position: key.position(), value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_or_value_takes_20_bytes() {
        assert_eq!(size_of::<Slot>(), 20);
    }

    #[test]
    fn a_value_knows_what_stands_in_the_file_and_what_variables_made_of_it() {
        let mut tree = Tree::default();
        let position = Position { line: 1, column: 1 };
        let list = tree.open(Form::Sequence, position);
        for text in ["1", "${A}", "${B}", "${C}"] {
            tree.push_scalar(text, true, Reading::Core, position);
        }
        tree.close(list);
        tree.fill(2, "2".to_owned());
        tree.fill(3, String::new());
        tree.leave_unfilled(4);
        let Some(Kind::Sequence(items)) = tree.root().map(Node::kind) else { panic!("not a list") };
        let seen = items.map(|node| {
            let Kind::Scalar(core) = node.kind() else { panic!("not a scalar") };
            (core, node.text(), node.written())
        });
        assert_eq!(
            seen.collect::<Vec<_>>(),
            [
                (Core::Integer(1), "1", None),
                (Core::Text, "2", Some("${A}")),
                (Core::Null, "", Some("${B}")),
                (Core::Null, "${C}", None),
            ]
        );
    }
}
