//! The keys of bridge.yaml in one table (`keys/`): name, accepted values, default, meaning. The JSON Schema for
//! editors and the words that messages may show are made from it.
//!
//! The decoder does not read the table. Tests compare the two: each section of the decoder has exactly the keys of its
//! table, and every default, bound and word of the table is the decoder's. So a new key is an entry in `keys/` beside
//! its decoder.

mod json;
mod keys;
mod patterns;

use std::collections::BTreeSet;

pub use json::schema;
#[cfg(test)]
pub(super) use keys::ROOT;

/// One key of a mapping.
pub(super) struct Key {
    pub name: &'static str,
    pub takes: Takes,
    /// As YAML writes it; `None` if there is no default, or none that is the same everywhere.
    pub default: Option<&'static str>,
    /// Must be there, and not null. Every other key takes null for its default.
    pub required: bool,
    /// One or two sentences without the bounds, which are added.
    pub about: &'static str,
}

/// What a key takes. Except for mappings, lists and literals every one is a scalar that may be given as text, also by a
/// variable.
pub(super) enum Takes {
    /// Any scalar as text.
    Text(Text),
    Flag,
    Integer {
        min: u64,
        max: u64,
    },
    /// From and to, as people write them.
    Duration(&'static str, &'static str),
    Size {
        min: u64,
        max: u64,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    Mapping(&'static Section),
    /// A mapping whose keys the user chooses.
    Named {
        name: Text,
        value: &'static Takes,
        /// As many entries at least.
        entries_min: u64,
    },
    /// A list; if `single`, a single value counts as a list of one.
    List {
        item: &'static Takes,
        items_min: u64,
        single: bool,
    },
    /// A word in place of something larger.
    WordOr(&'static [&'static str], &'static Takes),
    /// A source, or a mapping with one.
    SourceOr(&'static Section),
    /// True, false, or a mapping, which stands for true.
    FlagOr(&'static Section),
    /// Any value, null included.
    Literal,
}

/// What a text looks like.
#[derive(Clone, Copy)]
pub(super) struct Text {
    /// A regular expression that ECMA 262 and Rust read alike.
    pub pattern: Option<&'static str>,
    /// Characters; the decoder counts bytes, which are as many or more.
    pub chars_max: Option<u64>,
    /// Whether an unquoted number or boolean will do, as the text that it is written with.
    pub numbers: bool,
    /// Offered by editors.
    pub examples: &'static [&'static str],
}

/// A mapping with known keys.
pub(super) struct Section {
    pub keys: &'static [Key],
    /// What holds between its keys.
    pub between: &'static [Between],
}

/// What holds between keys of one mapping.
pub(super) enum Between {
    /// At most one of them.
    Exclusive(&'static str, &'static str),
    /// Both or neither.
    Together(&'static str, &'static str),
    /// At least one of them.
    AnyOf(&'static [&'static str]),
    /// If the first has one of these values (JSON), the second has not this one.
    Unless(&'static str, &'static [&'static str], &'static str, &'static str),
    /// If the first matches, these must not be there.
    Without(&'static str, &'static str, &'static [&'static str]),
}

impl Key {
    const fn new(name: &'static str, takes: Takes, about: &'static str) -> Key {
        Key { name, takes, default: None, required: false, about }
    }

    const fn default(self, default: &'static str) -> Key {
        Key { default: Some(default), ..self }
    }

    const fn required(self) -> Key {
        Key { required: true, ..self }
    }
}

impl Text {
    const ANY: Text = Text { pattern: None, chars_max: None, numbers: true, examples: &[] };
    const NOT_EMPTY: Text = Text { pattern: Some(patterns::NOT_EMPTY), ..Text::ANY };

    const fn pattern(pattern: &'static str) -> Text {
        Text { pattern: Some(pattern), numbers: false, ..Text::ANY }
    }

    const fn numbers(self) -> Text {
        Text { numbers: true, ..self }
    }

    const fn most(self, chars_max: u64) -> Text {
        Text { chars_max: Some(chars_max), ..self }
    }

    const fn examples(self, examples: &'static [&'static str]) -> Text {
        Text { examples, ..self }
    }
}

impl Takes {
    /// The section that it is or leads to, in whichever form.
    pub(super) fn section(&self) -> Option<&'static Section> {
        match self {
            Takes::Mapping(section) | Takes::SourceOr(section) | Takes::FlagOr(section) => Some(section),
            Takes::Named { value, .. } => value.section(),
            Takes::List { item, .. } => item.section(),
            Takes::WordOr(_, other) => other.section(),
            _ => None,
        }
    }
}

/// The names of all keys, in whichever section.
pub(super) fn names() -> BTreeSet<&'static str> {
    fn add(section: &'static Section, names: &mut BTreeSet<&'static str>) {
        for key in section.keys {
            names.insert(key.name);
            if let Some(below) = key.takes.section() {
                add(below, names);
            }
        }
    }
    let mut names = BTreeSet::new();
    add(&keys::ROOT, &mut names);
    names
}
