//! The layers of the configuration and their merge.
//!
//! Each layer is a `config::Source`, and the `config` crate merges them: mappings key by key, every other value as a
//! whole. The crate drops the origin of mappings, and reads top-level keys as paths (`a.b` would become a mapping `a`).
//! Therefore positions are kept beside the values, by key path, and every layer is placed below one key.
//!
//! A list is merged as one value and replaced as a whole, and only a file has lists. So the merged value is the list's
//! position in the file's tree and not a copy of its content, which is most of a configuration with thousands of rules.

use std::collections::HashMap;
use std::fmt;

use config::{ConfigError, Map, Source, Value, ValueKind};

use super::key_path::KeyPath;
use super::report::Position;
use super::tree::{Entries, Entry, Kind, Node, Tree};
use super::yaml_core::Core;

/// The key that all layers hang below.
const TRUNK: &str = "configuration";

/// Who said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    File {
        /// Where the key stands; where the value does, in a list.
        key: Position,
        value: Position,
    },
    Variable(String),
    Flag(String),
}

/// What is remembered about a value besides the value. Not `Debug`: the text may be a secret.
pub(super) struct Provenance {
    pub origin: Origin,
    /// A scalar's text, for keys that want text: `client_id: 007` is not `7`.
    pub text: Option<String>,
    /// The text as it stands in the file, if variables were filled into it.
    pub written: Option<String>,
}

/// Provenance by key path; later layers replace earlier ones.
pub(super) type Provenances = HashMap<KeyPath, Provenance>;

/// One layer, ready to be merged.
#[derive(Clone)]
pub(super) struct Layer {
    pub values: Map<String, Value>,
}

impl fmt::Debug for Layer {
    /// `Source` asks for `Debug`; the values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Layer")
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(Map::from_iter([(TRUNK.to_owned(), Value::from(self.values.clone()))]))
    }
}

/// Lays the layers over one another, the last on top.
pub(super) fn merge(layers: impl IntoIterator<Item = Layer>) -> Result<Map<String, Value>, ConfigError> {
    let builder = layers.into_iter().fold(config::Config::builder(), |builder, layer| builder.add_source(layer));
    builder.build()?.get_table(TRUNK)
}

/// Turns the file's tree into a layer.
pub(super) fn file_layer(tree: &Tree, provenances: &mut Provenances) -> Layer {
    match tree.root().map(Node::kind) {
        Some(Kind::Mapping(entries)) => Layer { values: mapping(entries, &KeyPath::root(), provenances) },
        // An empty file, or one that is no mapping and has its finding.
        _ => Layer { values: Map::new() },
    }
}

/// The list in the file that a merged list refers to.
pub(super) fn list_in_file<'t>(merged: &[Value], tree: &'t Tree) -> Option<Node<'t>> {
    match merged.first().map(|value| &value.kind) {
        Some(ValueKind::U64(index)) => Some(tree.node(usize::try_from(*index).ok()?)),
        _ => None,
    }
}

fn mapping(entries: Entries<'_>, path: &KeyPath, provenances: &mut Provenances) -> Map<String, Value> {
    let value = |entry: Entry<'_>| {
        (entry.key.to_owned(), self::value(entry.value, &path.key(entry.key), entry.key_position, provenances))
    };
    entries.map(value).collect()
}

/// Recursion is bounded by the depth that the YAML reader allows.
fn value(node: Node<'_>, path: &KeyPath, key: Position, provenances: &mut Provenances) -> Value {
    let (kind, text) = match node.kind() {
        Kind::Scalar(core) => (scalar_kind(core, node.text()), Some(node.text().to_owned())),
        Kind::Sequence(_) => (ValueKind::Array(vec![Value::from(node.index() as u64)]), None),
        Kind::Mapping(entries) => (ValueKind::Table(mapping(entries, path, provenances)), None),
    };
    // An absent value has no place of its own.
    let position = if matches!(kind, ValueKind::Nil) { key } else { node.position() };
    let origin = Origin::File { key, value: position };
    let written = node.written().map(str::to_owned);
    provenances.insert(path.clone(), Provenance { origin, text, written });
    Value::new(None, kind)
}

fn scalar_kind(core: Core, text: &str) -> ValueKind {
    match core {
        Core::Null => ValueKind::Nil,
        Core::Bool(flag) => ValueKind::Boolean(flag),
        Core::Integer(number) => match i64::try_from(number) {
            Ok(number) => ValueKind::I64(number),
            // The reader lets through nothing that neither fits.
            Err(_) => u64::try_from(number).map_or(ValueKind::I128(number), ValueKind::U64),
        },
        Core::Float(number) => ValueKind::Float(number),
        Core::Text => ValueKind::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    fn layer(text: &str, provenances: &mut Provenances) -> Layer {
        file_layer(&yaml::parse(text).0.expect("a document"), provenances)
    }

    #[test]
    fn mappings_merge_key_by_key_and_keep_their_order() {
        let mut provenances = Provenances::new();
        let merged = merge([
            layer("b: {x: 1, y: 2}\na: [1, 2]\n", &mut provenances),
            layer("b: {y: 3}\na: [4]\nc: 5\n", &mut provenances),
        ])
        .unwrap();
        assert_eq!(merged.keys().collect::<Vec<_>>(), ["b", "a", "c"]);
        assert_eq!(merged["b"].clone().into_table().unwrap()["y"].kind, ValueKind::I64(3));
        assert_eq!(merged["b"].clone().into_table().unwrap()["x"].kind, ValueKind::I64(1));
        assert_eq!(merged["a"].clone().into_array().unwrap().len(), 1);
    }

    #[test]
    fn keys_that_look_like_paths_stay_keys() {
        let mut provenances = Provenances::new();
        let merged = merge([layer("a.b: 1\nc[0]: 2\nd: {e.f: 3}\n", &mut provenances)]).unwrap();
        assert_eq!(merged.keys().collect::<Vec<_>>(), ["a.b", "c[0]", "d"]);
        assert!(provenances.contains_key(&KeyPath::root().key("d").key("e.f")));
    }

    #[test]
    fn the_text_of_a_number_is_remembered() {
        let mut provenances = Provenances::new();
        layer("a: 007\n", &mut provenances);
        assert_eq!(provenances[&KeyPath::root().key("a")].text.as_deref(), Some("007"));
    }
}
