//! Shows the value that Postgres would hold. A cell that the encoder cannot encode is refused as the server would
//! refuse it.

use jiff::civil::DateTime;
use jiff::{SignedDuration, Span};

use super::encode::{PostgresEncoder, field};
use crate::schema::{Cell, ColumnType};
use crate::sink::literal::literal;
use crate::sink::preview::{Held, Preview, Unheld, float, json_number};

impl Preview for PostgresEncoder {
    fn preview(&self, column_type: &ColumnType, cell: Cell<'_>) -> Result<Held, Unheld> {
        // Of an unknown type nothing is known that could refuse it.
        let is_known = *column_type != ColumnType::Any;
        if is_known && field(column_type, cell, &mut Vec::new()).is_none() {
            let message = "the value has no form that Postgres takes for this type".to_owned();
            return Err(Unheld { reason: "value", message });
        }
        Ok(held(column_type, cell))
    }
}

fn held(column_type: &ColumnType, cell: Cell<'_>) -> Held {
    match cell {
        Cell::Null => Held::null(),
        Cell::Bool(truth) => Held::plain(truth.to_string()),
        Cell::Int(number) => Held::plain(number.to_string()),
        Cell::Float(number) if *column_type == ColumnType::Float4 => Held::plain(single(number as f32)),
        Cell::Float(number) => Held::plain(float(number)),
        Cell::Decimal(text) => {
            let json = json_number(text);
            let sql = if json.starts_with('"') { literal(text) } else { json.clone() };
            Held::new(json, sql)
        }
        Cell::Text(text) => match column_type {
            ColumnType::Json | ColumnType::Jsonb => Held::new(text.to_owned(), literal(text)),
            _ => Held::text(text),
        },
        Cell::Bytes(bytes) => Held::bytes(bytes, |digits| format!("'\\x{digits}'")),
        Cell::Uuid(bytes) => Held::text(&uuid::Uuid::from_bytes(bytes).hyphenated().to_string()),
        Cell::Date(days) => Held::text(&date(days)),
        Cell::Time(micros) => Held::text(&time_of_day(micros)),
        Cell::Timestamp(micros) => Held::text(&timestamp(micros, matches!(column_type, ColumnType::Timestamp(_)))),
        Cell::Interval { months, days, micros } => Held::text(&interval(months, days, micros)),
        Cell::Array(cells) => array(column_type, cells),
    }
}

/// The shortest text of a 32-bit float, as the server shows it.
fn single(number: f32) -> String {
    let text = serde_json::Number::from_f64(number.into()).map(|_| ryu::Buffer::new().format(number).to_owned());
    text.unwrap_or_else(|| "null".to_owned())
}

fn at(micros: i64) -> Option<DateTime> {
    DateTime::constant(1970, 1, 1, 0, 0, 0, 0).checked_add(SignedDuration::from_micros(micros)).ok()
}

fn date(days: i32) -> String {
    let day = DateTime::constant(1970, 1, 1, 0, 0, 0, 0).checked_add(Span::new().try_days(days).unwrap_or_default());
    day.map_or_else(|_| format!("{days} days after 1970-01-01"), |day| day.date().to_string())
}

fn time_of_day(micros: i64) -> String {
    const DAY_MICROS: i64 = 86_400_000_000;
    match at(micros) {
        Some(_) if micros == DAY_MICROS => "24:00:00".to_owned(),
        Some(time) => time.time().to_string(),
        None => format!("{micros} microseconds after midnight"),
    }
}

fn timestamp(micros: i64, is_local: bool) -> String {
    let zone = if is_local { "" } else { "Z" };
    at(micros).map_or_else(|| format!("{micros} microseconds after 1970"), |time| format!("{time}{zone}"))
}

/// An ISO 8601 duration, `P14M3DT1.5S`.
fn interval(months: i32, days: i32, micros: i64) -> String {
    let mut text = "P".to_owned();
    if months != 0 {
        text += &format!("{months}M");
    }
    if days != 0 {
        text += &format!("{days}D");
    }
    if micros != 0 || (months, days) == (0, 0) {
        let sign = if micros < 0 { "-" } else { "" };
        let seconds = format!("{}.{:06}", micros.unsigned_abs() / 1_000_000, micros.unsigned_abs() % 1_000_000);
        text += &format!("T{sign}{}S", seconds.trim_end_matches('0').trim_end_matches('.'));
    }
    text
}

/// `[1,null]` and `'{1,NULL}'`.
fn array(column_type: &ColumnType, cells: &[Cell<'_>]) -> Held {
    let element_type = match column_type {
        ColumnType::Array(element, _) => element,
        other => other,
    };
    let (mut json, mut sql) = (Vec::new(), Vec::new());
    for cell in cells {
        let element = held(element_type, *cell);
        sql.push(match cell {
            Cell::Null => "NULL".to_owned(),
            Cell::Bool(_) | Cell::Int(_) | Cell::Float(_) | Cell::Decimal(_) => element.sql,
            Cell::Text(text) => element_text(text),
            _ => element_text(element.sql.trim_matches('\'')),
        });
        json.push(element.json);
    }
    Held::new(format!("[{}]", json.join(",")), literal(&format!("{{{}}}", sql.join(","))))
}

/// Within an array's literal.
fn element_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::SecondDigits;

    fn shown(column_type: &ColumnType, cell: Cell<'_>) -> (String, String) {
        let held = PostgresEncoder.preview(column_type, cell).unwrap();
        (held.json, held.sql)
    }

    fn pair(json: &str, sql: &str) -> (String, String) {
        (json.to_owned(), sql.to_owned())
    }

    #[test]
    fn a_value_is_shown_as_postgres_would_hold_it() {
        let text = ColumnType::Text { max_chars: None };
        assert_eq!(shown(&ColumnType::Float4, Cell::Float(0.1)), pair("0.1", "0.1"));
        assert_eq!(shown(&ColumnType::Numeric(None), Cell::Decimal("012.50")), pair("12.50", "12.50"));
        assert_eq!(shown(&text, Cell::Text("it's")), pair("\"it's\"", "'it''s'"));
        assert_eq!(shown(&ColumnType::Bytes, Cell::Bytes(b"\x00\xff")), pair("\"\\\\x00ff\"", "'\\x00ff'"));
        let micros = SecondDigits::MICROS;
        let time = "1970-01-01T00:00:01.500999";
        assert_eq!(
            shown(&ColumnType::Timestamptz(micros), Cell::Timestamp(1_500_999)),
            (format!("\"{time}Z\""), format!("'{time}Z'"))
        );
        assert_eq!(shown(&ColumnType::Timestamp(micros), Cell::Timestamp(1_500_999)).1, format!("'{time}'"));
        assert_eq!(shown(&ColumnType::Date, Cell::Date(20_000)).1, "'2024-10-04'");
        assert_eq!(shown(&ColumnType::Time(micros), Cell::Time(30_360_000_001)).1, "'08:26:00.000001'");
        let span = Cell::Interval { months: 14, days: 3, micros: -1_500_000 };
        let unit = crate::schema::IntervalUnit::Second(micros);
        assert_eq!(shown(&ColumnType::Interval(unit), span).1, "'P14M3DT-1.5S'");
    }

    #[test]
    fn an_array_is_shown_as_json_and_as_its_literal() {
        let texts = ColumnType::Array(Box::new(ColumnType::Text { max_chars: None }), 25);
        let cells = [Cell::Text("a\"b"), Cell::Null, Cell::Text("it's")];
        assert_eq!(shown(&texts, Cell::Array(&cells)), pair(r#"["a\"b",null,"it's"]"#, r#"'{"a\"b",NULL,"it''s"}'"#));
        let numbers = ColumnType::Array(Box::new(ColumnType::Int4), 23);
        assert_eq!(shown(&numbers, Cell::Array(&[Cell::Int(1)])), pair("[1]", "'{1}'"));
    }

    #[test]
    fn what_does_not_fit_is_refused_and_an_unknown_type_takes_everything() {
        assert!(PostgresEncoder.preview(&ColumnType::Int2, Cell::Int(40_000)).is_err());
        assert_eq!(shown(&ColumnType::Any, Cell::Bool(true)), pair("true", "true"));
    }
}
