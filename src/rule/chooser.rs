//! The database that a message names.

use std::collections::BTreeMap;

use super::{Convention, Source, Template};

/// Which database a message is for, under a rule whose `database` is a template, or whose convention names it. The rule is
/// there once for each database; all of these have the chooser in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chooser {
    pub naming: DatabaseNaming,
    /// What messages may call a database → its index.
    pub databases: BTreeMap<String, usize>,
    /// What the table's template gives (under a convention: the topic) → the database that `table_aliases` says. Goes before
    /// `naming`.
    pub aliases: BTreeMap<String, usize>,
    /// The table's template; only where there are aliases of it.
    pub table: Option<Template>,
    /// The database for what is at fault.
    pub first: usize,
}

/// How messages name their database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseNaming {
    Template(Template),
    Convention(Convention),
}

impl Chooser {
    /// As the configuration writes it.
    pub fn shown(&self) -> &str {
        match &self.naming {
            DatabaseNaming::Template(template) => template.as_str(),
            DatabaseNaming::Convention(_) => "the messages'",
        }
    }
}

impl Source {
    /// Whether the name uses the payload. If not, it is the same in every database.
    pub fn reads_payload(&self) -> bool {
        use Source::{Index, Item, Key, Parent, ParentIndex, ParentKey, Payload, Unmapped};
        matches!(self, Payload(_) | Item(_) | Index | Key | Parent(_) | ParentIndex | ParentKey | Unmapped)
    }
}
