//! The formats of an answer. [`crate::schema::json_value`] defines the JSON of each type. CSV has the same text without
//! quotes (RFC 4180), and NULL is an empty field.

use std::time::Duration;

use crate::config::query::AnswerFormat;
use crate::schema::json_value::{self, TimeForm};
use crate::sink::query::{Answer, AnswerColumn, AnswerValue, Kind};

/// From here on a float is written as without `precision`: up to 309 digits before the point say nothing.
const PLAIN_MAX: f64 = 1e30;

/// Some time, to see how long a time format makes them.
const SAMPLE_TIME: &str = "2026-11-28T22:10:00.123456+00:00";

/// How rows are laid out.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout {
    pub(super) format: AnswerFormat,
    pub(super) time: TimeForm,
    /// Machbase's names of types.
    pub(super) is_machbase: bool,
    /// A column with the row's number goes first.
    pub(super) rownum: bool,
    /// `data.cols`: columns in place of rows.
    pub(super) transpose: bool,
    /// `data.rows`: one flat array.
    pub(super) rows_flatten: bool,
    /// `data.rows`: objects.
    pub(super) rows_array: bool,
    /// CSV without the names of columns.
    pub(super) skip_header: bool,
    /// Digits of floats after the point.
    pub(super) precision: Option<usize>,
}

impl Layout {
    pub(super) fn new(format: AnswerFormat, time: TimeForm) -> Layout {
        Layout {
            format,
            time,
            is_machbase: false,
            rownum: false,
            transpose: false,
            rows_flatten: false,
            rows_array: false,
            skip_header: false,
            precision: None,
        }
    }

    pub(super) fn content_type(&self) -> &'static str {
        match self.format {
            AnswerFormat::Json | AnswerFormat::Rows => "application/json",
            AnswerFormat::Ndjson => "application/x-ndjson",
            AnswerFormat::Csv => "text/csv",
        }
    }

    /// Bytes that the payload has about at least, where that is more than the values have: the names of columns may be long,
    /// and stand in every row; the request says how long floats and times are written.
    pub(super) fn least_bytes(&self, answer: &Answer) -> usize {
        let digits = self.precision.map_or(0, |digits| digits + "0.".len());
        // Names of months differ in length.
        let time = json_value::timestamp(SAMPLE_TIME, &self.time).0.len() / 4;
        let of_column = |(index, column): (usize, &AnswerColumn)| {
            let each = match column.kind {
                Kind::Real | Kind::Double => digits,
                Kind::Timestamp | Kind::Timestamptz => time,
                _ => 0,
            };
            let values = answer.rows.iter().filter(|row| each > 0 && !matches!(row[index], AnswerValue::Null));
            each.saturating_mul(values.count())
        };
        let values: usize = answer.columns.iter().enumerate().map(of_column).sum();
        values.saturating_add(self.name_bytes(answer))
    }

    fn name_bytes(&self, answer: &Answer) -> usize {
        let repeats_names = match self.format {
            AnswerFormat::Rows | AnswerFormat::Ndjson => true,
            AnswerFormat::Json => self.rows_array,
            AnswerFormat::Csv => false,
        };
        let times = if repeats_names { answer.rows.len() } else { 1 };
        answer.columns.iter().map(|column| column.name.len()).sum::<usize>().saturating_mul(times)
    }

    /// The payload of an answer that took so long.
    pub(super) fn payload(&self, mut answer: Answer, elapse: Duration) -> String {
        if self.rownum {
            answer.columns.insert(0, AnswerColumn { name: "ROWNUM".to_owned(), kind: Kind::Int64 });
            for (index, row) in answer.rows.iter_mut().enumerate() {
                row.insert(0, AnswerValue::Number((index + 1).to_string()));
            }
        }
        match self.format {
            AnswerFormat::Json => self.envelope(&answer, elapse),
            AnswerFormat::Rows => format!("[{}]", joined(answer.rows.iter().map(|row| self.object(&answer, row)))),
            // Between the parts of a json value, as it was stored, there may be line ends.
            AnswerFormat::Ndjson => {
                let line = |row: &Vec<AnswerValue>| self.object(&answer, row).replace(['\n', '\r'], " ") + "\n";
                answer.rows.iter().map(line).collect()
            }
            AnswerFormat::Csv => self.csv(&answer),
        }
    }

    fn envelope(&self, answer: &Answer, elapse: Duration) -> String {
        let columns = joined(answer.columns.iter().map(|column| json_value::string(&column.name)));
        let types = joined(answer.columns.iter().map(|column| json_value::string(self.type_name(&column.kind))));
        let values = |row: &[AnswerValue]| {
            joined(row.iter().zip(&answer.columns).map(|(value, column)| self.json(value, &column.kind)))
        };
        let rows = match () {
            () if self.transpose => {
                let of = |index: usize| {
                    let kind = &answer.columns[index].kind;
                    format!("[{}]", joined(answer.rows.iter().map(|row| self.json(&row[index], kind))))
                };
                format!("\"cols\":[{}]", joined((0..answer.columns.len()).map(of)))
            }
            () if self.rows_flatten => format!("\"rows\":[{}]", joined(answer.rows.iter().map(|row| values(row)))),
            () if self.rows_array => {
                format!("\"rows\":[{}]", joined(answer.rows.iter().map(|row| self.object(answer, row))))
            }
            () => format!("\"rows\":[{}]", joined(answer.rows.iter().map(|row| format!("[{}]", values(row))))),
        };
        format!(
            "{{\"success\":true,\"reason\":\"success\",\"elapse\":{},\"data\":{{\"columns\":[{columns}],\"types\":[{types}],{rows}}}}}",
            json_value::string(&elapsed(elapse))
        )
    }

    fn object(&self, answer: &Answer, row: &[AnswerValue]) -> String {
        let member = |(value, column): (&AnswerValue, &AnswerColumn)| {
            format!("{}:{}", json_value::string(&column.name), self.json(value, &column.kind))
        };
        format!("{{{}}}", joined(row.iter().zip(&answer.columns).map(member)))
    }

    fn csv(&self, answer: &Answer) -> String {
        let mut text = String::new();
        if !self.skip_header {
            text += &joined(answer.columns.iter().map(|column| field(&column.name)));
            text.push('\n');
        }
        for row in &answer.rows {
            let fields = row.iter().zip(&answer.columns).map(|(value, column)| match value {
                AnswerValue::Null => String::new(),
                // An empty text is not NULL.
                AnswerValue::Text(text) if text.is_empty() => "\"\"".to_owned(),
                value => field(&self.text(value, &column.kind).0),
            });
            text += &joined(fields);
            text.push('\n');
        }
        text
    }

    fn json(&self, value: &AnswerValue, kind: &Kind) -> String {
        match value {
            AnswerValue::Null => "null".to_owned(),
            value => match self.text(value, kind) {
                (text, true) => text,
                (text, false) => json_value::string(&text),
            },
        }
    }

    /// The value without quotes, and whether JSON has it so.
    fn text(&self, value: &AnswerValue, kind: &Kind) -> (String, bool) {
        match value {
            AnswerValue::Null => (String::new(), true),
            AnswerValue::Bool(truth) => (truth.to_string(), true),
            AnswerValue::Number(text) => (self.number(text, kind), true),
            AnswerValue::Json(text) => (text.clone(), true),
            AnswerValue::Text(text) => (text.clone(), false),
            AnswerValue::Bytes(bytes) => (json_value::base64(bytes), false),
            AnswerValue::Time(text) => json_value::timestamp(text, &self.time),
        }
    }

    fn number(&self, text: &str, kind: &Kind) -> String {
        match (self.precision, kind, text.parse::<f64>()) {
            (Some(digits), Kind::Real | Kind::Double | Kind::Decimal, Ok(number)) if number.abs() < PLAIN_MAX => {
                format!("{number:.digits$}")
            }
            _ => text.to_owned(),
        }
    }

    fn type_name<'k>(&self, kind: &'k Kind) -> &'k str {
        if !self.is_machbase {
            return kind.name();
        }
        match kind {
            Kind::Int16 => "int16",
            Kind::Int32 => "int32",
            Kind::Int64 => "int64",
            Kind::Real => "float",
            Kind::Double | Kind::Decimal => "double",
            Kind::Timestamp | Kind::Timestamptz => "datetime",
            Kind::Bytes => "binary",
            Kind::Bool => "bool",
            _ => "string",
        }
    }
}

/// The answer to a request that is refused.
pub(super) fn refusal(reason: &str, elapse: Duration) -> String {
    format!(
        "{{\"success\":false,\"reason\":{},\"elapse\":{}}}",
        json_value::string(reason),
        json_value::string(&elapsed(elapse))
    )
}

/// `1.2ms`
fn elapsed(time: Duration) -> String {
    format!("{:.1}ms", time.as_secs_f64() * 1e3)
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    for (index, part) in parts.enumerate() {
        if index > 0 {
            text.push(',');
        }
        text += &part;
    }
    text
}

/// In quotes where it needs them.
fn field(text: &str) -> String {
    let needs_quotes = text.contains(['"', ',', '\n', '\r']) || text.starts_with(' ') || text.ends_with(' ');
    if needs_quotes { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    fn answer() -> Answer {
        let column = |name: &str, kind| AnswerColumn { name: name.to_owned(), kind };
        Answer {
            columns: vec![
                column("at", Kind::Timestamptz),
                column("a \"b\"", Kind::Text),
                column("v", Kind::Double),
                column("x", Kind::Bytes),
            ],
            rows: vec![
                vec![
                    AnswerValue::Time("2026-11-28T22:10:00.5+00:00".to_owned()),
                    AnswerValue::Text("it, \"is\"".to_owned()),
                    AnswerValue::Number("1.256".to_owned()),
                    AnswerValue::Bytes(vec![0, 255]),
                ],
                vec![AnswerValue::Null, AnswerValue::Text(String::new()), AnswerValue::Null, AnswerValue::Null],
            ],
        }
    }

    fn payload(change: impl FnOnce(&mut Layout)) -> String {
        let mut layout = Layout::new(AnswerFormat::Json, TimeForm::Rfc3339(TimeZone::UTC));
        change(&mut layout);
        layout.payload(answer(), Duration::from_micros(1_234))
    }

    #[test]
    fn json_has_columns_types_and_rows() {
        assert_eq!(
            payload(|_| {}),
            r#"{"success":true,"reason":"success","elapse":"1.2ms","data":{"columns":["at","a \"b\"","v","x"],"types":["timestamptz","text","double","bytes"],"rows":[["2026-11-28T22:10:00.5Z","it, \"is\"",1.256,"AP8="],[null,"",null,null]]}}"#
        );
        let text = refusal("it \"is\" so", Duration::ZERO);
        assert_eq!(text, r#"{"success":false,"reason":"it \"is\" so","elapse":"0.0ms"}"#);
    }

    #[test]
    fn a_json_value_with_line_ends_is_in_one_line() {
        let layout = Layout::new(AnswerFormat::Ndjson, TimeForm::Rfc3339(TimeZone::UTC));
        let columns = vec![AnswerColumn { name: "doc".to_owned(), kind: Kind::Text }];
        let rows = vec![vec![AnswerValue::Json("{\n\"a\":\r\n1}".to_owned())]];
        assert_eq!(layout.payload(Answer { columns, rows }, Duration::ZERO), "{\"doc\":{ \"a\":  1}}\n");
    }

    #[test]
    fn rows_and_lines_are_objects_and_csv_has_a_header() {
        let first = r#"{"at":"2026-11-28T22:10:00.5Z","a \"b\"":"it, \"is\"","v":1.256,"x":"AP8="}"#;
        let second = r#"{"at":null,"a \"b\"":"","v":null,"x":null}"#;
        assert_eq!(payload(|layout| layout.format = AnswerFormat::Rows), format!("[{first},{second}]"));
        assert_eq!(payload(|layout| layout.format = AnswerFormat::Ndjson), format!("{first}\n{second}\n"));
        let csv = "at,\"a \"\"b\"\"\",v,x\n2026-11-28T22:10:00.5Z,\"it, \"\"is\"\"\",1.256,AP8=\n,\"\",,\n";
        assert_eq!(payload(|layout| layout.format = AnswerFormat::Csv), csv);
    }

    #[test]
    fn the_length_that_the_request_asks_for_is_known_before_it_is_written() {
        let least = |precision, time| {
            let layout = Layout { precision, ..Layout::new(AnswerFormat::Csv, time) };
            layout.least_bytes(&answer())
        };
        let plain = least(None, TimeForm::Epoch(1));
        assert_eq!(least(Some(30), TimeForm::Epoch(1)), plain + 32, "one float");
        let wide = TimeForm::Pattern("%255H%255H".to_owned(), TimeZone::UTC);
        assert!(least(None, wide) > plain, "one time");
    }

    #[test]
    fn machbases_options_lay_rows_out() {
        let data = |change: fn(&mut Layout)| {
            let text = payload(|layout| {
                layout.is_machbase = true;
                layout.time = TimeForm::Epoch(1_000_000_000);
                change(layout);
            });
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            json["data"].clone()
        };
        let plain = data(|_| {});
        assert_eq!(plain["types"], serde_json::json!(["datetime", "string", "double", "binary"]));
        assert_eq!(plain["rows"][0][0], serde_json::json!(1_795_903_800_500_000_000_i64));
        assert_eq!(data(|layout| layout.precision = Some(1))["rows"][0][2], serde_json::json!(1.3));
        let mut layout = Layout::new(AnswerFormat::Csv, TimeForm::Epoch(1));
        layout.precision = Some(2);
        assert_eq!(layout.number("1e29", &Kind::Double), "99999999999999991433150857216.00");
        assert_eq!(layout.number("1e300", &Kind::Double), "1e300");
        assert_eq!(data(|layout| layout.rownum = true)["rows"][1][0], serde_json::json!(2));
        assert_eq!(data(|layout| layout.rownum = true)["columns"][0], "ROWNUM");
        assert_eq!(data(|layout| layout.transpose = true)["cols"][2], serde_json::json!([1.256, null]));
        assert_eq!(data(|layout| layout.rows_flatten = true)["rows"].as_array().unwrap().len(), 8);
        assert_eq!(data(|layout| layout.rows_array = true)["rows"][1]["v"], serde_json::Value::Null);
    }
}
