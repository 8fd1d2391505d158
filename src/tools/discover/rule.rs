//! A rule for a group of topics, as text of bridge.yaml.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::fields::{self, COLUMNS_MAX, Draft};
use super::form::{Form, is_number, objects};
use super::group::{Group, Level};
use super::names;
use crate::tools::yaml;

/// Positions of an array that become columns of their own.
const POSITIONS_MAX: usize = 16;

/// Topics of a rule that stand in one line.
const TOPICS_IN_LINE_MAX: usize = 3;

/// A rule that is tried. What does not take all that was seen is replaced by the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RuleDraft {
    pub(super) table: String,
    pub(super) format: &'static str,
    /// Further keys, each a line.
    pub(super) keys: Vec<String>,
    pub(super) columns: Vec<Draft>,
    /// Remarks for the person who reads the file.
    pub(super) remarks: Vec<String>,
}

/// Rules for a group, the one that takes most of its payloads first; the last takes everything.
pub(super) fn drafts(group: &Group<'_>, table: String) -> Vec<RuleDraft> {
    let mut taken = BTreeSet::new();
    let base = base_columns(group, &mut taken);
    let draft = |format: &'static str, keys: Vec<String>, columns: Vec<Draft>| RuleDraft {
        table: table.clone(),
        format,
        keys,
        columns: base.iter().cloned().chain(columns).collect(),
        remarks: Vec::new(),
    };
    let whole = |declared: &'static str| {
        let name = names::unique("payload".to_owned(), &mut taken.clone());
        vec![Draft { name, from: "payload".to_owned(), declared: Some(declared), time: None }]
    };
    let value = |declared: &'static str| {
        let name = names::unique("value".to_owned(), &mut taken.clone());
        vec![Draft { name, from: "payload".to_owned(), declared: Some(declared), time: None }]
    };
    let samples = || group.topics.iter().flat_map(|(_, seen)| &seen.samples);
    let is_whole = group.recipe.is_some_and(|recipe| recipe.whole);
    let mut drafts = Vec::new();
    match &group.form {
        Form::Object | Form::Objects | Form::Lines if !is_whole => {
            let objects: Vec<_> = samples().flat_map(|sample| objects(sample)).collect();
            let root = if group.form == Form::Objects { "item" } else { "payload" };
            let columns = fields::columns(&objects, root, &mut taken.clone());
            if !columns.is_empty() {
                match group.form {
                    Form::Object => drafts.push(draft("json", Vec::new(), columns)),
                    Form::Objects => drafts.push(draft("json", vec!["for_each: payload".to_owned()], columns)),
                    _ => drafts.push(draft("ndjson", Vec::new(), columns)),
                }
            }
        }
        Form::List if !is_whole => {
            let lists: Vec<Vec<serde_json::Value>> =
                samples().filter_map(|sample| serde_json::from_slice(sample).ok()).collect();
            if let Some(columns) = positions(&lists, &mut taken.clone()) {
                drafts.push(draft("json", Vec::new(), columns));
            }
        }
        Form::Csv { delimiter, fields, header } if *fields <= COLUMNS_MAX => {
            let columns = csv_columns(group, *delimiter, *fields, header.as_deref(), &mut taken.clone());
            drafts.push(draft("csv", csv_keys(*delimiter, header.is_some()), columns));
        }
        Form::Influx => {
            let column = |name: &str, declared: &'static str| Draft {
                name: names::unique(name.to_owned(), &mut taken.clone()),
                from: format!("payload.{name}"),
                declared: Some(declared),
                time: None,
            };
            let time = Draft { time: Some("ns"), ..column("time", "timestamptz") };
            let columns = vec![time, column("measurement", "text"), column("tags", "json"), column("fields", "json")];
            drafts.push(draft("influx", Vec::new(), columns));
        }
        Form::Msgpack => drafts.push(draft("msgpack", Vec::new(), whole("json"))),
        Form::Cbor => drafts.push(draft("cbor", Vec::new(), whole("json"))),
        // Numbers among words, such as `unavailable`: both are kept.
        Form::Text if is_mostly_numbers(group) => {
            let number = Draft {
                name: names::unique("number".to_owned(), &mut taken.clone()),
                from: "payload".to_owned(),
                declared: Some("double, on_error: null"),
                time: None,
            };
            drafts.push(draft("text", Vec::new(), value("text").into_iter().chain([number]).collect()));
        }
        Form::Number => drafts.push(draft("text", Vec::new(), value("double"))),
        _ => {}
    }
    if matches!(group.form, Form::Object | Form::Objects | Form::List) {
        drafts.push(draft("json", Vec::new(), whole("json")));
    }
    if !matches!(group.form, Form::Bytes | Form::Msgpack | Form::Cbor | Form::Nothing) {
        drafts.push(draft("text", Vec::new(), value("text")));
    }
    drafts.push(draft("bytes", Vec::new(), whole("bytes")));
    drafts
}

fn is_mostly_numbers(group: &Group<'_>) -> bool {
    let samples = group.topics.iter().flat_map(|(_, seen)| &seen.samples);
    let are_numbers = |sample: &Vec<u8>| std::str::from_utf8(sample).is_ok_and(|text| is_number(text.trim()));
    let (mut numbers, mut all) = (0, 0);
    for sample in samples {
        all += 1;
        numbers += usize::from(are_numbers(sample));
    }
    numbers * 2 > all
}

/// The time and what the topic tells.
fn base_columns(group: &Group<'_>, taken: &mut BTreeSet<String>) -> Vec<Draft> {
    let mut columns = vec![Draft {
        name: names::unique("received_at".to_owned(), taken),
        from: "received_at".to_owned(),
        declared: None,
        time: None,
    }];
    // Levels that vary, captured or written out.
    let patterns = &group.patterns;
    let levels = patterns.first().map_or(0, Vec::len);
    for place in 0..levels {
        let varies = patterns.iter().any(|pattern| pattern.get(place) != patterns[0].get(place));
        let (name, from) = match (group.captures.get(&place), group.written_out.get(&place), &patterns[0][place]) {
            (Some(name), _, _) | (None, _, Level::Rest(name)) => (name.as_str(), format!("topic.{name}")),
            (None, Some(name), _) => (name.as_str(), format!("topic[{place}]")),
            (None, None, _) if varies => ("kind", format!("topic[{place}]")),
            _ => continue,
        };
        let name = name.to_owned();
        columns.push(Draft { name: names::unique(name, taken), from, declared: None, time: None });
    }
    columns
}

fn positions(lists: &[Vec<serde_json::Value>], taken: &mut BTreeSet<String>) -> Option<Vec<Draft>> {
    let len = lists.first()?.len();
    let is_flat = |list: &Vec<serde_json::Value>| list.iter().all(|item| !item.is_array() && !item.is_object());
    if len == 0 || len > POSITIONS_MAX || !lists.iter().all(|list| list.len() == len && is_flat(list)) {
        return None;
    }
    let column = |position: usize| {
        let texts: Vec<String> = lists
            .iter()
            .map(|list| list[position].as_str().map_or_else(|| list[position].to_string(), str::to_owned))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        fields::column(&texts, &format!("value_{}", position + 1), &format!("payload[{position}]"), taken)
    };
    Some((0..len).map(column).collect())
}

fn csv_keys(delimiter: char, has_header: bool) -> Vec<String> {
    let mut options = Vec::new();
    if delimiter != ',' {
        options.push(format!("delimiter: {}", serde_json::Value::from(delimiter.to_string())));
    }
    if has_header {
        options.push("header: columns".to_owned());
    }
    if options.is_empty() { Vec::new() } else { vec![format!("csv: {{ {} }}", options.join(", "))] }
}

fn csv_columns(
    group: &Group<'_>,
    delimiter: char,
    fields: usize,
    header: Option<&[String]>,
    taken: &mut BTreeSet<String>,
) -> Vec<Draft> {
    let samples: Vec<&str> = group
        .topics
        .iter()
        .flat_map(|(_, seen)| &seen.samples)
        .filter_map(|sample| std::str::from_utf8(sample).ok())
        .collect();
    let skipped = usize::from(header.is_some());
    let rows: Vec<Vec<&str>> = samples
        .iter()
        .flat_map(|sample| sample.lines().filter(|line| !line.trim().is_empty()).skip(skipped))
        .map(|line| line.split(delimiter).collect())
        .collect();
    let column = |position: usize| {
        let values: Vec<&str> = rows.iter().filter_map(|row: &Vec<&str>| row.get(position).copied()).collect();
        match header.and_then(|names| names.get(position)) {
            Some(name) => {
                let from = format!("payload[{}]", serde_json::Value::from(name.as_str()));
                fields::column(&values, name, &from, taken)
            }
            None => fields::column(&values, &format!("value_{}", position + 1), &format!("payload[{position}]"), taken),
        }
    };
    (0..fields).map(column).collect()
}

impl RuleDraft {
    /// A type that takes more than the column's by now; false if there is none.
    pub(super) fn widen(&mut self, column: &str) -> bool {
        let Some(column) = self.columns.iter_mut().find(|draft| draft.name == column) else { return false };
        let wider = match (column.declared, self.format) {
            (Some("bigint"), _) => "double",
            (Some("double" | "bool" | "timestamptz"), _) => "text",
            (Some("text"), "json" | "ndjson") if column.from.contains("payload") || column.from.contains("item") => {
                "json"
            }
            _ => return false,
        };
        (column.declared, column.time) = (Some(wider), None);
        true
    }

    /// A column that takes the whole payload beside the others; false if there is one.
    pub(super) fn add_whole(&mut self) -> bool {
        let is_json = self.format == "json" && self.keys.is_empty();
        if !is_json || self.columns.iter().any(|draft| draft.from == "payload") {
            return false;
        }
        let mut taken = self.columns.iter().map(|draft| draft.name.clone()).collect();
        let name = names::unique("payload".to_owned(), &mut taken);
        self.columns.push(Draft { name, from: "payload".to_owned(), declared: Some("json"), time: None });
        true
    }

    /// The rule as an item of `rules`.
    pub(super) fn yaml(&self, group: &Group<'_>) -> String {
        let mut text = String::new();
        for remark in about(group).into_iter().chain(self.remarks.iter().cloned()) {
            let _ = writeln!(text, "  # {remark}");
        }
        let _ = writeln!(text, "  - name: {}", yaml::scalar(&self.table));
        let topics = group.pattern_texts();
        let in_quotes: Vec<String> =
            topics.iter().map(|text| serde_json::Value::from(text.as_str()).to_string()).collect();
        let topics: Vec<String> = topics.iter().map(|text| yaml::block_scalar(text)).collect();
        if let [only] = &topics[..] {
            let _ = writeln!(text, "    topic: {only}");
        } else if topics.len() <= TOPICS_IN_LINE_MAX {
            let _ = writeln!(text, "    topic: [{}]", in_quotes.join(", "));
        } else {
            text.push_str("    topic:\n");
            for topic in topics {
                let _ = writeln!(text, "      - {topic}");
            }
        }
        let _ = writeln!(text, "    table: {}", yaml::scalar(&self.table));
        text.push_str("    create: true\n");
        if self.format != "json" {
            let _ = writeln!(text, "    format: {}", self.format);
        }
        for key in &self.keys {
            let _ = writeln!(text, "    {key}");
        }
        text.push_str("    columns:\n");
        for column in &self.columns {
            let from = yaml_source(&column.from);
            let name = yaml::scalar(&column.name);
            let _ = match (column.declared, column.time) {
                (None, _) => writeln!(text, "      {name}: {from}"),
                (Some(declared), None) => writeln!(text, "      {name}: {{ from: {from}, type: {declared} }}"),
                (Some(declared), Some(time)) => {
                    writeln!(text, "      {name}: {{ from: {from}, type: {declared}, time: {time} }}")
                }
            };
        }
        text
    }
}

/// Brackets and quotes mean something to YAML.
fn yaml_source(source: &str) -> String {
    if source.contains(['[', '"', '\'']) { format!("'{}'", source.replace('\'', "''")) } else { source.to_owned() }
}

/// What was seen of a group, in comments.
fn about(group: &Group<'_>) -> Vec<String> {
    let (topics, messages) = (group.topics.len(), group.count());
    let counted = |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let family = group.recipe.map_or(String::new(), |recipe| format!("{}: ", recipe.family));
    let example = group.topics.first().map_or("", |(topic, _)| topic);
    let seen = format!("{} of {}", counted(messages, "message"), counted(topics as u64, "topic"));
    let mut lines = vec![format!("{family}{}, {seen}, such as {}", group.form.words(), in_comment(example))];
    let retained: u64 = group.topics.iter().map(|(_, seen)| seen.retained).sum();
    if retained == messages && messages > 0 {
        lines.push(
            "All of them were kept by the broker, which sends them again at the first subscription; to pass over \
                    those, add `retained: skip`."
                .to_owned(),
        );
    }
    lines
}

fn in_comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
