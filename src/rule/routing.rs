//! Tables named by messages: the template, the allowed tables, and the aliases.

use std::collections::BTreeMap;

use super::table_name::IDENTIFIER_BYTES_MAX;
use super::{Convention, TableName, Template};

/// Where the rows of a rule go whose table is a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routing {
    pub naming: Naming,
    /// Only tables that one of these fits; any, if there is none.
    pub allowed: Vec<TablePattern>,
    /// What the template gives → the table that is meant. Aliases need not be allowed otherwise.
    pub aliases: BTreeMap<String, TableName>,
    /// Whether the database has schemas. SQLite has not.
    pub has_schemas: bool,
    /// What a convention may call the database itself.
    pub databases: Vec<String>,
}

/// How messages name their table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Naming {
    Template(Template),
    Convention(Convention),
}

/// A table's name in which `*` stands for any number of characters, also none. Without a dot it is one without a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablePattern(String);

/// Why a text names no table that rows may go to: the rest of a sentence that begins with "the table's name".
pub type Forbidden = &'static str;

impl TablePattern {
    pub fn new(text: &str) -> TablePattern {
        TablePattern(text.to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn fits(&self, name: &TableName) -> bool {
        match (self.0.split_once('.'), &name.schema) {
            (Some((schema, table)), Some(named)) => fits(schema, named) && fits(table, &name.name),
            (None, None) => fits(&self.0, &name.name),
            _ => false,
        }
    }
}

/// Whether `text` is `pattern`, whose stars stand for any number of characters, also none.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut left) = text.strip_prefix(first) else { return false };
    let parts: Vec<&str> = rest.split('*').collect();
    let (last, between) = parts.split_last().expect("a split gives at least one part");
    for part in between {
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.len() >= last.len() && left.ends_with(last)
}

impl Routing {
    /// The table that `text`, which the template gave, means.
    pub fn resolve(&self, text: &str) -> Result<TableName, Forbidden> {
        if let Some(table) = self.aliases.get(text) {
            return Ok(table.clone());
        }
        let name = match self.naming {
            Naming::Template(_) => TableName::parse(text)?,
            Naming::Convention(convention) => {
                TableName::of_convention(convention, text, self.has_schemas, &self.databases)?
            }
        };
        if !self.has_schemas && name.schema.as_deref().is_some_and(|schema| schema != "main") {
            return Err("has a schema, and SQLite has none but `main`");
        }
        if name.is_reserved(!self.has_schemas) {
            return Err("is that of a table which is not the user's to write");
        }
        match self.allowed.is_empty() || self.allowed.iter().any(|pattern| pattern.fits(&name)) {
            true => Ok(name),
            false => Err("is not among those that `tables` allows"),
        }
    }
}

impl TableName {
    /// `table` or `schema.table`, without quotes.
    pub fn parse(text: &str) -> Result<TableName, Forbidden> {
        let (schema, name) = match text.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, text),
        };
        for part in schema.into_iter().chain([name]) {
            if part.is_empty() {
                return Err("is empty");
            }
            if part.len() > IDENTIFIER_BYTES_MAX {
                return Err("is longer than 63 bytes");
            }
            if part.trim() != part || part.contains(|c: char| c.is_control() || matches!(c, '"' | '`' | '.')) {
                return Err("holds a quote, a control character, a second dot, or a space at its edge");
            }
        }
        Ok(TableName { schema: schema.map(str::to_owned), name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routing(allowed: &[&str]) -> Routing {
        Routing {
            naming: Naming::Template(Template::parse("{topic.site}_x").unwrap()),
            allowed: allowed.iter().map(|text| TablePattern::new(text)).collect(),
            aliases: [("/edge/1".to_owned(), TableName::parse("abc.sensors").unwrap())].into(),
            has_schemas: true,
            databases: Vec::new(),
        }
    }

    #[test]
    fn stars_stand_for_anything_within_a_part() {
        for (pattern, text, expected) in [
            ("*", "t", true),
            ("t", "t", true),
            ("t", "tt", false),
            ("*_telemetry", "a_telemetry", true),
            ("*_telemetry", "a_telemetry2", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "axxbxxc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("abc.*", "abc.t", true),
            ("abc.*", "t", false),
            ("*", "abc.t", false),
            ("*.t", "abc.t", true),
        ] {
            assert_eq!(TablePattern::new(pattern).fits(&TableName::parse(text).unwrap()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn only_allowed_names_and_aliases_are_tables() {
        let routing = routing(&["*_x", "abc.t"]);
        assert_eq!(routing.resolve("a_x").unwrap().to_string(), "a_x");
        assert_eq!(routing.resolve("/edge/1").unwrap().to_string(), "abc.sensors");
        for (text, why) in [
            ("y", "allows"),
            ("abc.u", "allows"),
            ("", "empty"),
            ("a.", "empty"),
            ("a.b.c_x", "second dot"),
            ("a\"; drop table t; --_x", "quote"),
            ("a\0_x", "control"),
            (" a_x", "space"),
            ("rowbridge_offsets", "not the user's"),
            ("pg_catalog.pg_authid", "not the user's"),
            ("information_schema.sql_features", "not the user's"),
        ] {
            assert!(routing.resolve(text).unwrap_err().contains(why), "{text}");
        }
        assert!(routing.resolve(&format!("{}_x", "é".repeat(31))).unwrap_err().contains("63"));
    }

    #[test]
    fn sqlite_has_no_schemas() {
        let routing = Routing { has_schemas: false, ..routing(&["*", "*.*"]) };
        assert!(routing.resolve("t").is_ok() && routing.resolve("main.t").is_ok());
        assert!(routing.resolve("abc.t").is_err() && routing.resolve("sqlite_x").is_err());
    }
}
