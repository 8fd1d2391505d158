//! A request in Machbase Neo's form (`db/query`): `{"q":"select …","p":[…],"reply":…,"format":…,…}`.
//!
//! | field | default | meaning |
//! |---|---|---|
//! | `q` | | one read-only statement |
//! | `p` | `[]` | scalar values for its `?` |
//! | `reply` | the configured one | the answer's topic, if there is no Response Topic |
//! | `format` | `json` | json, csv or ndjson |
//! | `timeformat`, `tz` | `ns`, UTC | s, ms, us, ns, a name such as RFC3339, or a Go layout |
//! | `compress` | | gzip |
//! | `rownum` | false | a first column ROWNUM |
//! | `transpose`, `rowsFlatten`, `rowsArray` | false | json: `cols`, one flat array, objects |
//! | `header` | | csv: `skip` |
//! | `precision` | -1 | digits of floats after the point |

use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::answer::Layout;
use crate::config::query::AnswerFormat;
use crate::rule::{Form, GoLayout, QueryStatement, TimeFormat};
use crate::schema::json_value::TimeForm;
use crate::sink::query::Parameter;

/// Digits after the point: more than a double has.
const PRECISION_MAX: u64 = 30;

/// The content of a request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) statement: QueryStatement,
    pub(super) parameters: Vec<Parameter>,
    pub(super) layout: Layout,
    pub(super) is_gzip: bool,
}

/// The topic that the request names for its answer.
pub(super) fn reply_of(payload: &[u8]) -> Option<String> {
    let request: Value = serde_json::from_slice(payload).ok()?;
    request.get("reply")?.as_str().filter(|topic| !topic.is_empty()).map(str::to_owned)
}

impl Request {
    /// Or why it is none: the reason that is answered.
    pub(super) fn parse(payload: &[u8], is_sqlite: bool) -> Result<Request, String> {
        let request: Value =
            serde_json::from_slice(payload).map_err(|_| "the request is not JSON, such as {\"q\":\"select 1\"}")?;
        let Value::Object(request) = request else { return Err("the request is not a JSON object".to_owned()) };
        let sql = match request.get("q") {
            Some(Value::String(sql)) if !sql.trim().is_empty() => sql,
            _ => return Err("the request has no \"q\" with a statement".to_owned()),
        };
        text(&request, "reply")?;
        let parameters = parameters(&request)?;
        let statement = QueryStatement::parse_marks(sql, is_sqlite, !parameters.is_empty())
            .map_err(|error| format!("the statement {error}"))?;
        if statement.parameter_count() != parameters.len() {
            return Err(format!(
                "the statement has {} placeholders (?), and \"p\" has {} values",
                statement.parameter_count(),
                parameters.len()
            ));
        }
        let format = match text(&request, "format")?.unwrap_or("json").to_ascii_lowercase().as_str() {
            "json" | "" => AnswerFormat::Json,
            "csv" => AnswerFormat::Csv,
            "ndjson" => AnswerFormat::Ndjson,
            _ => return Err("unsupported format; there are json, csv and ndjson".to_owned()),
        };
        let is_gzip = match text(&request, "compress")?.unwrap_or_default() {
            "gzip" => true,
            "" | "-" | "none" => false,
            _ => return Err("unsupported compress; there is gzip".to_owned()),
        };
        let mut layout = Layout::new(format, time_form(&request)?);
        layout.is_machbase = true;
        layout.rownum = flag(&request, "rownum")?;
        layout.transpose = flag(&request, "transpose")?;
        layout.rows_flatten = flag(&request, "rowsFlatten")?;
        layout.rows_array = flag(&request, "rowsArray")?;
        layout.skip_header = match request.get("header") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(has_header)) => !has_header,
            Some(Value::String(text)) => text.eq_ignore_ascii_case("skip"),
            Some(_) => return Err("\"header\" is neither \"skip\" nor a boolean".to_owned()),
        };
        layout.precision = match request.get("precision") {
            None | Some(Value::Null) => None,
            Some(Value::Number(number)) => match (number.as_i64(), number.as_u64()) {
                (Some(..0), _) => None,
                (_, Some(digits @ 0..=PRECISION_MAX)) => Some(digits as usize),
                _ => return Err(format!("\"precision\" is no whole number from -1 to {PRECISION_MAX}")),
            },
            Some(_) => return Err(format!("\"precision\" is no whole number from -1 to {PRECISION_MAX}")),
        };
        Ok(Request { statement, parameters, layout, is_gzip })
    }
}

fn parameters(request: &Map<String, Value>) -> Result<Vec<Parameter>, String> {
    let values = match request.get("p") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(values)) => values,
        Some(_) => return Err("\"p\" is no array".to_owned()),
    };
    let of = |value: &Value| {
        Ok(match value {
            Value::Null => Parameter::Null,
            Value::Bool(truth) => Parameter::Bool(*truth),
            Value::String(text) => Parameter::Text(text.clone()),
            Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(number), _, _) => Parameter::Integer(number),
                // Beyond 64 bits with a sign: as the digits that it is.
                (None, Some(number), _) => Parameter::Text(number.to_string()),
                (None, None, Some(number)) => Parameter::Real(number),
                (None, None, None) => return Err("bind parameter is out of range".to_owned()),
            },
            Value::Array(_) | Value::Object(_) => return Err("bind parameter must be scalar".to_owned()),
        })
    };
    values.iter().map(of).collect()
}

fn text<'r>(request: &'r Map<String, Value>, field: &str) -> Result<Option<&'r str>, String> {
    match request.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("\"{field}\" is no text")),
    }
}

fn flag(request: &Map<String, Value>, field: &str) -> Result<bool, String> {
    match request.get(field) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(is_set)) => Ok(*is_set),
        Some(_) => Err(format!("\"{field}\" is neither true nor false")),
    }
}

/// Each timestamp of an answer is written by it.
const TIME_FORM_BYTES_MAX: usize = 100;

fn time_form(request: &Map<String, Value>) -> Result<TimeForm, String> {
    let (mut form, mut layout) = (Form::default(), None);
    for field in ["timeformat", "tz"] {
        if let Some(value) = text(request, field)? {
            if value.len() > TIME_FORM_BYTES_MAX {
                return Err(format!("the request's \"{field}\" has more than {TIME_FORM_BYTES_MAX} bytes"));
            }
            if field == "timeformat" && !is_unit_or_pattern(value) {
                layout = GoLayout::parse(value);
            }
            if field == "tz" || layout.is_none() {
                form.set(field, value).map_err(|fault| format!("the request {fault}"))?;
            }
        }
    }
    let zone = match form.zone.as_deref() {
        None => TimeZone::UTC,
        Some("Local") => TimeZone::system(),
        Some(name) => TimeZone::get(name).map_err(|_| "the time zone of \"tz\" is not known here")?,
    };
    if let Some(layout) = layout {
        return Ok(TimeForm::Layout(layout, zone));
    }
    Ok(match form.time {
        TimeFormat::Seconds => TimeForm::Epoch(1),
        TimeFormat::Millis => TimeForm::Epoch(1_000),
        TimeFormat::Micros => TimeForm::Epoch(1_000_000),
        TimeFormat::Rfc3339 => TimeForm::Rfc3339(zone),
        TimeFormat::Pattern(pattern) => TimeForm::Pattern(pattern, zone),
        TimeFormat::Nanos | TimeFormat::Auto | TimeFormat::OneOf(_) => TimeForm::Epoch(1_000_000_000),
    })
}

/// Whether a time format is written as for messages that are read: an epoch's unit, RFC 3339 or a strftime pattern. All
/// others are layouts of Go, with which a time is written in another way than it is read.
fn is_unit_or_pattern(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    text.contains('%')
        || ["", "s", "ms", "us", "ns", "rfc3339", "rfc3339nano"].contains(&lower.trim_end_matches(".str"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Request, String> {
        Request::parse(json.as_bytes(), false)
    }

    #[test]
    fn every_field_of_a_request_is_read() {
        let request = parse(
            r#"{"q":"select * from EXAMPLE where name = ? and value > ?","p":["a",1.5],"reply":"db/reply/1","format":"CSV",
                "timeformat":"2006-01-02 15:04:05","tz":"Asia/Seoul","compress":"gzip","rownum":true,"transpose":true,
                "rowsFlatten":true,"rowsArray":true,"header":"skip","precision":2}"#,
        )
        .unwrap();
        assert_eq!(request.parameters, [Parameter::Text("a".to_owned()), Parameter::Real(1.5)]);
        let layout = &request.layout;
        assert!(layout.rownum && layout.transpose && layout.rows_flatten && layout.rows_array && layout.skip_header);
        assert!(request.is_gzip && layout.precision == Some(2) && layout.format == AnswerFormat::Csv);
        let seoul = TimeZone::get("Asia/Seoul").unwrap();
        assert_eq!(layout.time, TimeForm::Layout(GoLayout::parse("2006-01-02 15:04:05").unwrap(), seoul));
        let plain = parse(r#"{"q":"select 1"}"#).unwrap();
        assert_eq!(plain.layout.time, TimeForm::Epoch(1_000_000_000));
        assert!(!plain.is_gzip && plain.layout.precision.is_none() && plain.layout.format == AnswerFormat::Json);
        assert_eq!(parse(r#"{"q":"select 1","precision":-1}"#).unwrap().layout.precision, None);
        assert_eq!(reply_of(br#"{"q":1,"reply":"db/reply/1"}"#).unwrap(), "db/reply/1");
        assert_eq!(reply_of(b"{"), None);
    }

    #[test]
    fn a_time_format_is_a_unit_a_name_a_layout_or_a_pattern() {
        let written = |timeformat: &str| {
            let request = parse(&format!(r#"{{"q":"select 1","timeformat":"{timeformat}"}}"#)).unwrap();
            crate::schema::json_value::timestamp("2026-11-28T22:10:00.5+00:00", &request.layout.time).0
        };
        for (timeformat, expected) in [
            ("ms", "1795903800500"),
            ("us.str", "1795903800500000"),
            ("RFC3339", "2026-11-28T22:10:00.5Z"),
            ("2006", "2026"),
            ("15:04:05.00", "22:10:00.50"),
            ("15:04:05,999", "22:10:00,5"),
            ("DEFAULT.MS", "2026-11-28 22:10:00.500"),
            ("%H:%M", "22:10"),
        ] {
            assert_eq!(written(timeformat), expected, "{timeformat}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused_with_the_reason() {
        for (json, why) in [
            ("select 1", "not JSON"),
            ("[]", "not a JSON object"),
            ("{}", "no \"q\""),
            (r#"{"q":7}"#, "no \"q\""),
            (r#"{"q":"select 1; drop table t"}"#, "second statement"),
            (r#"{"q":"drop table t"}"#, "only reads"),
            (r#"{"q":"select ?","p":[[1]]}"#, "must be scalar"),
            (r#"{"q":"select ?","p":[1,2]}"#, "1 placeholders"),
            (r#"{"q":"select 1","p":5}"#, "no array"),
            (r#"{"q":"select 1","reply":5}"#, "\"reply\" is no text"),
            (r#"{"q":"select $1","p":[1]}"#, "parameters are written ?"),
            (r#"{"q":"select ?1","p":[1]}"#, "parameters are written ?"),
            (r#"{"q":"select 1","format":"box"}"#, "unsupported format"),
            (r#"{"q":"select 1","compress":"zip"}"#, "unsupported compress"),
            (r#"{"q":"select 1","timeformat":"tomorrow"}"#, "time format"),
            (r#"{"q":"select 1","tz":"Moon/Base"}"#, "time zone"),
            (r#"{"q":"select 1","rownum":"yes"}"#, "neither true nor false"),
            (r#"{"q":"select 1","precision":99}"#, "precision"),
        ] {
            let reason = parse(json).unwrap_err();
            assert!(reason.contains(why), "{json}: {reason}");
        }
        let reason = Request::parse(br#"{"q":"select ?"}"#, true).unwrap_err();
        assert!(reason.contains("their values stand in \"p\""), "{reason}");
    }
}
