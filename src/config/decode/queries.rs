//! The `queries` section.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::alike::Alike;
use super::column;
use super::for_each;
use super::home;
use super::rule::{check_capture, name};
use super::table::Table;
use super::value::Value;
use crate::config::query::{AnswerFormat, Asked, Named, Query};
use crate::config::report::nearest;
use crate::config::{
    Column, Columns, Database, DatabaseUrl, ForEach, Format, Mode, MqttVersion, OnError, Retained, Rule, Shaping,
    Unmapped,
};
use crate::message::Qos;
use crate::rule::{ColumnSource, Piece, QueryStatement, Source, TableName, Template, TopicPattern, check_reply_topic};
use crate::schema::json_value::TimeForm;

/// See [`Query::rows_max`].
const ROWS_MAX: u64 = 1_000;
const ROWS_MOST: u64 = 100_000;
/// See [`Query::timeout`].
const TIMEOUT: Duration = Duration::from_secs(2);
const TIMEOUT_MIN: Duration = Duration::from_millis(10);
const TIMEOUT_MOST: Duration = Duration::from_secs(300);

/// Machbase's.
const MACHBASE_TOPIC: &str = "db/query";
const MACHBASE_REPLY: &str = "db/reply";

const FORMATS: [(&str, AnswerFormat); 4] = [
    ("json", AnswerFormat::Json),
    ("rows", AnswerFormat::Rows),
    ("ndjson", AnswerFormat::Ndjson),
    ("csv", AnswerFormat::Csv),
];

/// A second's parts in each unit; none is RFC 3339.
const TIMES: [(&str, Option<i64>); 5] =
    [("rfc3339", None), ("s", Some(1)), ("ms", Some(1_000)), ("us", Some(1_000_000)), ("ns", Some(1_000_000_000))];

const REPLY_FORMS: &str = "a topic without wildcards that does not begin with $, with sources in braces such as \
                           db/reply/{topic.device}; or null: then only who names a Response Topic (MQTT 5) is answered";

pub(super) fn decode(root: &Table<'_>, version: MqttVersion, databases: &[Database]) -> Vec<Query> {
    const EXAMPLE: &str = "a list of queries, each with `topic` and `sql`, or with `convention`";
    let Some(section) = root.get("queries") else { return Vec::new() };
    if !section.is_list() {
        section.refuse(format!("found {}; each query begins with `-`", section.shown()), EXAMPLE);
        return Vec::new();
    }
    let mut names: HashMap<Arc<str>, String> = HashMap::new();
    let mut topics: HashMap<String, Arc<str>> = HashMap::new();
    let mut alike = Alike::default();
    let (mut queries, mut places): (Vec<Query>, Vec<Value<'_>>) = (Vec::new(), Vec::new());
    for (index, value) in section.list().enumerate() {
        let table = value.table();
        let named = table.get("name");
        let name = named.as_ref().and_then(name).unwrap_or_else(|| format!("query-{}", index + 1).into());
        if let Some(first) = names.insert(Arc::clone(&name), value.place_text()) {
            let at = named.as_ref().unwrap_or(&value);
            let problem = format!("the query name `{name}` was given before, at {first}");
            at.refuse(problem, "a name of its own for each query");
        }
        if let Some(query) = decode_one(name, &value, &table, version, databases, &mut alike) {
            let filter = query.topic.filter().to_owned();
            if let Some(first) = topics.insert(filter, Arc::clone(&query.name)) {
                let at = table.get("topic").unwrap_or_else(|| value.clone());
                at.refuse(format!("the query `{first}` answers on this topic"), "a topic of its own for each query");
            } else if let Some(other) = queries.iter().find(|other| bring_twice(&other.topic, &query.topic)) {
                let at = table.get("topic").unwrap_or_else(|| value.clone());
                let problem = format!(
                    "has topics in common with {} of the query `{}`: a broker may bring a request once for each",
                    other.topic.filter(),
                    other.name
                );
                at.refuse(problem, "topics of its own, or a topic that contains the other one, or lies within it");
            }
            places.push(value.clone());
            queries.push(query);
        }
        table.finish();
    }
    for (query, value) in queries.iter().zip(&places) {
        check_reply(&value.table(), query, &queries);
    }
    queries
}

/// Whether a message may fit both, and neither filter brings all that the other one brings.
fn bring_twice(one: &TopicPattern, other: &TopicPattern) -> bool {
    one.overlaps(other) && !one.covers(other) && !other.covers(one)
}

/// Whether the topic that the file gives for answers, if it is always the same, may get any.
fn check_reply(table: &Table<'_>, query: &Query, queries: &[Query]) {
    let given = table.get("reply");
    let text = match (&given, &query.asked) {
        (None, Asked::Machbase { .. }) => MACHBASE_REPLY.to_owned(),
        (None, Asked::Named(_)) => return,
        (Some(value), _) => match value.as_text().filter(|text| !text.contains('{') && topic_fault(text).is_none()) {
            Some(text) => text,
            None => return,
        },
    };
    let prefix = table.get("reply_prefix");
    let Some(at) = given.or_else(|| prefix.clone()).or_else(|| table.get("convention")) else { return };
    // A statement's own topic was looked at with its reply.
    let is_looked_at = |asked: &&Query| matches!(query.asked, Asked::Named(_)) && asked.name == query.name;
    if let Some(asked) = queries.iter().find(|asked| asked.topic.takes(&text) && !is_looked_at(asked)) {
        let problem = format!("answers would go to {text}, where the query `{}` takes requests", asked.name);
        at.refuse(problem, "`reply`: a topic that is no topic of requests");
    } else if let Err(fault) = check_reply_topic(&text, query.reply_prefix.as_deref()) {
        at.refuse(format!("answers would go to {text}, and {fault}"), "`reply`: a topic at reply_prefix or below it");
    }
}

fn decode_one(
    name: Arc<str>,
    value: &Value<'_>,
    table: &Table<'_>,
    version: MqttVersion,
    databases: &[Database],
    alike: &mut Alike,
) -> Option<Query> {
    let convention = table.get("convention");
    let is_machbase = convention.is_some();
    if let Some(convention) = &convention {
        convention.choice(&[("machbase", ())]);
    }
    let topic = topic(table, is_machbase);
    let database = home::one(table, databases);
    let is_sqlite = database.is_some_and(|index| matches!(databases[index].url, DatabaseUrl::Sqlite(_)));
    let reply_prefix = table.get("reply_prefix").and_then(|value| plain_topic(&value));
    let rows_max = table.integer("max_rows", ROWS_MAX, 1..=ROWS_MOST);
    let timeout = table.duration("timeout", TIMEOUT, TIMEOUT_MIN..=TIMEOUT_MOST);
    let (sql, parameters, reply) = (table.get("sql"), table.get("parameters"), table.get("reply"));
    let format = table.choice("format", AnswerFormat::Json, &FORMATS);
    let time = table.choice("time", None, &TIMES);
    let allow = table.get("allow_sql");
    let is_allowed = allow.as_ref().and_then(|value| value.choice(&[("read_only", true), ("off", false)]));
    let asked = if is_machbase {
        for key in ["sql", "parameters", "format", "time"] {
            if let Some(value) = table.get(key) {
                value.refuse("a request says this itself with `convention`", "leave it out, or leave `convention` out");
            }
        }
        let topic = reply.as_ref().map_or(Some(MACHBASE_REPLY.to_owned()), plain_topic);
        Some(Asked::Machbase { reply: topic?, is_allowed: is_allowed.unwrap_or(false) })
    } else {
        if is_allowed == Some(true) {
            let accepted = "`convention: machbase` in place of `sql`, or allow_sql: off";
            value.refuse("has `allow_sql`, which is for requests that bring their statement", accepted);
        }
        let maker = Maker { name: &name, topic: topic.as_ref(), database: database.unwrap_or(0), value };
        let statement = statement(table, sql.as_ref(), is_sqlite);
        let parameters = maker.parameters(parameters.as_ref(), sql.as_ref(), statement.as_ref(), alike);
        let reply = maker.reply(table, reply.as_ref(), version);
        let time = time.map_or(TimeForm::Rfc3339(TimeZone::UTC), TimeForm::Epoch);
        statement.map(|statement| Asked::Named(Box::new(Named { statement, parameters, reply, format, time })))
    };
    Some(Query {
        name,
        topic: topic?,
        database: database?,
        asked: asked?,
        reply_prefix,
        rows_max: usize::try_from(rows_max).unwrap_or(usize::MAX),
        timeout,
        position: value.place_text(),
    })
}

fn topic(table: &Table<'_>, is_machbase: bool) -> Option<TopicPattern> {
    const FORMS: &str = "the topic of requests: {x} takes one level, {*x} the rest, + and # as in MQTT";
    let Some(value) = table.get("topic") else {
        if is_machbase {
            return TopicPattern::parse(MACHBASE_TOPIC).ok();
        }
        table.miss("topic", FORMS);
        return None;
    };
    let text = value.text()?;
    match TopicPattern::parse(&text) {
        Ok(pattern) => Some(pattern),
        Err(error) if value.may_be_quoted() => {
            value.refuse(format!("found {}: {error}", value.shown()), FORMS);
            None
        }
        Err(_) => {
            value.refuse(format!("found {}, which is no topic with its variables filled in", value.shown()), FORMS);
            None
        }
    }
}

/// A topic that messages can have.
fn plain_topic(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    if let Some(problem) = topic_fault(&text) {
        value.refuse(format!("found {}, which {problem}", value.shown()), "a topic such as db/reply");
        return None;
    }
    Some(text)
}

/// The rest of a sentence.
fn topic_fault(text: &str) -> Option<&'static str> {
    match () {
        () if text.is_empty() => Some("is empty"),
        () if text.starts_with('$') => Some("begins with $: such topics are the broker's own"),
        () if text.contains(['+', '#']) => Some("has a wildcard, and answers go to one topic"),
        () if text.contains('\0') => Some("has a NUL character in it"),
        () if text.len() > usize::from(u16::MAX) => Some("is longer than the 65,535 bytes that MQTT allows"),
        () => None,
    }
}

fn statement(table: &Table<'_>, sql: Option<&Value<'_>>, is_sqlite: bool) -> Option<QueryStatement> {
    let Some(sql) = sql else {
        table.miss("sql", "one statement that reads, with a bind such as :device for each parameter");
        return None;
    };
    let text = sql.text()?;
    match QueryStatement::parse(&text, is_sqlite) {
        Ok(statement) => Some(statement),
        Err(error) => {
            sql.refuse(error.problem, error.accepted);
            None
        }
    }
}

/// Makes the rules that read requests.
struct Maker<'m, 'v> {
    name: &'m Arc<str>,
    topic: Option<&'m TopicPattern>,
    database: usize,
    value: &'m Value<'v>,
}

impl Maker<'_, '_> {
    fn parameters(
        &self,
        section: Option<&Value<'_>>,
        sql: Option<&Value<'_>>,
        statement: Option<&QueryStatement>,
        alike: &mut Alike,
    ) -> Option<Arc<Rule>> {
        const FORMS: &str = "a mapping of names to sources, such as { device: payload.device }";
        let mut found: Vec<Column> = Vec::new();
        if let Some(section) = section {
            match section.entries() {
                Some(entries) => {
                    for (name, value) in entries {
                        if let Some(statement) = statement
                            && !statement.binds().iter().any(|bind| **bind == *name)
                        {
                            let binds = || statement.binds().iter().map(|bind| &**bind);
                            let accepted = match binds().map(|bind| format!(":{bind}")).collect::<Vec<_>>().join(", ") {
                                none if none.is_empty() => "no parameters: `sql` has no bind".to_owned(),
                                names => format!("parameters for the binds of `sql`: {names}"),
                            };
                            let problem = format!("`sql` has no bind :{name}");
                            value.refuse_with(problem, Some(accepted), nearest(name, binds()));
                        }
                        found.extend(self.parameter(name, &value, alike));
                    }
                }
                None => section.refuse(format!("found {}", section.shown()), FORMS),
            }
        }
        let (statement, sql) = (statement?, sql?);
        let given = |name: &str| section.and_then(Value::entries).into_iter().flatten().any(|(known, _)| known == name);
        for bind in statement.binds().iter().filter(|bind| !given(bind)) {
            let names = || found.iter().map(|column| &*column.name);
            let problem = format!("has the bind :{bind}, and there is no such parameter");
            sql.refuse_with(problem, Some(format!("`{bind}` under parameters")), nearest(bind, names()));
        }
        let of_bind = |bind: &Arc<str>| found.iter().find(|column| column.name == *bind).cloned();
        let columns: Vec<Column> = statement.binds().iter().filter_map(of_bind).collect();
        (!columns.is_empty()).then(|| self.rule(columns)).flatten()
    }

    /// A parameter is a column that must have a value, or a default.
    fn parameter(&self, name: &str, value: &Value<'_>, alike: &mut Alike) -> Option<Column> {
        let mut column = column::decode(name, value, alike)?;
        for_each::check(&column.source, value, 0);
        self.check_sources(column.source.sources(), value);
        if column.on_error.is_some() {
            value.refuse("has `on_error`, and a request that does not fit is always refused", "null, or leave it out");
        }
        column.required = column.default.is_none() && !matches!(column.source, ColumnSource::Value(_));
        Some(column)
    }

    fn check_sources<'s>(&self, sources: impl Iterator<Item = &'s Source>, value: &Value<'_>) {
        for source in sources {
            match source {
                Source::TopicCapture(capture) => {
                    if let Some(topic) = self.topic {
                        check_capture(capture, false, value, std::slice::from_ref(topic));
                    }
                }
                Source::JournalSeq | Source::Unmapped => {
                    let accepted = "topic, topic.NAME, topic[N], payload.a, property.NAME and other sources";
                    value
                        .refuse(format!("`{source}` is of messages that become rows, and a request is none"), accepted);
                }
                _ => {}
            }
        }
    }

    fn reply(&self, table: &Table<'_>, value: Option<&Value<'_>>, version: MqttVersion) -> Option<Arc<Rule>> {
        let Some(value) = value else {
            if version == MqttVersion::V3 {
                table.miss("reply", "a topic: MQTT 3.1.1 has no Response Topic, so nobody could be answered");
            }
            return None;
        };
        let text = value.text()?;
        let template = match Template::parse(&text) {
            Ok(template) => template,
            Err(error) => {
                let problem = match value.may_be_quoted() {
                    true => error.message,
                    false => format!("found {}, which is no template", value.shown()),
                };
                value.refuse(problem, REPLY_FORMS);
                return None;
            }
        };
        self.check_sources(template.sources(), value);
        let fixed = template.constant();
        let fault = match fixed {
            Some(topic) => topic_fault(topic),
            None => template.pieces().iter().enumerate().find_map(|(index, piece)| match piece {
                Piece::Text(text) if text.contains(['+', '#', '\0']) => topic_fault(&text.replace('$', "")),
                Piece::Text(text) if index == 0 => topic_fault(text),
                _ => None,
            }),
        };
        if let Some(fault) = fault {
            value.refuse(format!("found {}, which {fault}", value.shown()), REPLY_FORMS);
        }
        if let (Some(topic), Some(own)) = (fixed, self.topic)
            && own.takes(topic)
        {
            value.refuse("is a topic of this query's requests: its answers would be asked again", REPLY_FORMS);
        }
        let column =
            Column { default: Some(serde_json::Value::Null), ..Column::of("reply", ColumnSource::Template(template)) };
        self.rule(vec![column])
    }

    fn rule(&self, columns: Vec<Column>) -> Option<Arc<Rule>> {
        Some(Arc::new(Rule {
            chooser: None,
            name: Arc::clone(self.name),
            topics: [self.topic?.clone()].into(),
            qos: Qos::AtLeastOnce,
            own_qos: Vec::new(),
            subscribe_properties: Vec::new(),
            database: self.database,
            table: TableName { schema: None, name: "request".to_owned() },
            routing: None,
            statement: None,
            format: Format::Json,
            shaping: Shaping::default(),
            for_each: ForEach::NONE,
            times: None,
            rows_max: 1,
            unmapped: Unmapped::Ignore,
            columns: Columns::named(columns),
            create: None,
            mode: Mode::Insert,
            retained: Retained::Store,
            on_error: OnError::Drop,
            reply: None,
            position: self.value.place_text(),
        }))
    }
}
