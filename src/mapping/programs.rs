//! The jq programs of a rule, and the variables that they use.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::route::Match;
use super::stages::Item;
use super::value::Value;
use crate::config::{Columns, Rule};
use crate::jq::{self, Program, Variable};
use crate::message::{Message, Property};
use crate::rule::ColumnSource;

/// The names that programs can ask for. Those that none asks for are left out, so that rules with other names are alike.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Names {
    bridge: Box<str>,
    rule: Box<str>,
    /// Of captures, by pattern.
    captures: Box<[Box<[Box<str>]>]>,
}

/// Programs of columns, in the order of [`super::plan::Feed::Program`].
#[derive(Debug, Default)]
pub(super) struct Programs {
    pub(super) columns: Box<[Arc<Program>]>,
    pub(super) names: Arc<Names>,
}

/// What the columns' programs gave for one row.
#[derive(Debug, Default)]
pub(super) struct Computed {
    text: String,
    /// `None` where a program has no output.
    ranges: Vec<Option<(usize, usize)>>,
    outputs: jq::Outputs,
}

/// A message as its programs see it.
#[derive(Clone, Copy)]
pub(super) struct Scope<'s> {
    pub(super) names: &'s Names,
    pub(super) message: &'s Message<'s>,
    pub(super) matched: &'s Match,
    /// `$payload`.
    pub(super) payload: jq::Input<'s>,
    pub(super) item: Option<&'s Item<'s>>,
}

/// All programs of a rule.
pub(super) fn programs(rule: &Rule) -> impl Iterator<Item = &Arc<Program>> {
    let columns = match &rule.columns {
        Columns::Auto => &[][..],
        Columns::Named(columns) => columns,
    };
    let of_columns = columns.iter().filter_map(|column| match &column.source {
        ColumnSource::Jq(program) => Some(program),
        _ => None,
    });
    rule.shaping.predicate.iter().chain(&rule.shaping.transform).chain(of_columns)
}

/// Whether a program of the rule uses a variable.
pub(super) fn use_variable(rule: &Rule, variable: Variable) -> bool {
    programs(rule).any(|program| program.variables().contains(&variable))
}

impl Names {
    pub(super) fn of(bridge: &str, rule: &Rule) -> Names {
        let captures = match use_variable(rule, Variable::Captures) {
            true => rule.topics.iter().map(|topic| topic.captures().map(Box::from).collect()).collect(),
            false => Box::default(),
        };
        let name = if use_variable(rule, Variable::Rule) { &*rule.name } else { "" };
        Names { bridge: bridge.into(), rule: name.into(), captures }
    }
}

impl Computed {
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.ranges.clear();
    }

    /// Runs the next column's program.
    pub(super) fn run(
        &mut self,
        program: &Program,
        input: jq::Input<'_>,
        scope: &Scope<'_>,
    ) -> Result<(), jq::JqFault> {
        let Computed { text, ranges, outputs } = self;
        let is_there = program.value(input, &|variable, text| scope.write(variable, text), outputs)?;
        let start = text.len();
        outputs.iter().for_each(|output| text.push_str(output));
        ranges.push(is_there.then_some((start, text.len())));
        Ok(())
    }

    /// What a program gave: nothing, null (`Some(None)`) or a value.
    pub(super) fn value(&self, program: usize) -> Option<Option<Value<'_>>> {
        self.ranges[program].map(|(start, end)| Value::from_json(&self.text[start..end]))
    }
}

impl Scope<'_> {
    /// The JSON text of a variable.
    pub(super) fn write(&self, variable: Variable, out: &mut String) {
        let message = self.message;
        let property = |pick: fn(Property<'_>) -> Option<String>| {
            message.properties.iter().find_map(pick).unwrap_or_else(|| "null".to_owned())
        };
        match variable {
            Variable::Topic => jq::write_string(message.topic, out),
            Variable::Levels => list(message.topic.split('/'), out),
            Variable::Captures => {
                let names = self.names.captures[self.matched.pattern].iter().enumerate();
                entries(names.map(|(index, name)| (&**name, self.matched.capture(index, message.topic))), out);
            }
            Variable::Properties => self.properties(out),
            Variable::ContentType => out.push_str(&property(|property| match property {
                Property::ContentType(bytes) => Some(lossy(bytes)),
                _ => None,
            })),
            Variable::ResponseTopic => out.push_str(&property(|property| match property {
                Property::ResponseTopic(bytes) => Some(lossy(bytes)),
                _ => None,
            })),
            Variable::CorrelationData => out.push_str(&property(|property| match property {
                Property::CorrelationData(bytes) => Some(format!("\"{}\"", STANDARD.encode(bytes))),
                _ => None,
            })),
            Variable::MessageExpiry => out.push_str(&property(|property| match property {
                Property::MessageExpiry(seconds) => Some(seconds.to_string()),
                _ => None,
            })),
            Variable::Qos => number(message.qos.level(), out),
            Variable::Retain => out.push_str(if message.retain { "true" } else { "false" }),
            Variable::Dup => out.push_str(if message.dup { "true" } else { "false" }),
            Variable::ReceivedAt => jq::write_string(&message.received_at.to_string(), out),
            Variable::Seq => number(message.seq.0, out),
            Variable::Bridge => jq::write_string(&self.names.bridge, out),
            Variable::Rule => jq::write_string(&self.names.rule, out),
            Variable::Payload => match self.payload {
                jq::Input::Json(text) => out.push_str(text),
                jq::Input::Text(text) => jq::write_string(text, out),
            },
            Variable::Item => out.push_str(self.item.map_or("null", Item::text)),
            Variable::Index => match self.item {
                Some(item) => number(item.index, out),
                None => out.push_str("null"),
            },
            Variable::Key => match self.item.and_then(|item| item.key) {
                Some(Value::JsonString(text)) => out.push_str(text),
                Some(Value::Text(text)) => jq::write_string(text, out),
                _ => out.push_str("null"),
            },
        }
    }

    /// User properties; of several of one name the first, as `property.NAME` has it.
    fn properties(&self, out: &mut String) {
        let (mut seen, mut names): (Vec<(String, String)>, HashSet<String>) = Default::default();
        for property in self.message.properties.iter() {
            let Property::User(name, value) = property else { continue };
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let (name, value) = (text(name), text(value));
            if names.insert(name.to_ascii_lowercase()) {
                seen.push((name, value));
            }
        }
        entries(seen.iter().map(|(name, value)| (name.as_str(), value.as_str())), out);
    }
}

fn lossy(bytes: &[u8]) -> String {
    let mut text = String::new();
    jq::write_string(&String::from_utf8_lossy(bytes), &mut text);
    text
}

fn number(number: impl std::fmt::Display, out: &mut String) {
    write!(out, "{number}").expect("a String takes everything");
}

fn list<'t>(texts: impl Iterator<Item = &'t str>, out: &mut String) {
    out.push('[');
    for (at, text) in texts.enumerate() {
        if at > 0 {
            out.push(',');
        }
        jq::write_string(text, out);
    }
    out.push(']');
}

fn entries<'t>(entries: impl Iterator<Item = (&'t str, &'t str)>, out: &mut String) {
    out.push('{');
    for (at, (name, text)) in entries.enumerate() {
        if at > 0 {
            out.push(',');
        }
        jq::write_string(name, out);
        out.push(':');
        jq::write_string(text, out);
    }
    out.push('}');
}
