//! Parses YAML text to a tree in which every value has its position.
//!
//! YAML 1.2 core schema: `true`/`false` are booleans, `yes`, `off` and `3.1.1` are text. Anchors, aliases and merge
//! keys (`<<`) work; their expansion is bounded. Mistakes that still leave a tree (a duplicate key, a tag) are
//! collected beside it. A syntax error ends the parsing, because everything after it would be guesswork.
//!
//! A password without quotes is easily taken for YAML: `!foo` for a tag, `{foo` for a mapping, `#foo` for a comment.
//! Under the key of a secret the message of every such fault asks for quotes, and repeats nothing of the value.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};

use super::key_path::{HIDDEN, KeyPath, names_a_secret};
use super::report::Position;
use super::syntax::{self, QUOTES};
use super::tree::{Form, Kind, Node, Reading, Slot, Tree, entries, items};
use super::yaml_mapping::{Clash, OpenMapping};

/// How deep lists and mappings may be nested. A rule's column options have depth 5.
const DEPTH_MAX: usize = 64;

/// Nodes in the tree, those repeated by aliases included: above ten thousand rules of a dozen columns (some 70 nodes
/// each), below what hurts.
const NODES_MAX: usize = 1_000_000;

/// A mistake in the YAML itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub position: Position,
    /// The value that was being read, as people may see it.
    pub path: String,
    pub problem: String,
    /// What to write instead.
    pub accepted: Option<&'static str>,
    /// The reading ended here: the line is worth showing.
    pub is_syntax: bool,
}

/// Reads a document. The tree is `None` for an empty one, and after a syntax error (then there is a fault).
pub(crate) fn parse(text: &str) -> (Option<Tree>, Vec<Fault>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder { text, ..Builder::default() };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let step = match event {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => Err(builder.syntax_fault(position(error.marker()), error.info())),
        };
        if let Err(fault) = step {
            builder.faults.push(fault);
            return (None, builder.faults);
        }
    }
    (builder.has_root.then_some(builder.tree), builder.faults)
}

fn position(marker: &Marker) -> Position {
    Position { line: marker.line(), column: marker.col() + 1 }
}

/// A collection that is still being read.
struct Open {
    anchor: usize,
    /// Its slot.
    at: usize,
    content: OpenContent,
}

enum OpenContent {
    Sequence { items: usize },
    Mapping(OpenMapping),
}

/// A finished node that aliases may repeat.
struct Anchored {
    slots: Box<[Slot]>,
    size: usize,
    depth: usize,
}

#[derive(Default)]
struct Builder<'t> {
    /// The whole document.
    text: &'t str,
    /// Where the value of a secret ended last.
    secret_line: Option<usize>,
    tree: Tree,
    has_root: bool,
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    documents: usize,
    nodes: usize,
    faults: Vec<Fault>,
}

impl Builder<'_> {
    /// The path of the value that is being read.
    fn path(&self) -> KeyPath {
        self.open.iter().fold(KeyPath::root(), |path, open| match &open.content {
            OpenContent::Sequence { items } => path.index(*items),
            OpenContent::Mapping(OpenMapping { key: Some(key), .. }) => path.key(self.tree.text_at(key.at)),
            OpenContent::Mapping(OpenMapping { key: None, .. }) => path,
        })
    }

    fn fault(&self, position: Position, problem: String) -> Fault {
        Fault { position, path: self.path().to_string(), problem, accepted: None, is_syntax: false }
    }

    /// What the parser stumbled over, in our words; its own may repeat a character of the file.
    fn syntax_fault(&self, position: Position, info: &str) -> Fault {
        let path = self.path();
        let is_secret = path.is_secret() || self.secret_line == Some(position.line);
        // A brace or bracket that is never closed is noticed far below.
        let position = self.secret_key().unwrap_or(position);
        let syntax::Explained { position, problem, accepted } = syntax::explain(self.text, position, info, is_secret);
        Fault { position, path: path.to_string(), problem, accepted: Some(accepted), is_syntax: true }
    }

    /// Where the key of the secret stands whose value is being read.
    fn secret_key(&self) -> Option<Position> {
        self.open.iter().find_map(|open| match &open.content {
            OpenContent::Mapping(OpenMapping { key: Some(key), .. }) if names_a_secret(self.tree.text_at(key.at)) => {
                Some(self.tree.node(key.at).position())
            }
            _ => None,
        })
    }

    /// Notes that a secret has to be quoted.
    fn note_unquoted(&mut self, position: Position) {
        let problem = syntax::UNQUOTED.to_owned();
        self.faults.push(Fault { accepted: Some(QUOTES), ..self.fault(position, problem) });
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
                if self.is_value_of_secret() {
                    self.secret_line = Some(span.end.line());
                    if plain && text.is_empty() && tag.is_none() && syntax::looks_unquoted(self.text, position) {
                        self.note_unquoted(position);
                    }
                }
                let reading = self.reading(plain, tag.as_deref(), position);
                self.count(1, position)?;
                let at = self.tree.push_scalar(&text, plain, reading, position);
                self.finish(at, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.open(OpenContent::Sequence { items: 0 }, anchor, tag.as_deref(), position)
            }
            Event::MappingStart(anchor, tag) => {
                self.open(OpenContent::Mapping(OpenMapping::default()), anchor, tag.as_deref(), position)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => self.alias(anchor, position),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    /// Whether what comes next is, or is part of, the value of a secret.
    fn is_value_of_secret(&self) -> bool {
        let is_value = !matches!(
            self.open.last(),
            Some(Open { content: OpenContent::Mapping(OpenMapping { key: None, .. }), .. })
        );
        is_value && self.path().is_secret()
    }

    fn count(&mut self, nodes: usize, position: Position) -> Result<(), Fault> {
        self.nodes += nodes;
        if self.nodes > NODES_MAX {
            let problem = format!("more than {NODES_MAX} values, including those that aliases repeat");
            return Err(self.fault(position, problem));
        }
        Ok(())
    }

    fn check_depth(&self, below: usize, position: Position) -> Result<(), Fault> {
        if self.open.len() + below > DEPTH_MAX {
            return Err(self.fault(position, format!("is nested more than {DEPTH_MAX} levels deep")));
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
        let form = match content {
            OpenContent::Sequence { .. } => Form::Sequence,
            OpenContent::Mapping(_) => Form::Mapping,
        };
        let at = self.tree.open(form, position);
        self.open.push(Open { anchor, at, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        let Some(Open { anchor, at, content }) = self.open.pop() else { return Ok(()) };
        if let OpenContent::Mapping(mut mapping) = content {
            for source in std::mem::take(&mut mapping.merges) {
                self.merge(&mut mapping, at, &source);
            }
        }
        self.tree.close(at);
        self.finish(at, anchor)
    }

    /// Puts a finished node, the last of the tree, where it belongs: into the open collection, or it is the root.
    fn finish(&mut self, at: usize, anchor: usize) -> Result<(), Fault> {
        if anchor > 0 {
            let node = self.tree.node(at);
            let (size, depth) = measure(node);
            self.count(size, node.position())?;
            self.anchors.insert(anchor, Anchored { slots: self.tree.copy(at), size, depth });
        }
        let clash = match self.open.last_mut() {
            None => {
                self.has_root = true;
                None
            }
            Some(Open { content: OpenContent::Sequence { items }, .. }) => {
                *items += 1;
                None
            }
            Some(Open { content: OpenContent::Mapping(mapping), at: mapping_at, .. }) => {
                mapping.take(&mut self.tree, *mapping_at, at).err()
            }
        };
        if let Some(Clash { key, position, problem }) = clash {
            let above = self.path();
            let shown = if above.hides(&key) { HIDDEN } else { &key };
            let problem =
                if key.is_empty() { format!("the key {problem}") } else { format!("the key `{shown}` {problem}") };
            self.faults.push(Fault { path: above.key(&key).to_string(), ..self.fault(position, problem) });
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, position: Position) -> Result<(), Fault> {
        let Some(Anchored { size, depth, .. }) = self.anchors.get(&anchor) else {
            return Err(self.fault(position, "an alias inside its own value".to_owned()));
        };
        let (size, depth) = (*size, *depth);
        self.count(size, position)?;
        self.check_depth(depth, position)?;
        let at = self.tree.paste_value(&self.anchors[&anchor].slots, position);
        self.finish(at, 0)
    }

    /// Adds what `<<` names to the mapping at `at`: a mapping or a list of them; keys that are there already stay.
    fn merge(&mut self, mapping: &mut OpenMapping, at: usize, source: &[Slot]) {
        let sources = items(source).map_or_else(|| vec![source], Iterator::collect);
        for source in sources {
            let Some(merged) = entries(source) else {
                let problem = "`<<` takes a mapping or a list of mappings, usually an alias such as *name";
                self.note(source[0].position(), problem.to_owned());
                continue;
            };
            for entry in merged {
                let key = self.tree.end();
                if mapping.find(&self.tree, at + 1..key, self.tree.text_of(&entry[0])).is_none() {
                    self.tree.paste_entry(entry);
                    mapping.count(&self.tree, at, key);
                }
            }
        }
    }

    fn reading(&mut self, plain: bool, tag: Option<&Tag>, position: Position) -> Reading {
        match tag {
            None if plain => Reading::Core,
            None => Reading::Text,
            Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Reading::Text,
            Some(tag) if tag.is_yaml_core_schema() && ["int", "float", "bool", "null"].contains(&&*tag.suffix) => {
                Reading::Core
            }
            Some(tag) => {
                self.refuse_tag(tag, position);
                Reading::Text
            }
        }
    }

    fn refuse_tag(&mut self, tag: &Tag, position: Position) {
        if self.path().is_secret() {
            return self.note_unquoted(position);
        }
        self.note(position, format!("the tag `{tag}` means nothing here; write the value without it"));
    }
}

/// Number of nodes, keys not counted, and levels of collections. Recursion is bounded by [`DEPTH_MAX`].
fn measure(node: Node<'_>) -> (usize, usize) {
    let sum = |children: &mut dyn Iterator<Item = Node<'_>>| {
        let (size, depth) = children
            .map(measure)
            .fold((1, 0), |(size, depth), (child_size, child_depth)| (size + child_size, depth.max(child_depth)));
        (size, depth + 1)
    };
    match node.kind() {
        Kind::Scalar(_) => (1, 0),
        Kind::Sequence(mut items) => sum(&mut items),
        Kind::Mapping(entries) => sum(&mut entries.map(|entry| entry.value)),
    }
}

#[cfg(test)]
#[path = "yaml_tests.rs"]
mod tests;
