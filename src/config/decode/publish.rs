//! The `publish` section.

use std::collections::HashMap;
use std::sync::Arc;

use super::alike::Alike;
use super::destination;
use super::home;
use super::jq;
use super::rule;
use super::table::Table;
use super::topic::QOS;
use super::value::Value;
use crate::config::loops;
use crate::config::report::nearest;
use crate::config::{Database, DatabaseUrl, Events, MqttVersion, Publication, PublishFormat, Rule, TimeForm};
use crate::message::Qos;
use crate::rule::{Piece, RowSource, Template, is_text};

const EXAMPLE: &str = "a list, each entry with `table` and `topic`";
const TOPIC: &str = "a topic, with {bridge} {database} {schema} {table} {event} {offset} or {row.COLUMN} in it";
const FORMATS: &str = "envelope, row, or a jq program such as '{t: .row.ts, v: .row.f1}'";
const PROPERTIES: &str = "a mapping of names to texts, which may hold {table} or {row.COLUMN}";

/// See [`Publication::max_pending`].
const MAX_PENDING: u64 = 1_000_000;
const MAX_PENDING_MOST: u64 = 1_000_000_000;

const TIMES: [(&str, TimeForm); 5] = [
    ("rfc3339", TimeForm::Rfc3339),
    ("s", TimeForm::Epoch(1)),
    ("ms", TimeForm::Epoch(1_000)),
    ("us", TimeForm::Epoch(1_000_000)),
    ("ns", TimeForm::Epoch(1_000_000_000)),
];

/// A topic of MQTT 3.1.1 and 5.
const TOPIC_BYTES_MAX: usize = 65_535;

/// What the entries are judged by.
pub(super) struct Around<'a> {
    pub(super) version: MqttVersion,
    pub(super) bridge: &'a str,
    pub(super) databases: &'a [Database],
    pub(super) rules: &'a [Rule],
}

pub(super) fn decode(root: &Table<'_>, around: &Around<'_>) -> Vec<Publication> {
    let Some(section) = root.get("publish") else { return Vec::new() };
    if !section.is_list() {
        section.refuse(format!("found {}; each entry begins with `-`", section.shown()), EXAMPLE);
        return Vec::new();
    }
    let mut names: HashMap<Arc<str>, String> = HashMap::new();
    let mut alike = Alike::default();
    let (mut publications, mut topics) = (Vec::new(), Vec::new());
    for value in section.list() {
        let table = value.table();
        if let Some((publication, own_topics)) = decode_one(&table, around, &mut alike) {
            if let Some(first) = names.insert(Arc::clone(&publication.name), value.place_text()) {
                let at = table.get("name").unwrap_or_else(|| value.clone());
                let problem = format!("the name `{}` was given before, at {first}", publication.name);
                at.refuse(problem, "a `name` of its own for each entry");
            }
            publications.push(publication);
            topics.push(own_topics);
        }
        table.finish();
    }
    refuse_loops(&publications, &topics, around);
    publications
}

/// Where the topics of an entry stand.
struct Topics<'v> {
    rows: Value<'v>,
    meta: Option<Value<'v>>,
}

fn decode_one<'v>(table: &Table<'v>, around: &Around<'_>, alike: &mut Alike) -> Option<(Publication, Topics<'v>)> {
    let name = table.get("name");
    let name = name.as_ref().map(rule::name);
    let database = home::one(table, around.databases);
    let url = database.and_then(|index| around.databases.get(index)).map(|database| &database.url);
    let is_sqlite = matches!(url, Some(DatabaseUrl::Sqlite(_)));
    let source = match table.get("table") {
        Some(value) => value.text().and_then(|text| destination::name(&value, &text, is_sqlite)),
        None => {
            table.miss("table", "the table whose rows are published");
            None
        }
    };
    let events = table.get("events").map_or(Events { insert: true, ..Events::default() }, |value| events(&value));
    let with_existing = table.choice("start", false, &[("now", false), ("existing", true)]);
    let predicate = table.get("where").and_then(|value| program(&value, alike));
    let columns = table.get("columns").map_or_else(Vec::new, |value| columns(&value));
    let topic = match table.get("topic") {
        Some(value) => topic_of(&value).map(|topic| (topic, value)),
        None => {
            table.miss("topic", TOPIC);
            None
        }
    };
    let format = table.get("format").map_or(Some(PublishFormat::Envelope), |value| format(&value, alike));
    let qos = table.choice("qos", Qos::AtLeastOnce, &QOS);
    let retain = table.flag("retain", false);
    let properties = table.get("properties").map_or_else(Vec::new, |value| properties(&value, around.version));
    let meta_topic = table.get("meta_topic").and_then(|value| topic_of(&value).map(|topic| (topic, value)));
    let max_pending = table.integer("max_pending", MAX_PENDING, 1..=MAX_PENDING_MOST);
    let time = table.choice("time", TimeForm::Rfc3339, &TIMES);
    let source = source?;
    let name = match name {
        Some(name) => name?,
        None => source.to_string().into(),
    };
    let (topic, rows) = topic?;
    let (meta_topic, meta) = meta_topic.unzip();
    let publication = Publication {
        name,
        database: database?,
        table: source,
        events,
        with_existing,
        predicate,
        columns,
        topic,
        format: format?,
        qos,
        retain,
        properties,
        meta_topic,
        max_pending,
        time,
    };
    Some((publication, Topics { rows, meta }))
}

fn events(value: &Value<'_>) -> Events {
    let mut events = Events::default();
    let mut is_any = false;
    for (text, value) in value.texts() {
        is_any = true;
        match text.as_str() {
            "insert" => events.insert = true,
            "update" => events.update = true,
            "delete" => events.delete = true,
            _ => {
                let suggestion = nearest(&text, Events::NAMES);
                let accepted = Some(Events::NAMES.join(", "));
                value.refuse_with(format!("found {}", value.shown()), accepted, suggestion);
            }
        }
    }
    if !is_any {
        value.refuse("publishes nothing", Events::NAMES.join(", "));
    }
    events
}

fn columns(value: &Value<'_>) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    for (text, value) in value.texts() {
        if columns.contains(&text) {
            value.refuse(format!("{} stands there twice", value.shown()), "each column once");
        }
        columns.push(text);
    }
    columns
}

/// A program on a change, which has no message around it.
fn program(value: &Value<'_>, alike: &mut Alike) -> Option<Arc<crate::jq::Program>> {
    let program = jq::program(value, alike)?;
    if let Some(variable) = program.variables().first() {
        let problem = format!("uses `{}`, and there is no message here", variable.name());
        value.refuse(problem, "`.event`, `.row.COLUMN` and `.old.COLUMN`");
    }
    Some(program)
}

fn format(value: &Value<'_>, alike: &mut Alike) -> Option<PublishFormat> {
    match value.text()?.as_str() {
        "envelope" => Some(PublishFormat::Envelope),
        "row" => Some(PublishFormat::Row),
        text if text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => {
            let suggestion = nearest(text, ["envelope", "row"]);
            value.refuse_with(format!("found {}", value.shown()), Some(FORMATS.to_owned()), suggestion);
            None
        }
        _ => program(value, alike).map(PublishFormat::Program),
    }
}

fn template(value: &Value<'_>, accepted: &str) -> Option<Template<RowSource>> {
    let text = value.text()?;
    match Template::parse_with(&text, RowSource::parse) {
        Ok(template) => Some(template),
        Err(error) if value.may_be_quoted() => {
            value.refuse_with(error.message, Some(accepted.to_owned()), error.suggestion);
            None
        }
        Err(_) => {
            value.refuse("is no template with its variables filled in", accepted);
            None
        }
    }
}

fn topic_of(value: &Value<'_>) -> Option<Template<RowSource>> {
    let template = template(value, TOPIC)?;
    let texts = template.pieces().iter().filter_map(|piece| match piece {
        Piece::Text(text) => Some(text.as_str()),
        Piece::Source(_) => None,
    });
    if texts.clone().any(|text| text.contains(['+', '#', '\0'])) {
        value.refuse("has a wildcard (+ or #) or a NUL in it, which a message's topic cannot have", TOPIC);
        return None;
    }
    if template.as_str().is_empty() || texts.map(str::len).sum::<usize>() > TOPIC_BYTES_MAX {
        value.refuse("is empty, or longer than the 65,535 bytes of an MQTT topic", TOPIC);
        return None;
    }
    Some(template)
}

fn properties(value: &Value<'_>, version: MqttVersion) -> Vec<(String, Template<RowSource>)> {
    let Some(entries) = value.entries() else {
        value.refuse(format!("found {}", value.shown()), PROPERTIES);
        return Vec::new();
    };
    let mut properties = Vec::new();
    for (name, value) in entries {
        if version == MqttVersion::V3 {
            value.refuse("MQTT 3.1.1 has no properties", "mqtt.version: 5, or no properties");
        }
        if !is_text(name) || name.len() > TOPIC_BYTES_MAX {
            value.refuse(
                "its name is too long, or has a control character, for which brokers end connections",
                PROPERTIES,
            );
            continue;
        }
        if let Some(template) = template(&value, PROPERTIES) {
            properties.push((name.to_owned(), template));
        }
    }
    properties
}

/// A certain loop is a mistake, and so is a rule that takes changes of the definition for rows.
fn refuse_loops(publications: &[Publication], topics: &[Topics<'_>], around: &Around<'_>) {
    let Around { bridge, databases, rules, .. } = around;
    for found in loops::find(bridge, databases, rules, publications).iter().filter(|found| found.is_certain) {
        topics[found.publication()]
            .rows
            .refuse(found.words(rules, publications), "a topic that no rule of this table takes");
    }
    for (publication, topics) in publications.iter().zip(topics) {
        if let (Some(template), Some(value)) = (&publication.meta_topic, &topics.meta)
            && let Some((rule, topic)) = loops::takes_definition(bridge, databases, rules, publication, template)
        {
            let problem = format!(
                "rule `{}` takes `{topic}` into the same table: each change of the definition would be stored as a row",
                rule.name
            );
            value.refuse(problem, "a topic that no rule of this table takes");
        }
    }
}
