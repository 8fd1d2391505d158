//! The table of a rule's rows: `table`, `tables`, `table_aliases`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::home::Place;
use super::table::Table;
use super::value::Value;
use crate::config::DatabaseUrl;
use crate::config::report::nearest;
use crate::rule::{Convention, Descriptor, Naming, Routing, Source, TableName, TablePattern, Template, TopicPattern};

const FORMS: &str =
    "TABLE or SCHEMA.TABLE, each at most 63 bytes, without quotes; or a template such as \"{topic.site}_telemetry\"";
const TABLES: &str = "a list of table names in which * matches anything, such as [\"*_telemetry\"] or [\"abc.*\"]";

/// The table, or the template's text with what belongs to it.
pub(super) fn decode(
    table: &Table<'_>,
    place: Place<'_>,
    topics: Option<&[TopicPattern]>,
) -> Option<(TableName, Option<Arc<Routing>>)> {
    let is_sqlite = matches!(place.sink(), Some(DatabaseUrl::Sqlite(_)));
    let (allowed, aliases) = (table.get("tables"), table.get("table_aliases"));
    let Some(value) = table.get("table") else {
        table.miss("table", FORMS);
        return None;
    };
    let text = value.text()?;
    if !text.contains('{') {
        // A database that is at fault may have been meant to be named.
        let names_database = place.chooser.is_some() || place.database.is_none();
        if let (true, Some(allowed), Ok(name)) = (names_database, &allowed, TableName::parse(&text))
            && !patterns(allowed).iter().any(|pattern| pattern.fits(&name))
        {
            allowed.refuse(format!("does not allow the table `{name}` of this rule"), TABLES);
        }
        for (key, value) in [("tables", allowed.filter(|_| !names_database)), ("table_aliases", aliases)] {
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
    let aliases = aliases.map_or_else(BTreeMap::new, |value| decode_aliases(&value, is_sqlite, place));
    let allowed = match allowed {
        Some(value) => patterns(&value),
        // It has its finding.
        None if place.chooser.is_some() => return None,
        None if aliases.is_empty() => {
            table.miss("tables", &format!("{TABLES}: the tables that messages may name"));
            return None;
        }
        None => Vec::new(),
    };
    let shown = TableName { schema: None, name: text };
    let naming = Naming::Template(template);
    let routing = Routing { naming, allowed, aliases, has_schemas: !is_sqlite, databases: Vec::new() };
    Some((shown, Some(Arc::new(routing))))
}

/// `convention: joinbase | machbase`, in place of `table`, `format` and `columns`.
pub(super) fn convention(
    table: &Table<'_>,
    convention: Convention,
    place: Place<'_>,
) -> (TableName, Option<Arc<Routing>>) {
    refuse_beside(table, "convention", &["table", "format", "into", "statement", "for_each", "columns", "create"]);
    let (database, sink) = (place.own(), place.sink());
    let is_sqlite = matches!(sink, Some(DatabaseUrl::Sqlite(_)));
    let mut databases: Vec<String> = database.iter().map(|database| database.name.to_string()).collect();
    if let Some(DatabaseUrl::Postgres(url)) = sink {
        databases.extend(url.config.get_dbname().map(str::to_owned));
    }
    let aliases = table.get("table_aliases");
    let aliases = aliases.map_or_else(BTreeMap::new, |value| match is_sqlite {
        true => decode_aliases_without_schema(&value, place),
        false => decode_aliases(&value, false, place),
    });
    let mut allowed = table.get("tables").map_or_else(Vec::new, |value| patterns(&value));
    if convention == Convention::Machbase {
        // Its names have no case.
        allowed = allowed.iter().map(|pattern| TablePattern::new(&pattern.as_str().to_lowercase())).collect();
    }
    let routing =
        Routing { naming: Naming::Convention(convention), allowed, aliases, has_schemas: !is_sqlite, databases };
    let shown = match convention {
        Convention::Joinbase => "the messages' (joinbase)",
        Convention::Machbase => "the messages' (machbase)",
    };
    (TableName { schema: None, name: shown.to_owned() }, Some(Arc::new(routing)))
}

/// `into: "db/append/EXAMPLE:csv?timeformat=s"`, in place of `table`, `format` and their options.
pub(super) fn into(
    table: &Table<'_>,
    value: &Value<'_>,
    sink: Option<&DatabaseUrl>,
) -> Option<(TableName, Descriptor)> {
    const FORMS: &str =
        "db/append/TABLE or db/write/TABLE, then :FORMAT:COMPRESS and ?timeformat=…&tz=…&delimiter=…&header=…";
    refuse_beside(
        table,
        "into",
        &["table", "tables", "table_aliases", "format", "for_each", "statement", "columns", "create"],
    );
    let text = value.text()?;
    let is_sqlite = matches!(sink, Some(DatabaseUrl::Sqlite(_)));
    match Descriptor::parse(&text) {
        Ok(descriptor) => name(value, &descriptor.table.to_lowercase(), is_sqlite).map(|name| (name, descriptor)),
        Err(fault) => {
            value.refuse(format!("found {}, which {fault}", value.shown()), FORMS);
            None
        }
    }
}

/// Keys that say what another key says already.
pub(super) fn refuse_beside(table: &Table<'_>, key: &str, others: &[&'static str]) {
    for other in others {
        if let Some(value) = table.get(other) {
            value.refuse(format!("`{key}` says it already"), format!("one of `{key}` and `{other}`"));
        }
    }
}

/// SQLite has no schemas: of `abc.sensors` the table is `sensors`.
fn decode_aliases_without_schema(value: &Value<'_>, place: Place<'_>) -> BTreeMap<String, TableName> {
    let mut aliases = BTreeMap::new();
    for (text, value) in alias_entries(value) {
        let Some(meant) = value.text() else { continue };
        let Some(meant) = place.meant(&meant) else { continue };
        let meant = meant.rsplit('.').next().unwrap_or_default();
        if let Some(table) = name(&value, meant, true) {
            aliases.insert(text.to_owned(), table);
        }
    }
    aliases
}

fn alias_entries<'a>(value: &Value<'a>) -> impl Iterator<Item = (&'a str, Value<'a>)> {
    let entries = value.entries();
    if entries.is_none() {
        value.refuse(format!("found {}", value.shown()), "a mapping of what the template gives to tables");
    }
    entries.into_iter().flatten()
}

pub(super) fn name(value: &Value<'_>, text: &str, is_sqlite: bool) -> Option<TableName> {
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

fn decode_aliases(value: &Value<'_>, is_sqlite: bool, place: Place<'_>) -> BTreeMap<String, TableName> {
    let mut aliases = BTreeMap::new();
    for (text, value) in alias_entries(value) {
        let Some(meant) = value.text() else { continue };
        let Some(meant) = place.meant(&meant) else { continue };
        if let Some(table) = name(&value, meant, is_sqlite) {
            aliases.insert(text.to_owned(), table);
        }
    }
    aliases
}

pub(super) fn check_capture(source: &Source, value: &Value<'_>, topics: Option<&[TopicPattern]>) {
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
