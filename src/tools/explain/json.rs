//! An explanation as JSON, in the form that scripts rely on: fields may be added, none renamed.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::{Explanation, Row, RowError, RuleView, ShownValue, Taken, TypesOf, Verdict};
use crate::config::Unmatched;

impl Serialize for Explanation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("topic", &self.topic)?;
        map.serialize_entry("rules", &self.rules)?;
        let is_taken = self.rules.iter().any(|view| matches!(view.verdict, Verdict::Taken(_)));
        let unmatched = match self.unmatched {
            _ if is_taken => None,
            Unmatched::Ignore => Some("ignore"),
            Unmatched::DeadLetter => Some("dead_letter"),
        };
        map.serialize_entry("unmatched", &unmatched)?;
        let types = |of: &TypesOf| {
            let from = if of.are_live { "live" } else { "assumed" };
            (of.database.to_string(), serde_json::json!({ "types": from, "error": of.unreachable }))
        };
        map.serialize_entry("databases", &self.databases.iter().map(types).collect::<BTreeMap<_, _>>())?;
        map.end()
    }
}

impl Serialize for RuleView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("rule", &*self.rule)?;
        map.serialize_entry("position", &self.position)?;
        map.serialize_entry("database", &*self.database)?;
        match &self.verdict {
            Verdict::NotTaken(why) => {
                map.serialize_entry("matched", &false)?;
                map.serialize_entry("why", why)?;
            }
            Verdict::Taken(taken) => {
                map.serialize_entry("matched", &true)?;
                taken.entries(&mut map)?;
            }
        }
        map.end()
    }
}

impl Taken {
    fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("pattern", &self.pattern)?;
        map.serialize_entry("comes_by", &self.comes_by)?;
        let captures: BTreeMap<&str, &str> =
            self.captures.iter().map(|(name, part)| (name.as_str(), part.as_str())).collect();
        map.serialize_entry("captures", &captures)?;
        map.serialize_entry("outcome", self.fate.word())?;
        map.serialize_entry("rows", &self.rows)?;
        let sql: Vec<&str> = self.rows.iter().map(|row| row.sql.as_str()).collect();
        map.serialize_entry("sql", &sql)?;
        map.serialize_entry("error", &self.error)?;
        map.serialize_entry("other_errors", &self.other_errors)?;
        map.serialize_entry("other_values", &Columns(&self.other_values))?;
        map.serialize_entry("note", &self.note)
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("database", &*self.database)?;
        map.serialize_entry("table", &self.table)?;
        map.serialize_entry("columns", &Columns(&self.values))?;
        map.serialize_entry("types", &Types(&self.values))?;
        map.serialize_entry("left_out", &self.left_out)?;
        map.end()
    }
}

impl Serialize for RowError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("reason", &self.reason)?;
        map.serialize_entry("column", &self.column)?;
        map.serialize_entry("message", &self.message)?;
        map.end()
    }
}

/// Values by column, in the table's order.
struct Columns<'v>(&'v [ShownValue]);

impl Serialize for Columns<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|value| (&value.column, raw(&value.held.json))))
    }
}

/// A JSON text as it is, numbers with all of their digits.
fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned())
        .or_else(|_| serde_json::value::to_raw_value(json))
        .expect("a text is JSON in quotes")
}

/// Types and sources by column.
struct Types<'v>(&'v [ShownValue]);

impl Serialize for Types<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Type<'v> {
            #[serde(rename = "type")]
            name: &'v str,
            from: &'v str,
            assumed: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            given: Option<Box<RawValue>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            adjusted_by: Option<&'v [&'static str]>,
            #[serde(skip_serializing_if = "Option::is_none")]
            nulled: Option<&'v str>,
        }
        serializer.collect_map(self.0.iter().map(|value| {
            let given = value.given.as_ref();
            let of = Type {
                name: &value.type_name,
                from: &value.from,
                assumed: value.is_assumed,
                given: given.map(|given| raw(&given.json)),
                adjusted_by: given.map(|given| &given.by[..]),
                nulled: given.and_then(|given| given.nulled.as_deref()),
            };
            (&value.column, of)
        }))
    }
}
