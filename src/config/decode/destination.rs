//! Where the rows of a rule go: `table`, `tables`, `table_aliases`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::table::Table;
use super::value::Value;
use crate::config::DatabaseUrl;
use crate::config::report::nearest;
use crate::rule::{Routing, Source, TableName, TablePattern, Template, TopicPattern};

const FORMS: &str =
    "TABLE or SCHEMA.TABLE, each at most 63 bytes, without quotes; or a template such as \"{topic.site}_telemetry\"";
const TABLES: &str = "a list of table names in which * stands for anything, such as [\"*_telemetry\"] or [\"abc.*\"]";

/// The table, or the template's text with what belongs to it.
pub(super) fn decode(
    table: &Table<'_>,
    sink: Option<&DatabaseUrl>,
    topics: Option<&[TopicPattern]>,
) -> Option<(TableName, Option<Arc<Routing>>)> {
    let is_sqlite = matches!(sink, Some(DatabaseUrl::Sqlite(_)));
    let (allowed, aliases) = (table.get("tables"), table.get("table_aliases"));
    let Some(value) = table.get("table") else {
        table.miss("table", FORMS);
        return None;
    };
    let text = value.text()?;
    if !text.contains('{') {
        for (key, value) in [("tables", allowed), ("table_aliases", aliases)] {
            if let Some(value) = value {
                value.refuse(
                    format!("`{key}` is for a table that messages name, and this one is fixed"),
                    "a template in `table`, or nothing here",
                );
            }
        }
        return name(&value, &text, is_sqlite).map(|name| (name, None));
    }
    let template = match Template::parse(&text) {
        Ok(template) => template,
        Err(error) => {
            value.refuse_with(error.message, Some(FORMS.to_owned()), error.suggestion);
            return None;
        }
    };
    for source in template.sources() {
        check_capture(source, &value, topics);
    }
    let aliases = aliases.map_or_else(BTreeMap::new, |value| decode_aliases(&value, is_sqlite));
    let allowed = match allowed {
        Some(value) => patterns(&value),
        None if aliases.is_empty() => {
            table.miss("tables", &format!("{TABLES}: what messages may name has to be said"));
            return None;
        }
        None => Vec::new(),
    };
    let shown = TableName { schema: None, name: text };
    let routing = Routing { table: template, allowed, aliases, has_schemas: !is_sqlite };
    Some((shown, Some(Arc::new(routing))))
}

fn name(value: &Value<'_>, text: &str, is_sqlite: bool) -> Option<TableName> {
    let Ok(name) = TableName::parse(text) else {
        value.refuse(format!("found {}", value.shown()), FORMS);
        return None;
    };
    if is_sqlite && name.schema.as_deref().is_some_and(|schema| schema != "main") {
        value.refuse(format!("found {}; SQLite has no schema but `main`", value.shown()), "TABLE");
    }
    if name.is_reserved(is_sqlite) {
        value.refuse(format!("found {}, which is not yours to write", value.shown()), "a table of your own");
    }
    Some(name)
}

fn patterns(value: &Value<'_>) -> Vec<TablePattern> {
    let texts = value.texts();
    if texts.is_empty() {
        value.refuse("allows no table", TABLES);
    }
    texts.iter().map(|(text, _)| TablePattern::new(text)).collect()
}

fn decode_aliases(value: &Value<'_>, is_sqlite: bool) -> BTreeMap<String, TableName> {
    let mut aliases = BTreeMap::new();
    let Some(entries) = value.entries() else { return aliases };
    for (text, value) in entries {
        let Some(meant) = value.text() else { continue };
        if let Some(table) = name(&value, &meant, is_sqlite) {
            aliases.insert(text.to_owned(), table);
        }
    }
    aliases
}

fn check_capture(source: &Source, value: &Value<'_>, topics: Option<&[TopicPattern]>) {
    let Source::TopicCapture(capture) = source else { return };
    for pattern in topics.unwrap_or_default() {
        let names: Vec<&str> = pattern.captures().collect();
        if !names.contains(&capture.as_str()) {
            let suggestion = nearest(capture, names.iter().copied());
            let accepted = "captures of every topic of the rule".to_owned();
            value.refuse_with(
                format!("the topic `{}` has no capture {{{capture}}}", pattern.as_str()),
                Some(accepted),
                suggestion,
            );
            return;
        }
    }
}
