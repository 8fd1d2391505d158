//! Translates another system's form into our own formats and options.

use std::sync::Arc;

use jiff::tz::TimeZone;

use super::rule::{AutoTimes, ForEach};
use super::{Column, Columns, Compression, Csv, CsvHeader, Decoding, Format, Precision, Rule, Syntax};
use crate::rule::{ColumnSource, Convention, Form, Heading, Notation, Source, Template, TimeFormat};

/// A rule for the messages of one form: rows in whichever shape they come, columns by name or position.
pub fn rule_of_form(rule: &Rule, form: &Form) -> Result<Rule, String> {
    let zone = match form.zone.as_deref() {
        None => TimeZone::UTC,
        Some("Local") => TimeZone::system(),
        Some(name) => TimeZone::get(name).map_err(|_| "this machine does not know the time zone".to_owned())?,
    };
    let header = match form.header {
        Heading::None => CsvHeader::None,
        Heading::Skip => CsvHeader::Skip,
        Heading::Columns => CsvHeader::Columns,
    };
    let syntax = match form.notation {
        Notation::Json => Syntax::Json,
        Notation::Ndjson => Syntax::Ndjson,
        Notation::Csv => Syntax::Csv(Csv { delimiter: form.delimiter, header, ..Csv::default() }),
        Notation::Lines => return Ok(rule_of_lines(rule, form, zone)),
    };
    let times = Some(AutoTimes { format: form.time.clone(), zone, needs_all_columns: true });
    Ok(Rule { format: decoded(syntax, form), for_each: ForEach::Auto, columns: Columns::Auto, times, ..rule.clone() })
}

/// JoinBase's: JSON or CSV, told apart by their first byte; times are seconds, or text.
fn rule_of_joinbase(rule: &Rule) -> Rule {
    let written = TimeFormat::OneOf([TimeFormat::Seconds, TimeFormat::Rfc3339].into());
    let times = Some(AutoTimes { format: written, zone: TimeZone::UTC, needs_all_columns: false });
    let format = Format::Decoded(Arc::new(Decoding::of(Syntax::Auto(Csv::default()))));
    Rule { format, for_each: ForEach::Auto, columns: Columns::Auto, times, ..rule.clone() }
}

/// A rule of this convention for the messages of one form.
pub fn rule_of_convention(rule: &Rule, convention: Convention, form: Option<&Form>) -> Result<Rule, String> {
    match (convention, form) {
        (Convention::Machbase, Some(form)) => rule_of_form(rule, form),
        _ => Ok(rule_of_joinbase(rule)),
    }
}

/// Machbase's tag tables: each field of line protocol that is a number is a row of name, time and value.
fn rule_of_lines(rule: &Rule, form: &Form, zone: TimeZone) -> Rule {
    let source = |text: &str| Source::parse(text).expect("it is one");
    let name = Template::parse("{payload.measurement}.{key}").expect("it is one");
    let time = Column { required: true, ..Column::of("time", ColumnSource::From(source("payload.time"))) };
    let columns = vec![
        Column::of("name", ColumnSource::Template(name)),
        time,
        Column::of("value", ColumnSource::From(source("item"))),
    ];
    Rule {
        format: decoded(Syntax::InfluxNumbers(Precision::Nanoseconds), form),
        for_each: ForEach::Paths(vec![source("payload.fields")]),
        columns: Columns::named(columns),
        times: Some(AutoTimes { format: form.time.clone(), zone, needs_all_columns: true }),
        ..rule.clone()
    }
}

fn decoded(syntax: Syntax, form: &Form) -> Format {
    let compression = if form.is_gzip { Compression::Gzip } else { Compression::None };
    match (&syntax, compression) {
        (Syntax::Json, Compression::None) => Format::Json,
        _ => Format::Decoded(Arc::new(Decoding { compression, ..Decoding::of(syntax) })),
    }
}
