//! The tables that `create` makes: their columns, the known types, the primary key and the indexes.

use std::sync::Arc;

use super::{Column, Columns, Format, Rule, Shaping, Syntax};
use crate::rule::{ColumnSource, DeclaredType, Decode, NewTable, Source, TableName};

/// How `table` is created with these columns, for the rules that write to it. The rules that say `create` determine its
/// primary key and indexes, or all rules if none says it. A key that `create` names takes precedence.
pub fn new_table<'r>(table: &TableName, rules: &[&'r Rule], columns: Vec<(&'r str, DeclaredType)>) -> NewTable<'r> {
    let creates = rules.iter().any(|rule| rule.create.is_some());
    let making = || rules.iter().copied().filter(|rule| rule.create.is_some() || !creates);
    let declared = making().filter_map(|rule| rule.create.as_deref());
    let key = declared.clone().map(|create| &create.primary_key[..]).chain(making().map(Rule::new_key));
    let mut indexes: Vec<Vec<&str>> = Vec::new();
    for columns in declared.flat_map(|create| &create.indexes) {
        let columns = names(columns);
        if !indexes.contains(&columns) {
            indexes.push(columns);
        }
    }
    NewTable::new(&table.name, columns, names(key.into_iter().find(|key| !key.is_empty()).unwrap_or_default()), indexes)
}

fn names(columns: &[Arc<str>]) -> Vec<&str> {
    columns.iter().map(AsRef::as_ref).collect()
}

impl Rule {
    /// The types of its statement's binds, in their order, as far as the configuration tells them.
    pub fn bind_types(&self) -> Vec<Option<DeclaredType>> {
        let (Some(statement), Columns::Named(columns)) = (&self.statement, &self.columns) else { return Vec::new() };
        let column = |bind: &Arc<str>| columns.iter().find(|column| column.name == *bind);
        statement.binds().iter().map(|bind| column(bind)?.create_type(&self.format, &self.shaping)).collect()
    }
}

impl Column {
    /// The type that the column gets in a table made by `create`: the declared one, else what its source always is.
    /// `None` where only the user can tell; a valid configuration with `create` has no such column.
    pub fn create_type(&self, format: &Format, shaping: &Shaping) -> Option<DeclaredType> {
        if let Some(declared) = &self.declared {
            return Some(declared.clone());
        }
        if self.time.is_some() {
            return Some(DeclaredType::Timestamptz);
        }
        if let Some(adjust) = &self.adjust {
            match adjust.decode.last() {
                _ if adjust.map.is_some() || adjust.makes_a_number() => return None,
                Some(Decode::Json) => return Some(DeclaredType::Json),
                Some(Decode::Base64 | Decode::Hex) => return Some(DeclaredType::Bytes),
                None => {}
            }
        }
        match &self.source {
            ColumnSource::From(source) => source_type(source, format, shaping),
            ColumnSource::FirstOf(sources) => {
                let mut types = sources.iter().map(|source| source_type(source, format, shaping));
                let first = types.next()??;
                types.all(|other| other.as_ref() == Some(&first)).then_some(first)
            }
            ColumnSource::Template(_) => Some(DeclaredType::Text),
            ColumnSource::Value(literal) => literal_type(literal),
            ColumnSource::Jq(_) => None,
        }
    }
}

fn source_type(source: &Source, format: &Format, shaping: &Shaping) -> Option<DeclaredType> {
    if shaping.transform.is_some() {
        // The output of a program is a JSON value, whatever its input was.
        return source.natural_type();
    }
    // In its place stands what it holds.
    if let Some(root) = shaping.roots.iter().find(|root| root.source == *source) {
        return Some(if root.has_parts() { DeclaredType::Json } else { DeclaredType::Bytes });
    }
    match (source, format) {
        (Source::Payload(path), Format::Text) if path.is_empty() => Some(DeclaredType::Text),
        (Source::Payload(path), Format::Bytes) if path.is_empty() => Some(DeclaredType::Bytes),
        (Source::Payload(path), Format::Decoded(decoding)) if path.is_empty() => match decoding.syntax {
            Syntax::Text => Some(DeclaredType::Text),
            Syntax::Bytes | Syntax::Hex | Syntax::Base64 => Some(DeclaredType::Bytes),
            _ => source.natural_type(),
        },
        _ => source.natural_type(),
    }
}

fn literal_type(literal: &serde_json::Value) -> Option<DeclaredType> {
    use serde_json::Value;
    Some(match literal {
        Value::Null => return None,
        Value::Bool(_) => DeclaredType::Bool,
        Value::Number(number) if number.is_i64() => DeclaredType::Bigint,
        Value::Number(number) if number.is_u64() => DeclaredType::Decimal(None),
        Value::Number(_) => DeclaredType::Double,
        Value::String(_) => DeclaredType::Text,
        Value::Array(_) | Value::Object(_) => DeclaredType::Json,
    })
}
