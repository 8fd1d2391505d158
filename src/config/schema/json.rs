//! From the table to a JSON Schema of draft 2020-12.
//!
//! The schema describes the text of the file: a scalar may contain `${VAR}`, and null means a key
//! that is left out. The layers above the file are not covered.

use serde_json::{Map, Value, json};

use super::keys::{ROOT, SOURCE};
use super::{Between, Key, Section, Takes, Text, patterns};
use crate::config::units::show_size;

/// The schema of bridge.yaml.
pub fn schema() -> Value {
    let mut schema = section(&ROOT);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!(format!("bridge.yaml of Rowbridge {}", env!("CARGO_PKG_VERSION")));
    schema["description"] = json!(
        "Scalars may hold ${VAR}, ${VAR:-default} and ${VAR:?message}. Durations: 200ms 30s 5m 12h 7d. Sizes: 64KiB 8MiB 1GiB."
    );
    schema
}

fn section(section: &Section) -> Value {
    let properties: Map<String, Value> = section.keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let required: Vec<&str> = section.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if !section.between.is_empty() {
        schema["allOf"] = section.between.iter().map(between).collect();
    }
    schema
}

fn property(key: &Key) -> Value {
    let schema = takes(&key.takes);
    let mut schema = if key.required { schema } else { nullable(schema) };
    let bounds = match &key.takes {
        Takes::Integer { min, max } => format!(" From {min} to {max}."),
        Takes::Duration(min, max) | Takes::WordOr(_, Takes::Duration(min, max)) => format!(" From {min} to {max}."),
        Takes::Size { min, max } => format!(" From {} to {}.", show_size(*min), show_size(*max)),
        _ => String::new(),
    };
    schema["description"] = json!(format!("{}{bounds}", key.about));
    if let Some(default) = key.default {
        schema["default"] = literal(default);
    }
    schema
}

fn takes(takes: &Takes) -> Value {
    match takes {
        Takes::Text(form) => text(form),
        Takes::Flag => json!({ "type": ["boolean", "string"], "pattern": or_variable(patterns::FLAG) }),
        Takes::Integer { min, max } => quantity(*min, *max, patterns::INTEGER),
        Takes::Size { min, max } => quantity(*min, *max, patterns::SIZE),
        Takes::Duration(..) => json!({ "type": "string", "pattern": or_variable(patterns::DURATION) }),
        Takes::Choice(words) => json!({ "anyOf": [one_of(words), variable()] }),
        Takes::Mapping(below) => section(below),
        Takes::Named { name, value, entries_min } => {
            let mut names = match name.pattern {
                Some(pattern) => json!({ "minLength": 1, "pattern": pattern }),
                None => json!({}),
            };
            if let Some(chars_max) = name.chars_max {
                names["maxLength"] = json!(chars_max);
            }
            json!({
                "type": "object", "minProperties": entries_min, "propertyNames": names,
                "additionalProperties": self::takes(value),
            })
        }
        Takes::List { item, items_min, single } => {
            let item = self::takes(item);
            let list = json!({ "type": "array", "items": item, "minItems": items_min });
            if *single { json!({ "anyOf": [item, list] }) } else { list }
        }
        Takes::WordOr(words, other) => json!({ "anyOf": [one_of(words), variable(), self::takes(other)] }),
        Takes::FlagOr(below) => json!({ "anyOf": [self::takes(&Takes::Flag), section(below)] }),
        Takes::SourceOr(below) => json!({ "anyOf": [text(&SOURCE), section(below)] }),
        Takes::Literal => json!({}),
    }
}

fn text(form: &Text) -> Value {
    let types = if form.numbers { json!(["string", "number", "boolean"]) } else { json!("string") };
    let mut schema = json!({ "type": types });
    // In the pattern, for a text with a variable in it may be longer.
    let length = form.chars_max.map(|chars_max| format!("(?=^.{{0,{chars_max}}}$)"));
    if form.pattern.is_some() || length.is_some() {
        let pattern = form.pattern.unwrap_or_default();
        schema["pattern"] = json!(or_variable(&format!("{}{pattern}", length.unwrap_or_default())));
    }
    if !form.examples.is_empty() {
        schema["examples"] = json!(form.examples);
    }
    schema
}

/// A number, or its text.
fn quantity(min: u64, max: u64, pattern: &str) -> Value {
    json!({ "type": ["integer", "string"], "minimum": min, "maximum": max, "pattern": or_variable(pattern) })
}

fn variable() -> Value {
    json!({ "type": "string", "pattern": patterns::VARIABLE })
}

fn or_variable(pattern: &str) -> String {
    format!("(?:{pattern})|{}", patterns::VARIABLE)
}

/// The words, and what YAML makes of them where they are not quoted.
fn one_of(words: &[&str]) -> Value {
    let mut values = Vec::new();
    for word in words {
        let unquoted = match word.to_ascii_lowercase().as_str() {
            "false" => Value::Bool(false),
            _ => literal(word),
        };
        for value in [unquoted, json!(word)] {
            if !values.contains(&value) {
                values.push(value);
            }
        }
    }
    if values.is_empty() { json!({ "type": "null" }) } else { json!({ "enum": values }) }
}

/// A scalar or empty list as YAML reads it.
fn literal(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| json!(text))
}

/// The same, or null.
fn nullable(mut schema: Value) -> Value {
    if let Some(types) = schema.get_mut("type") {
        let mut all = types.as_array().cloned().unwrap_or_else(|| vec![types.clone()]);
        if !all.contains(&json!("null")) {
            all.push(json!("null"));
        }
        *types = json!(all);
    } else if let Some(Value::Array(alternatives)) = schema.get_mut("anyOf") {
        alternatives.push(json!({ "type": "null" }));
    } else if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.push(Value::Null);
    }
    schema
}

fn between(between: &Between) -> Value {
    let given = |key: &str| json!({ "required": [key], "properties": { key: { "not": { "type": "null" } } } });
    match between {
        Between::Exclusive(a, b) => json!({ "not": { "allOf": [given(a), given(b)] } }),
        Between::Together(a, b) => json!({
            "anyOf": [{ "allOf": [given(a), given(b)] }, { "not": { "anyOf": [given(a), given(b)] } }],
        }),
        Between::AnyOf(keys) => json!({ "anyOf": keys.iter().map(|key| given(key)).collect::<Vec<_>>() }),
        Between::Unless(key, values, other, value) => {
            let values: Vec<Value> = values.iter().map(|value| literal(value)).collect();
            let both = json!({ *key: { "enum": values }, *other: { "const": literal(value) } });
            json!({ "not": { "required": [key, other], "properties": both } })
        }
        Between::Without(key, pattern, others) => {
            let absent: Map<String, Value> =
                others.iter().map(|other| ((*other).to_owned(), json!({ "type": "null" }))).collect();
            let is_such =
                json!({ "required": [key], "properties": { *key: { "type": "string", "pattern": pattern } } });
            json!({ "if": is_such, "then": { "properties": absent } })
        }
    }
}
