//! What `create: true` knows about a column's type without being told.

use std::sync::Arc;

use super::{Column, Columns, Format, Rule, Shaping, Syntax};
use crate::rule::{ColumnSource, DeclaredType, Decode, Source};

/// The primary key of a table made for these rules, which all write to it: what the first of them goes by that names a key.
pub fn create_key<'r>(rules: impl IntoIterator<Item = &'r Rule>) -> Vec<&'r str> {
    let named = rules.into_iter().filter_map(|rule| rule.mode.key());
    named.filter(|key| !key.is_empty()).map(|key| key.iter().map(AsRef::as_ref).collect()).next().unwrap_or_default()
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
        // What a program gives is a JSON value, whatever it was given.
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
