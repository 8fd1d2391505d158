//! YAML text to a tree in which every value knows its place.
//!
//! YAML 1.2 core schema: `true`/`false` are booleans, `yes`, `off` and `3.1.1` are text. Anchors, aliases and merge
//! keys (`<<`) work; what they can grow to is bounded. Mistakes that leave a tree (a key given twice, a tag) are
//! collected beside it; a syntax error ends the reading, because everything after it would be guesswork.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};

use super::report::Position;

/// How deep lists and mappings may lie in one another. A rule's column options lie at 5.
const DEPTH_MAX: usize = 64;

/// Nodes in the tree, those repeated by aliases included: far above a thousand rules, far below what hurts.
const NODES_MAX: usize = 200_000;

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

/// What the core schema makes of a scalar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Core {
    Null,
    Bool(bool),
    /// Fits 64 bits, signed or unsigned; larger ones are floats, as in JSON.
    Integer(i128),
    Float(f64),
    Text,
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
    pub problem: String,
}

/// Reads a document. The tree is `None` for an empty one, and after a syntax error (then there is a fault).
pub(super) fn parse(text: &str) -> (Option<Node>, Vec<Fault>) {
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    while let Some(event) = parser.next_event() {
        let step = match event {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => {
                Err(Fault { position: position(error.marker()), problem: format!("not YAML: {}", error.info()) })
            }
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
    /// `seen` holds the keys of `entries`.
    Mapping {
        entries: Vec<Entry>,
        seen: HashMap<String, Position>,
        merges: Vec<Node>,
        key: Option<Key>,
    },
}

struct Key {
    text: String,
    position: Position,
    is_merge: bool,
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
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let position = position(&span.start);
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let problem = "a second YAML document begins here; one file holds one configuration".to_owned();
                    return Err(Fault { position, problem });
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
                let content =
                    OpenContent::Mapping { entries: Vec::new(), seen: HashMap::new(), merges: Vec::new(), key: None };
                self.open(content, anchor, tag.as_deref(), position)
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
            return Err(Fault { position, problem });
        }
        Ok(())
    }

    fn check_depth(&self, below: usize, position: Position) -> Result<(), Fault> {
        if self.open.len() + below > DEPTH_MAX {
            return Err(Fault { position, problem: format!("lies more than {DEPTH_MAX} levels deep") });
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
            OpenContent::Mapping { mut entries, mut seen, merges, .. } => {
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
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.content {
            OpenContent::Sequence(items) => items.push(node),
            OpenContent::Mapping { entries, seen, merges, key } => match key.take() {
                None => *key = Some(self::key(node, &mut self.faults)),
                Some(key) if key.is_merge => merges.push(node),
                Some(key) => {
                    if let Some(first) = seen.get(&key.text) {
                        let problem = format!("the key `{}` was given before, at {first}", key.text);
                        self.faults.push(Fault { position: key.position, problem });
                        return Ok(());
                    }
                    seen.insert(key.text.clone(), key.position);
                    entries.push(Entry { key: key.text, key_position: key.position, value: node });
                }
            },
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, position: Position) -> Result<(), Fault> {
        let Some(Anchored { node, size, depth }) = self.anchors.get(&anchor) else {
            return Err(Fault { position, problem: "an alias inside the value that it stands for".to_owned() });
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
                self.faults.push(Fault { position: source.position, problem: problem.to_owned() });
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
        let problem = format!("the tag `{tag}` means nothing here; write the value without it");
        self.faults.push(Fault { position, problem });
    }
}

fn key(node: Node, faults: &mut Vec<Fault>) -> Key {
    let position = node.position;
    match node.kind {
        Kind::Scalar(scalar) => {
            let is_merge = scalar.plain && scalar.text == "<<";
            Key { text: scalar.text, position, is_merge }
        }
        _ => {
            faults.push(Fault { position, problem: "a key is a list or a mapping; keys are words".to_owned() });
            Key { text: String::new(), position, is_merge: false }
        }
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

/// YAML 1.2.2, section 10.3.2.
pub(super) fn resolve_plain(text: &str) -> Core {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Core::Null,
        "true" | "True" | "TRUE" => return Core::Bool(true),
        "false" | "False" | "FALSE" => return Core::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Core::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Core::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Core::Float(f64::NAN),
        _ => {}
    }
    if let Some(number) = integer(text) {
        return number;
    }
    if is_float(text) { text.parse().map_or(Core::Text, Core::Float) } else { Core::Text }
}

fn integer(text: &str) -> Option<Core> {
    let based = |digits: &str, base| {
        let clean = !digits.is_empty() && digits.chars().all(|c| c.is_digit(base));
        clean.then(|| i128::from_str_radix(digits, base))
    };
    let parsed = if let Some(digits) = text.strip_prefix("0x") {
        based(digits, 16)?
    } else if let Some(digits) = text.strip_prefix("0o") {
        based(digits, 8)?
    } else {
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        text.parse()
    };
    match parsed {
        Ok(number) if number >= i128::from(i64::MIN) && number <= i128::from(u64::MAX) => Some(Core::Integer(number)),
        _ => None,
    }
}

/// `[-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
fn is_float(text: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (text, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let has_digits = !whole.is_empty() || !fraction.is_empty();
    has_digits
        && digits(whole)
        && digits(fraction)
        && exponent.is_none_or(|exponent| !exponent.is_empty() && digits(exponent))
}

#[cfg(test)]
#[path = "yaml_tests.rs"]
mod tests;
