//! YAML text to a tree in which every value knows its place.
//!
//! YAML 1.2 core schema: `true`/`false` are booleans, `yes`, `off` and `3.1.1` are text. Anchors, aliases and merge
//! keys (`<<`) work; what they can grow to is bounded. Mistakes that leave a tree (a key given twice, a tag) are
//! collected beside it; a syntax error ends the reading, because everything after it would be guesswork.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};

use super::key_path::KeyPath;
use super::report::Position;
pub(super) use super::yaml_core::Core;
use super::yaml_core::resolve_plain;

/// How deep lists and mappings may lie in one another. A rule's column options lie at 5.
const DEPTH_MAX: usize = 64;

/// Nodes in the tree, those repeated by aliases included: above ten thousand rules of a dozen columns (some 70 nodes
/// each), below what hurts.
const NODES_MAX: usize = 1_000_000;

/// Every key path repeats the keys above it, so that long ones would add up.
const KEY_BYTES_MAX: usize = 1000;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub kind: Kind,
    pub position: Position,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Scalar(Scalar),
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scalar {
    /// As written, without quotes and escapes.
    pub text: String,
    pub core: Core,
    /// Without quotes.
    pub plain: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    pub key_position: Position,
    pub value: Node,
}

/// A mistake in the YAML itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub position: Position,
    /// The value that was being read.
    pub path: KeyPath,
    pub problem: String,
}

/// Reads a document. The tree is `None` for an empty one, and after a syntax error (then there is a fault).
pub(super) fn parse(text: &str) -> (Option<Node>, Vec<Fault>) {
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    while let Some(event) = parser.next_event() {
        let step = match event {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => Err(builder.fault(position(error.marker()), format!("not YAML: {}", error.info()))),
        };
        if let Err(fault) = step {
            builder.faults.push(fault);
            return (None, builder.faults);
        }
    }
    (builder.root, builder.faults)
}

fn position(marker: &Marker) -> Position {
    Position { line: marker.line(), column: marker.col() + 1 }
}

/// A collection that is still being read.
struct Open {
    anchor: usize,
    position: Position,
    content: OpenContent,
}

enum OpenContent {
    Sequence(Vec<Node>),
    Mapping(OpenMapping),
}

/// A mapping that is still being read: keys and values come in turn.
#[derive(Default)]
struct OpenMapping {
    entries: Vec<Entry>,
    /// The keys of `entries`.
    seen: HashMap<String, Position>,
    /// The values of `<<`.
    merges: Vec<Node>,
    /// The key whose value comes next.
    key: Option<Key>,
}

/// A key that cannot be taken.
struct Clash {
    key: String,
    position: Position,
    problem: String,
}

struct Key {
    text: String,
    position: Position,
    is_merge: bool,
}

impl OpenMapping {
    /// Takes a key or, in its turn, a value.
    fn take(&mut self, node: Node) -> Result<(), Clash> {
        let Some(key) = self.key.take() else {
            let (key, fault) = Key::of(node);
            let (text, position) = (key.text.clone(), key.position);
            self.key = Some(key);
            return fault.map_or(Ok(()), |problem| Err(Clash { key: text, position, problem: problem.to_owned() }));
        };
        if key.is_merge {
            self.merges.push(node);
            return Ok(());
        }
        if let Some(first) = self.seen.get(&key.text) {
            let problem = format!("the key `{}` was given before, at {first}", key.text);
            return Err(Clash { key: key.text, position: key.position, problem });
        }
        self.seen.insert(key.text.clone(), key.position);
        self.entries.push(Entry { key: key.text, key_position: key.position, value: node });
        Ok(())
    }
}

impl Key {
    /// The key that a node stands for, and what is wrong with it.
    fn of(node: Node) -> (Key, Option<&'static str>) {
        let position = node.position;
        let none = |problem| (Key { text: String::new(), position, is_merge: false }, Some(problem));
        match node.kind {
            Kind::Scalar(scalar) if scalar.text.len() > KEY_BYTES_MAX => none("the key is longer than 1000 bytes"),
            Kind::Scalar(scalar) => {
                let is_merge = scalar.plain && scalar.text == "<<";
                (Key { text: scalar.text, position, is_merge }, None)
            }
            _ => none("the key is a list or a mapping; keys are words"),
        }
    }
}

/// A finished node that aliases may repeat.
struct Anchored {
    node: Node,
    size: usize,
    depth: usize,
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    root: Option<Node>,
    documents: usize,
    nodes: usize,
    faults: Vec<Fault>,
}

impl Builder {
    /// The path of the value that is being read.
    fn path(&self) -> KeyPath {
        self.open.iter().fold(KeyPath::root(), |path, open| match &open.content {
            OpenContent::Sequence(items) => path.index(items.len()),
            OpenContent::Mapping(OpenMapping { key: Some(key), .. }) => path.key(&key.text),
            OpenContent::Mapping(OpenMapping { key: None, .. }) => path,
        })
    }

    fn fault(&self, position: Position, problem: String) -> Fault {
        Fault { position, path: self.path(), problem }
    }

    fn note(&mut self, position: Position, problem: String) {
        self.faults.push(self.fault(position, problem));
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let position = position(&span.start);
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let problem = "a second YAML document begins here; one file holds one configuration".to_owned();
                    return Err(self.fault(position, problem));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let core = self.resolve(&text, plain, tag.as_deref(), position);
                let kind = Kind::Scalar(Scalar { text: text.into_owned(), core, plain });
                self.count(1, position)?;
                self.finish(Node { kind, position }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.open(OpenContent::Sequence(Vec::new()), anchor, tag.as_deref(), position)
            }
            Event::MappingStart(anchor, tag) => {
                self.open(OpenContent::Mapping(OpenMapping::default()), anchor, tag.as_deref(), position)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => self.alias(anchor, position),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn count(&mut self, nodes: usize, position: Position) -> Result<(), Fault> {
        self.nodes += nodes;
        if self.nodes > NODES_MAX {
            let problem = format!("more than {NODES_MAX} values, counting what aliases repeat");
            return Err(self.fault(position, problem));
        }
        Ok(())
    }

    fn check_depth(&self, below: usize, position: Position) -> Result<(), Fault> {
        if self.open.len() + below > DEPTH_MAX {
            return Err(self.fault(position, format!("lies more than {DEPTH_MAX} levels deep")));
        }
        Ok(())
    }

    fn open(
        &mut self,
        content: OpenContent,
        anchor: usize,
        tag: Option<&Tag>,
        position: Position,
    ) -> Result<(), Fault> {
        if let Some(tag) = tag.filter(|tag| !(tag.is_yaml_core_schema() && ["seq", "map"].contains(&&*tag.suffix))) {
            self.refuse_tag(tag, position);
        }
        self.count(1, position)?;
        self.check_depth(1, position)?;
        self.open.push(Open { anchor, position, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        let Some(Open { anchor, position, content }) = self.open.pop() else { return Ok(()) };
        let kind = match content {
            OpenContent::Sequence(items) => Kind::Sequence(items),
            OpenContent::Mapping(OpenMapping { mut entries, mut seen, merges, .. }) => {
                for merge in merges {
                    self.merge(&mut entries, &mut seen, merge);
                }
                Kind::Mapping(entries)
            }
        };
        self.finish(Node { kind, position }, anchor)
    }

    /// Puts a finished node where it belongs: into the open collection, or it is the root.
    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        if anchor > 0 {
            let (size, depth) = measure(&node);
            self.count(size, node.position)?;
            self.anchors.insert(anchor, Anchored { node: node.clone(), size, depth });
        }
        let clash = match self.open.last_mut().map(|open| &mut open.content) {
            None => {
                self.root = Some(node);
                None
            }
            Some(OpenContent::Sequence(items)) => {
                items.push(node);
                None
            }
            Some(OpenContent::Mapping(mapping)) => mapping.take(node).err(),
        };
        if let Some(Clash { key, position, problem }) = clash {
            self.faults.push(Fault { position, path: self.path().key(&key), problem });
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, position: Position) -> Result<(), Fault> {
        let Some(Anchored { node, size, depth }) = self.anchors.get(&anchor) else {
            return Err(self.fault(position, "an alias inside the value that it stands for".to_owned()));
        };
        let (node, size, depth) = (Node { position, ..node.clone() }, *size, *depth);
        self.count(size, position)?;
        self.check_depth(depth, position)?;
        self.finish(node, 0)
    }

    /// Adds what `<<` names: a mapping or a list of them; keys that are there already stay.
    fn merge(&mut self, entries: &mut Vec<Entry>, seen: &mut HashMap<String, Position>, source: Node) {
        let sources = match source.kind {
            Kind::Sequence(items) => items,
            _ => vec![source],
        };
        for source in sources {
            let Kind::Mapping(merged) = source.kind else {
                let problem = "`<<` takes a mapping or a list of mappings, usually an alias such as *name";
                self.note(source.position, problem.to_owned());
                continue;
            };
            for entry in merged {
                if !seen.contains_key(&entry.key) {
                    seen.insert(entry.key.clone(), entry.key_position);
                    entries.push(entry);
                }
            }
        }
    }

    fn resolve(&mut self, text: &str, plain: bool, tag: Option<&Tag>, position: Position) -> Core {
        match tag {
            None if plain => resolve_plain(text),
            None => Core::Text,
            Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Core::Text,
            Some(tag) if tag.is_yaml_core_schema() && ["int", "float", "bool", "null"].contains(&&*tag.suffix) => {
                resolve_plain(text)
            }
            Some(tag) => {
                self.refuse_tag(tag, position);
                Core::Text
            }
        }
    }

    fn refuse_tag(&mut self, tag: &Tag, position: Position) {
        self.note(position, format!("the tag `{tag}` means nothing here; write the value without it"));
    }
}

/// Number of nodes and levels of collections. Recursion is bounded by [`DEPTH_MAX`].
fn measure(node: &Node) -> (usize, usize) {
    let sum = |children: &mut dyn Iterator<Item = &Node>| {
        let (size, depth) = children
            .map(measure)
            .fold((1, 0), |(size, depth), (child_size, child_depth)| (size + child_size, depth.max(child_depth)));
        (size, depth + 1)
    };
    match &node.kind {
        Kind::Scalar(_) => (1, 0),
        Kind::Sequence(items) => sum(&mut items.iter()),
        Kind::Mapping(entries) => sum(&mut entries.iter().map(|entry| &entry.value)),
    }
}

#[cfg(test)]
#[path = "yaml_tests.rs"]
mod tests;
