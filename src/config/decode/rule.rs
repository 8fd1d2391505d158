//! The `rules` section.

use std::collections::HashMap;
use std::sync::Arc;

use super::alike::Alike;
use super::column;
use super::create;
use super::created::Created;
use super::destination;
use super::for_each;
use super::format::Formats;
use super::home::{Home, Place};
use super::jq;
use super::mode;
use super::reply;
use super::roots;
use super::rules_from;
use super::statement;
use super::table::Table;
use super::topic::{QOS, subscribe_properties, topics};
use super::value::Value;
use crate::config::report::nearest;
use crate::config::{
    Column, Columns, Create, Database, DatabaseUrl, ForEach, Format, Mode, MqttVersion, OnError, Retained, Rule,
    Shaping, Unmapped, rule_of_form,
};
use crate::message::Qos;
use crate::rule::{ColumnSource, Convention, DeclaredType, Form, Routing, Source, Statement, TableName, TopicPattern};

/// The name of a rule or query appears in metrics and messages.
const NAME_BYTES_MAX: usize = 100;
/// Rows of one message, by default and at most: they are mapped and written together.
const ROWS_MAX: u64 = 100_000;
const ROWS_MOST: u64 = 10_000_000;

pub(super) const ON_ERROR: [(&str, OnError); 3] =
    [("dead_letter", OnError::DeadLetter), ("drop", OnError::Drop), ("halt", OnError::Halt)];

/// Keys that a later version takes.
const LATER: [&str; 2] = ["keep", "keep_by"];

const CONVENTIONS: [(&str, Convention); 2] = [("joinbase", Convention::Joinbase), ("machbase", Convention::Machbase)];

pub(super) fn decode(root: &Table<'_>, version: MqttVersion, databases: &[Database]) -> Vec<Rule> {
    let sections = rules_from::sections(root);
    let mut names: HashMap<Arc<str>, String> = HashMap::new();
    let mut created = Created::default();
    let mut alike = Alike::default();
    let mut formats = Formats::default();
    let mut rules = Vec::new();
    for (index, value) in sections.iter().flat_map(Value::list).enumerate() {
        let table = value.table();
        let named = table.get("name");
        let name = named.as_ref().and_then(name).unwrap_or_else(|| format!("rule-{}", index + 1).into());
        if let Some(first) = names.insert(Arc::clone(&name), value.place_text()) {
            let at = named.as_ref().unwrap_or(&value);
            at.refuse(
                format!("the rule name `{name}` was given before, at {first}"),
                "a name of its own for each rule",
            );
        }
        let properties = subscribe_properties(&table, version);
        let home = Home::decode(&table, databases);
        for database in home.databases(databases) {
            let place = Place { databases, database, chooser: home.chooser() };
            if let Some(mut rule) = decode_one(Arc::clone(&name), &value, &table, place, &mut formats, &mut alike) {
                rule.subscribe_properties.clone_from(&properties);
                created.add(&rule, &table, databases);
                rules.push(rule);
            }
        }
        table.refuse_later(&LATER);
        table.finish();
    }
    created.check();
    rules
}

pub(super) fn name(value: &Value<'_>) -> Option<Arc<str>> {
    let text = value.text()?;
    if text.is_empty() || text.len() > NAME_BYTES_MAX || text.contains('\0') {
        value.refuse(format!("found {}", value.shown()), "1 to 100 bytes");
        return None;
    }
    Some(text.into())
}

fn decode_one(
    name: Arc<str>,
    value: &Value<'_>,
    table: &Table<'_>,
    place: Place<'_>,
    formats: &mut Formats,
    alike: &mut Alike,
) -> Option<Rule> {
    let (topics, own_qos) = topics(table).unzip();
    let qos = table.choice("qos", Qos::AtLeastOnce, &QOS);
    let sink = place.sink();
    let mut shaping = jq::shaping(table, alike);
    let rows_max = table.integer("max_rows_per_message", ROWS_MAX, 1..=ROWS_MOST);
    let what = match (table.get("convention"), table.get("into")) {
        (Some(value), _) => value.choice(&CONVENTIONS).map(|convention| {
            others_words(table, &mut shaping);
            let (table, routing) = destination::convention(table, convention, place);
            What { table, routing, ..What::named() }
        }),
        (None, Some(value)) => destination::into(table, &value, sink).map(|(target, descriptor)| {
            others_words(table, &mut shaping);
            What { table: target, into: Some((descriptor.form, value)), ..What::named() }
        }),
        (None, None) => own_words(&name, table, topics.as_deref(), place, &mut shaping, formats, alike),
    };
    let create = what.as_ref().and_then(|what| what.create.clone());
    let mode = match table.get("statement") {
        Some(_) => Mode::Insert,
        None => mode::decode(table, what.as_ref().map(|what| &what.columns), create.as_deref(), sink),
    };
    let retained = retained(table);
    let on_error = table.choice("on_error", OnError::DeadLetter, &ON_ERROR);
    let reply = reply::decode(table);
    let What { table, routing, statement, format, for_each, columns, create: _, unmapped, into } = what?;
    let rule = Rule {
        name,
        topics: topics?.into(),
        qos,
        own_qos: own_qos.unwrap_or_default(),
        subscribe_properties: Vec::new(),
        database: place.database?,
        chooser: place.chooser.cloned(),
        table,
        routing,
        statement,
        format,
        shaping,
        for_each,
        times: None,
        rows_max: usize::try_from(rows_max).unwrap_or(usize::MAX),
        unmapped,
        columns,
        create,
        mode,
        retained,
        on_error,
        reply,
        position: value.place_text(),
    };
    let Some((form, at)) = into else { return Some(rule) };
    match rule_of_form(&rule, &form) {
        Ok(rule) => Some(rule),
        Err(why) => {
            at.refuse(why, "a name of the time zone database (package tzdata must be there)");
            None
        }
    }
}

/// What becomes of a rule's messages.
struct What<'v> {
    table: TableName,
    routing: Option<Arc<Routing>>,
    statement: Option<Arc<Statement>>,
    format: Format,
    for_each: ForEach,
    columns: Columns,
    create: Option<Arc<Create>>,
    unmapped: Unmapped,
    /// All but the table in another system's words, and where they stand.
    into: Option<(Form, Value<'v>)>,
}

impl What<'_> {
    /// For messages, or a descriptor, that say the rest.
    fn named() -> Self {
        What {
            table: TableName { schema: None, name: String::new() },
            routing: None,
            statement: None,
            format: Format::Json,
            for_each: ForEach::NONE,
            columns: Columns::Auto,
            create: None,
            unmapped: Unmapped::Ignore,
            into: None,
        }
    }
}

/// What else can be said of messages in another system's words, which may be of any shape.
fn others_words(table: &Table<'_>, shaping: &mut Shaping) {
    shaping.roots = roots::decode(table, &Format::Json);
    roots::check_elements(table, shaping, &ForEach::Auto);
}

/// In our own words: `table` or `statement`, `format`, `for_each`, `columns`.
fn own_words<'v>(
    name: &str,
    table: &Table<'v>,
    topics: Option<&[TopicPattern]>,
    place: Place<'_>,
    shaping: &mut Shaping,
    formats: &mut Formats,
    alike: &mut Alike,
) -> Option<What<'v>> {
    let sink = place.sink();
    let given = table.get("statement");
    let statement = given.as_ref().map(|value| statement::decode(table, value, sink));
    let destination = match statement {
        Some(_) => Some((TableName::of_statement(name), None)),
        None => destination::decode(table, place, topics),
    };
    let format = formats.decode(table);
    shaping.roots = roots::decode(table, &format);
    let has_fields = shaping.has_fields(&format);
    let for_each = for_each::decode(table.get("for_each"), has_fields);
    roots::check_elements(table, shaping, &for_each);
    let folds_case = matches!(sink, Some(DatabaseUrl::Sqlite(_)));
    let create = statement.is_none().then(|| create::decode(table, folds_case)).flatten();
    let columns = columns(table, topics, (&format, shaping), for_each.depth(), create.is_some(), sink, alike);
    let (unmapped, columns) = match statement {
        Some(_) => (Unmapped::Ignore, columns),
        None => unmapped(table, has_fields, columns),
    };
    if let (Some(value), Some(Some(statement)), Some(columns)) = (&given, &statement, &columns) {
        statement::check_columns(table, value, statement, columns);
    }
    if shaping.transform.is_none() && !format.has_names() {
        // What is made of fields takes its columns' names from them.
        const FORMS: &str = "csv: { header: columns } or csv: { columns: [names] }";
        let problem = "takes columns from the fields of payloads, and the records of this format have no names";
        let makes_table = create.is_some() && matches!(columns, Some(Columns::Auto));
        let of_fields = [("create", makes_table), ("unmapped", unmapped == Unmapped::Add)];
        for (key, _) in of_fields.iter().filter(|(_, is_it)| *is_it) {
            table.get(key).iter().for_each(|value| value.refuse(problem, FORMS));
        }
    }
    let (target, routing) = destination?;
    // One that cannot be read is no statement, and there is a finding.
    let statement = statement.map_or(Some(None), |statement| statement.map(Some))?;
    Some(What { unmapped, table: target, routing, statement, format, for_each, columns: columns?, create, into: None })
}

/// The treatment of fields that no column takes; the columns, with the one that stores these fields.
fn unmapped(table: &Table<'_>, has_fields: bool, columns: Option<Columns>) -> (Unmapped, Option<Columns>) {
    const FORMS: &str = "ignore, error, add, or the name of a json column that takes them";
    let Some(value) = table.get("unmapped") else { return (Unmapped::Ignore, columns) };
    let Some(text) = value.text() else { return (Unmapped::Ignore, columns) };
    match text.as_str() {
        "ignore" => return (Unmapped::Ignore, columns),
        _ if !has_fields => value.refuse("is about fields of the payload, and this format has none", "ignore"),
        "error" => return (Unmapped::Error, columns),
        "add" => return (Unmapped::Add, columns),
        _ => match columns {
            Some(Columns::Named(named)) => {
                if named.iter().any(|column| *column.name == *text) {
                    value.refuse(format!("the column `{text}` has a source already"), FORMS);
                }
                let column = Arc::new(Column::of(&text, ColumnSource::From(Source::Unmapped)));
                let columns = named.iter().cloned().chain([column]).collect();
                return (Unmapped::Column(text), Some(Columns::Named(columns)));
            }
            columns => return (Unmapped::Column(text), columns),
        },
    }
    (Unmapped::Ignore, columns)
}

fn retained(table: &Table<'_>) -> Retained {
    let supported = [("store", Retained::Store), ("skip", Retained::Skip), ("changed", Retained::Changed)];
    table.choice("retained", Retained::Store, &supported)
}

fn columns(
    table: &Table<'_>,
    topics: Option<&[TopicPattern]>,
    (format, shaping): (&Format, &Shaping),
    levels: usize,
    create: bool,
    sink: Option<&DatabaseUrl>,
    alike: &mut Alike,
) -> Option<Columns> {
    const FORMS: &str =
        "`auto`, or a mapping of column names to sources such as { time: received_at, temp: payload.temp }";
    let has_fields = shaping.has_fields(format);
    let Some(value) = table.get("columns") else {
        table.miss("columns", FORMS);
        return None;
    };
    if value.is_scalar() {
        let text = value.as_text();
        if text.as_deref() != Some("auto") {
            let suggestion = text.and_then(|text| nearest(&text, ["auto"]));
            value.refuse_with(format!("found {}", value.shown()), Some(FORMS.to_owned()), suggestion);
            return None;
        }
        if !has_fields {
            value.refuse(
                "`auto` takes the fields of the payload, and this format has none",
                "format: json, or named columns",
            );
        }
        return Some(Columns::Auto);
    }
    let mut entries = value.entries().into_iter().flatten().peekable();
    if entries.peek().is_none() {
        value.refuse(format!("found {}", if value.is_list() { "a list" } else { "no column" }), FORMS);
        return None;
    }
    let is_sqlite = matches!(sink, Some(DatabaseUrl::Sqlite(_)));
    let mut seen: HashMap<String, &str> = HashMap::new();
    let mut columns = Vec::new();
    for (name, value) in entries {
        let key = if is_sqlite { name.to_ascii_lowercase() } else { name.to_owned() };
        if let Some(first) = seen.insert(key, name) {
            value
                .refuse(format!("to SQLite it is the same column as `{first}`"), "names that differ in more than case");
        }
        let Some(column) = column::decode(name, &value, alike) else { continue };
        check_column(&column, &value, topics, (format, shaping), create);
        for_each::check(&column.source, &value, levels);
        roots::check_column(&column.source, &value, shaping);
        columns.push(column);
    }
    Some(Columns::Named(alike.list(columns)))
}

/// What can only be said of a column within its rule.
fn check_column(
    column: &Column,
    value: &Value<'_>,
    topics: Option<&[TopicPattern]>,
    (format, shaping): (&Format, &Shaping),
    create: bool,
) {
    let has_fields = shaping.has_fields(format);
    // Of several sources one may be a capture that only some of the patterns have.
    let is_choice = matches!(column.source, ColumnSource::FirstOf(_));
    for source in column.source.sources() {
        match source {
            Source::TopicCapture(capture) => check_capture(capture, is_choice, value, topics.unwrap_or_default()),
            Source::Payload(path) if !path.is_empty() && !has_fields => {
                let accepted = "format: json, or from: payload";
                value.refuse("reads a field of the payload, and this format has none", accepted);
            }
            Source::Unmapped if !has_fields => {
                value.refuse("takes fields of the payload, and this format has none", "format: json, or from: payload");
            }
            Source::Unmapped if !matches!(column.source, ColumnSource::From(_)) => {
                value.refuse("`unmapped` stands beside other sources", "from: unmapped, in a column of its own");
            }
            _ => {}
        }
    }
    if create && column.create_type(format, shaping).is_none() {
        let accepted = format!("a type, as in {{ from: …, type: real }}: {}", DeclaredType::FORMS);
        value.refuse("`create` cannot tell the type of this column", accepted);
    }
}

/// Each pattern has to have the capture; `is_choice`: one of them.
pub(super) fn check_capture(capture: &str, is_choice: bool, value: &Value<'_>, topics: &[TopicPattern]) {
    let has_it = |pattern: &&TopicPattern| pattern.captures().any(|name| name == capture);
    if is_choice && topics.iter().any(|pattern| has_it(&pattern)) {
        return;
    }
    let Some(pattern) = topics.iter().find(|pattern| !has_it(pattern)) else { return };
    let names: Vec<&str> = pattern.captures().collect();
    let accepted = if names.is_empty() {
        format!("a pattern with {{{capture}}} in place of a level")
    } else {
        names.iter().map(|name| format!("`topic.{name}`")).collect::<Vec<_>>().join(", ")
    };
    let suggestion = nearest(capture, names.iter().copied()).map(|name| format!("topic.{name}"));
    let problem = format!("the topic `{}` has no capture {{{capture}}}", pattern.as_str());
    value.refuse_with(problem, Some(accepted), suggestion);
}
