//! The content of a value: the result of merging layers, or a part of a list in a file.

use config::{Map, Value as Merged, ValueKind};

use super::value::Context;
use crate::config::key_path::KeyPath;
use crate::config::layer::list_in_file;
use crate::config::report::{Place, Position};
use crate::config::tree::{self, Items, Kind, Node};
use crate::config::yaml_core::Core;

/// Where a value is kept.
#[derive(Clone, Copy)]
pub(crate) enum Given<'a> {
    /// Further facts about the value are in the provenances, by its path.
    Merged(&'a Merged),
    /// In a list of the file, or in a file of rules, on which no other layer lies.
    Listed {
        node: Node<'a>,
        /// Where its key stands; where itself does, if it is an item.
        key: Position,
    },
}

/// What a value is.
pub(crate) enum Content<'a> {
    Null,
    Flag(bool),
    Integer(i128),
    Float(f64),
    Text(&'a str),
    /// `None` for a list that the file does not have, which no layer can make.
    List(Option<Items<'a>>),
    Mapping(Entries<'a>),
}

/// The entries of a mapping.
#[derive(Clone)]
pub(crate) enum Entries<'a> {
    Merged(&'a Map<String, Merged>),
    Listed(tree::Entries<'a>),
}

impl<'a> Given<'a> {
    /// An item of a list.
    pub(super) fn item(node: Node<'a>) -> Given<'a> {
        Given::Listed { node, key: node.position() }
    }

    pub(super) fn content(self, cx: &Context<'a>) -> Content<'a> {
        match self {
            Given::Merged(value) => match &value.kind {
                ValueKind::Nil => Content::Null,
                ValueKind::Boolean(flag) => Content::Flag(*flag),
                ValueKind::I64(number) => Content::Integer((*number).into()),
                ValueKind::U64(number) => Content::Integer((*number).into()),
                ValueKind::I128(number) => Content::Integer(*number),
                // No layer makes such a one.
                ValueKind::U128(number) => Content::Integer(i128::try_from(*number).unwrap_or(i128::MAX)),
                ValueKind::Float(number) => Content::Float(*number),
                ValueKind::String(text) => Content::Text(text),
                ValueKind::Array(list) => match list_in_file(list, cx.tree).map(Node::kind) {
                    Some(Kind::Sequence(items)) => Content::List(Some(items)),
                    _ => Content::List(None),
                },
                ValueKind::Table(entries) => Content::Mapping(Entries::Merged(entries)),
            },
            Given::Listed { node, .. } => match node.kind() {
                Kind::Scalar(Core::Null) => Content::Null,
                Kind::Scalar(Core::Bool(flag)) => Content::Flag(flag),
                Kind::Scalar(Core::Integer(number)) => Content::Integer(number),
                Kind::Scalar(Core::Float(number)) => Content::Float(number),
                Kind::Scalar(Core::Text) => Content::Text(node.text()),
                Kind::Sequence(items) => Content::List(Some(items)),
                Kind::Mapping(entries) => Content::Mapping(Entries::Listed(entries)),
            },
        }
    }

    pub(super) fn is_null(self) -> bool {
        match self {
            Given::Merged(value) => matches!(value.kind, ValueKind::Nil),
            Given::Listed { node, .. } => matches!(node.kind(), Kind::Scalar(Core::Null)),
        }
    }

    /// A scalar as text, where nothing better is known.
    pub(super) fn to_text(self) -> String {
        match self {
            Given::Merged(value) => value.to_string(),
            Given::Listed { node, .. } => node.text().to_owned(),
        }
    }

    /// Where it stands (or, with `at_key`, its key); an absent value has no place of its own.
    pub(super) fn place(self, cx: &Context<'_>, path: &KeyPath, at_key: bool) -> Place {
        match self {
            Given::Merged(_) => cx.place(path, at_key),
            Given::Listed { node, key } => {
                let position = if at_key || self.is_null() { key } else { node.position() };
                Place::File { file: node.file().to_owned(), position }
            }
        }
    }

    /// Whether the user gave it: what has no provenance is a twin that an upper layer took back.
    pub(super) fn is_from_user(self, cx: &Context<'_>, path: &KeyPath) -> bool {
        match self {
            Given::Merged(_) => cx.provenances.contains_key(path),
            Given::Listed { .. } => true,
        }
    }
}

impl<'a> Entries<'a> {
    pub(super) fn get(&self, key: &str) -> Option<Given<'a>> {
        match self {
            Entries::Merged(entries) => entries.get(key).map(Given::Merged),
            Entries::Listed(entries) => entries.clone().find(|entry| entry.key == key).map(Given::from),
        }
    }

    /// In the order of the file.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a str, Given<'a>)> + use<'a> {
        let (merged, listed) = match self.clone() {
            Entries::Merged(entries) => (Some(entries), None),
            Entries::Listed(entries) => (None, Some(entries)),
        };
        let merged = merged.into_iter().flatten().map(|(key, value)| (key.as_str(), Given::Merged(value)));
        let listed = listed.into_iter().flatten().map(|entry| (entry.key, Given::from(entry)));
        merged.chain(listed)
    }
}

impl<'a> From<tree::Entry<'a>> for Given<'a> {
    fn from(entry: tree::Entry<'a>) -> Given<'a> {
        Given::Listed { node: entry.value, key: entry.key_position }
    }
}
