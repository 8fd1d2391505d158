//! One column of a rule: a source, or a mapping with options.

use std::sync::Arc;

use super::adjust;
use super::alike::Alike;
use super::jq;
use super::rule::ON_ERROR;
use super::table::Table;
use super::value::Value;
use crate::config::report::nearest;
use crate::config::{Column, OnError};
use crate::rule::{Adjustments, ColumnSource, DeclaredType, IDENTIFIER_BYTES_MAX, Source, Template, TimeFormat};

const FORMS: &str = "topic, topic.NAME, topic[N], payload, payload.a.b[0], property.NAME, content_type, \
                     response_topic, correlation_data, message_expiry, qos, retain, dup, received_at, journal.seq, \
                     bridge, rule";

/// Sources of one column. Each is looked at in turn for every message.
const SOURCES_MAX: usize = 16;
/// Likewise for every time.
const TIME_FORMATS_MAX: usize = 16;

pub(super) fn decode(name: &str, value: &Value<'_>, alike: &mut Alike) -> Option<Column> {
    if name.is_empty() || name.len() > IDENTIFIER_BYTES_MAX || name.contains('\0') {
        value.refuse("the column's name is not one", "1 to 63 bytes without NUL");
        return None;
    }
    if value.is_list() {
        value.refuse("found a list", format!("one of {FORMS}; several are written {{ from: [first, second] }}"));
        return None;
    }
    if value.is_null() {
        value.refuse("found nothing", FORMS);
        return None;
    }
    if value.is_scalar() {
        let source = ColumnSource::From(source(value)?);
        return Some(Column {
            name: Arc::from(name),
            source,
            declared: None,
            adjust: None,
            time: None,
            tz: None,
            default: None,
            required: false,
            on_error: None,
        });
    }
    let table = value.table();
    let column = with_options(name, value, &table, alike);
    table.finish();
    column
}

fn with_options(name: &str, value: &Value<'_>, table: &Table<'_>, alike: &mut Alike) -> Option<Column> {
    let source = column_source(value, table, alike);
    let declared = table.get("type").and_then(|value| declared_type(&value));
    let adjust = adjust::decode(table, source.as_ref());
    let time = table.get("time").and_then(|value| time_formats(&value));
    let takes_times = declared.as_ref().is_none_or(takes_times);
    if let (Some(given), Some(_), false) = (table.get("time"), &time, takes_times) {
        given.refuse(
            "a column of this `type` reads no times",
            "`time` with int, bigint, text, date, time, timestamp or timestamptz",
        );
    }
    let tz = table.get("tz").and_then(|value| time_zone(&value));
    let default = table.get_or_null("default").and_then(|value| value.literal());
    let required = table.flag("required", false);
    let (on_error, adjust) = on_error(table, source.as_ref(), required, adjust);
    // What was given and could not be read must not look as if it had been left out.
    if (table.get("type").is_some() && declared.is_none()) || (table.get("time").is_some() && time.is_none()) {
        return None;
    }
    Some(Column { name: Arc::from(name), source: source?, declared, adjust, time, tz, default, required, on_error })
}

/// Whether `time` has an effect on a column of this type.
fn takes_times(declared: &DeclaredType) -> bool {
    use DeclaredType::{Array, Bigint, Date, Int, Text, Time, Timestamp, Timestamptz};
    match declared {
        Array(element) => takes_times(element),
        Int | Bigint | Text | Date | Time | Timestamp | Timestamptz => true,
        _ => false,
    }
}

/// What the column is filled from: exactly one of the keys that say so.
fn column_source(value: &Value<'_>, table: &Table<'_>, alike: &mut Alike) -> Option<ColumnSource> {
    let others = ["from", "template", "jq"].into_iter().filter_map(|key| Some((key, table.get(key)?)));
    // `value: null` is a constant too.
    let given: Vec<_> = others.chain(table.get_or_null("value").map(|value| ("value", value))).collect();
    match given.as_slice() {
        [] => {
            let accepted = format!("from: a source, one of {FORMS}");
            value.refuse("has neither `from` nor `template`, `jq` or `value`", accepted);
            None
        }
        [("from", from)] => sources(from),
        [("template", template)] => self::template(template).map(ColumnSource::Template),
        [("jq", program)] => jq::program(program, alike).map(ColumnSource::Jq),
        [(_, literal)] => literal.literal().map(ColumnSource::Value),
        [(first, _), .., (_, last)] => {
            last.refuse(format!("`{first}` is given too"), "one of `from`, `template`, `jq` and `value`");
            None
        }
    }
}

/// One source, or a list of them of which the first that has a value is taken.
fn sources(value: &Value<'_>) -> Option<ColumnSource> {
    if !value.is_list() {
        return source(value).map(ColumnSource::From);
    }
    let listed: Vec<Option<Source>> = value.list().map(|item| source(&item)).collect();
    if listed.is_empty() || listed.len() > SOURCES_MAX {
        let problem = if listed.is_empty() { "found an empty list" } else { "found a longer list" };
        value.refuse(problem, format!("1 to {SOURCES_MAX} sources; the first one that has a value is used"));
        return None;
    }
    let mut sources: Vec<Source> = listed.into_iter().collect::<Option<_>>()?;
    for (at, item) in value.list().enumerate() {
        if sources[..at].contains(&sources[at]) {
            item.refuse("this source stands in the list before", "each source once");
        }
    }
    Some(match sources.len() {
        1 => ColumnSource::From(sources.remove(0)),
        _ => ColumnSource::FirstOf(sources),
    })
}

fn template(value: &Value<'_>) -> Option<Template> {
    const ACCEPTED: &str = "text with sources in braces, such as \"{topic.site}-{payload.id}\"; {{ and }} are braces";
    let text = value.text()?;
    match Template::parse(&text) {
        Ok(template) => Some(template),
        Err(error) => {
            let (problem, suggestion) = match value.may_be_quoted() {
                true => (error.message, error.suggestion),
                false => (format!("found {}, which is no template", value.shown()), None),
            };
            value.refuse_with(problem, Some(ACCEPTED.to_owned()), suggestion);
            None
        }
    }
}

fn source(value: &Value<'_>) -> Option<Source> {
    if value.is_number_or_flag() {
        let suggestion = value.quoting(|| format!("{{ value: {} }}", value.as_text().unwrap_or_default()));
        value.refuse_with(format!("found {}, which is no source", value.shown()), Some(FORMS.to_owned()), suggestion);
        return None;
    }
    let text = value.text()?;
    match Source::parse(&text) {
        Ok(source) => Some(source),
        Err(error) => {
            // The message repeats the text and lists what is accepted.
            let (problem, accepted) = match value.is_shown_whole() {
                true => (error.message, None),
                false => (format!("found {}, which is no source", value.shown()), Some(FORMS.to_owned())),
            };
            value.refuse_with(problem, accepted, error.suggestion.filter(|_| value.may_be_quoted()));
            None
        }
    }
}

fn declared_type(value: &Value<'_>) -> Option<DeclaredType> {
    let text = value.text()?;
    let declared = DeclaredType::parse(&text);
    if declared.is_none() {
        let suggestion = DeclaredType::meant_by(&text).or_else(|| nearest(&text, DeclaredType::NAMES));
        value.refuse_with(format!("found {}", value.shown()), Some(DeclaredType::FORMS.to_owned()), suggestion);
    }
    declared
}

/// One format, or a list of them that are tried in turn.
fn time_formats(value: &Value<'_>) -> Option<TimeFormat> {
    if !value.is_list() {
        return time_format(value);
    }
    let items: Vec<Value<'_>> = value.list().collect();
    if items.is_empty() || items.len() > TIME_FORMATS_MAX {
        let problem = if items.is_empty() { "found an empty list" } else { "found a longer list" };
        value.refuse(problem, format!("1 to {TIME_FORMATS_MAX} time formats, tried in turn"));
        return None;
    }
    let formats: Vec<TimeFormat> = items.iter().map(time_format).collect::<Option<_>>()?;
    let is_idle = |at: &usize| {
        let before = &formats[..*at];
        before.contains(&formats[*at]) || formats[*at].counts() && before.iter().any(TimeFormat::counts)
    };
    if let Some(at) = (0..formats.len()).find(is_idle) {
        let accepted = "each format once, and one that takes numbers; `auto` tells the unit by the digits";
        items[at].refuse("would never be asked, as one before it takes the same", accepted);
    }
    Some(TimeFormat::OneOf(formats.into()))
}

/// What becomes of a value that does not fit: of the message, or with `null` of the value alone.
fn on_error(
    table: &Table<'_>,
    source: Option<&ColumnSource>,
    required: bool,
    adjust: Option<Box<Adjustments>>,
) -> (Option<OnError>, Option<Box<Adjustments>>) {
    let Some(value) = table.get_or_null("on_error") else { return (None, adjust) };
    if !value.is_null() && value.as_text().as_deref() != Some("null") {
        let choices = ON_ERROR.map(|(name, choice)| (name, Some(choice)));
        let [dead_letter, drop, halt] = choices;
        return (value.choice(&[dead_letter, drop, halt, ("null", None)]).flatten(), adjust);
    }
    if required {
        value.refuse("`required` makes a missing value an error, and this makes errors NULL", "one of the two");
    }
    if matches!(source, Some(ColumnSource::Value(_))) {
        value.refuse("is for what a source gives, and `value` is written as it stands", "from or template");
    }
    let adjust = Adjustments { misfits_are_null: true, ..adjust.map(|adjust| *adjust).unwrap_or_default() };
    (None, Some(Box::new(adjust)))
}

fn time_format(value: &Value<'_>) -> Option<TimeFormat> {
    let text = value.text()?;
    match TimeFormat::parse(&text) {
        Ok(format) => Some(format),
        Err(error) => {
            // The message repeats the text and lists what is accepted.
            value.refuse_with(error.to_string(), None, nearest(&text, ["rfc3339"]));
            None
        }
    }
}

fn time_zone(value: &Value<'_>) -> Option<jiff::tz::TimeZone> {
    let text = value.text()?;
    let zone = jiff::tz::TimeZone::get(&text);
    if zone.is_err() {
        let accepted = "a name of the time zone database, such as UTC or Europe/Berlin (package tzdata must be there)";
        value.refuse(format!("found {}, a time zone that this machine does not know", value.shown()), accepted);
    }
    zone.ok()
}
