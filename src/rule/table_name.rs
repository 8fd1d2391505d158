//! The name of a table.

use std::fmt;

/// A table's name, optionally qualified by a schema. SQLite knows no schema but `main`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TableName {
    pub schema: Option<String>,
    pub name: String,
}

impl fmt::Display for TableName {
    /// As a person writes it, unquoted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Postgres cuts longer names off, silently; SQLite takes any, but a configuration should move between the two.
pub(crate) const IDENTIFIER_BYTES_MAX: usize = 63;

/// The tables that Rowbridge keeps for itself.
pub(super) const OWN_TABLES: [&str; 6] = [
    "rowbridge_offsets",
    "rowbridge_dead_letters",
    "rowbridge_retained",
    "rowbridge_schema_version",
    "rowbridge_changes",
    "rowbridge_publications",
];

/// The prefix of the table name of a rule with a statement. No real table may have it.
const OF_STATEMENT: &str = "statement of rule ";

impl TableName {
    /// The table name of a rule that has a statement: rows of each such rule are held and parked separately.
    pub fn of_statement(rule: &str) -> TableName {
        TableName { schema: None, name: format!("{OF_STATEMENT}{rule}") }
    }

    /// For messages: "table readings" or "statement of rule readings".
    pub fn described(&self) -> String {
        if self.name.starts_with(OF_STATEMENT) { self.name.clone() } else { format!("table {self}") }
    }

    /// Whether it is a table of Rowbridge's own, or of the database's.
    pub fn is_reserved(&self, is_sqlite: bool) -> bool {
        let lower = self.name.to_ascii_lowercase();
        OWN_TABLES.contains(&lower.as_str())
            || (is_sqlite && lower.starts_with("sqlite_"))
            || (!is_sqlite && self.schema.as_deref().is_some_and(is_schema_of_the_server))
            || lower.starts_with(OF_STATEMENT)
    }

    /// Quoted for SQL, for both engines.
    pub fn quoted(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{}", quote(schema), quote(&self.name)),
            None => quote(&self.name),
        }
    }
}

/// A role with many rights could write the server's own tables, those of its users among them.
fn is_schema_of_the_server(schema: &str) -> bool {
    schema.starts_with("pg_") || schema == "information_schema"
}

/// An identifier in double quotes, as SQL has it.
pub fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}
