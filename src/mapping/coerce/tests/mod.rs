//! Each column type: what fits, the resulting cell, and what is refused.

mod numbers;
mod properties;
mod times;

use jiff::tz::TimeZone;

use super::*;
use crate::batch::RowEncoder;
use crate::rule::TimeFormat;
use crate::sink::PostgresEncoder;

fn demands() -> Demands {
    Demands { clockface: Clockface { format: None, zone: TimeZone::UTC }, text_takes_nul: false }
}

fn timed(format: TimeFormat) -> Demands {
    Demands { clockface: Clockface { format: Some(format), zone: TimeZone::UTC }, text_takes_nul: false }
}

fn is_of_sqlite(column_type: &ColumnType) -> bool {
    use ColumnType::{Any, LowerBound, Operand, TimestampText, UpperBound};
    matches!(column_type, Any | Operand | TimestampText | LowerBound | UpperBound)
}

/// Postgres' encoder asserts that a cell fits its column.
fn encode_for_postgres(column_type: &ColumnType, cell: Cell<'_>) {
    if !is_of_sqlite(column_type) {
        PostgresEncoder.cell(column_type, cell, &mut Vec::new());
    }
}

/// The cell as debug text (cells borrow), or why there is none.
fn cell_with(json: &str, column_type: &ColumnType, demands: &Demands) -> Result<String, String> {
    let value = Value::from_json(json).unwrap();
    value_with(value, column_type, demands)
}

fn value_with(value: Value<'_>, column_type: &ColumnType, demands: &Demands) -> Result<String, String> {
    if let ColumnType::Array(element, _) = column_type {
        let mut shown = String::new();
        coerce_array(&value, element, demands, |cells| {
            encode_for_postgres(column_type, Cell::Array(cells));
            shown = format!("{cells:?}");
        })
        .map_err(|misfit| misfit.0)?;
        return Ok(shown);
    }
    let mut scratch = Scratch::default();
    let mut shown = String::new();
    coerce(&value, column_type, demands, &mut scratch, |cell| {
        encode_for_postgres(column_type, cell);
        shown = format!("{cell:?}");
    })
    .map_err(|misfit| misfit.0.into_owned())?;
    Ok(shown)
}

fn cell(json: &str, column_type: &ColumnType) -> Result<String, String> {
    cell_with(json, column_type, &demands())
}

/// Checks that each JSON value becomes the cell beside it, or is refused where there is none.
fn check(column_type: &ColumnType, cases: &[(&str, Option<&str>)]) {
    for (json, expected) in cases {
        let found = cell(json, column_type);
        assert_eq!(found.as_deref().ok(), *expected, "{json} into {column_type:?}: {found:?}");
    }
}

#[test]
fn bools() {
    check(
        &ColumnType::Bool,
        &[
            ("true", Some("Bool(true)")),
            ("0", Some("Bool(false)")),
            ("1.0", Some("Bool(true)")),
            (r#""ON""#, Some("Bool(true)")),
            (r#"" no ""#, Some("Bool(false)")),
            (r#""False""#, Some("Bool(false)")),
            (r#""1""#, Some("Bool(true)")),
            ("2", None),
            ("0.5", None),
            (r#""maybe""#, None),
            ("{}", None),
        ],
    );
}

#[test]
fn text_takes_strings_and_the_payloads_own_writing() {
    let text = ColumnType::Text { max_chars: None };
    check(
        &text,
        &[
            (r#""plain""#, Some("Text(\"plain\")")),
            (r#""a\"\u00e9\ud83d\ude00""#, Some("Text(\"a\\\"é😀\")")),
            ("1.500", Some("Text(\"1.500\")")),
            ("true", Some("Text(\"true\")")),
            (r#"{"a": 1}"#, Some("Text(\"{\\\"a\\\": 1}\")")),
            (r#""a\u0000b""#, None),
            (r#""\ud800""#, None),
        ],
    );
    let sqlite = Demands { text_takes_nul: true, ..demands() };
    assert!(cell_with(r#""a\u0000b""#, &text, &sqlite).is_ok());
    let short = ColumnType::Text { max_chars: Some(3) };
    check(&short, &[(r#""äöü""#, Some("Text(\"äöü\")")), (r#""abcd""#, None)]);
    assert_eq!(value_with(Value::Instant(0), &text, &demands()).unwrap(), "Text(\"1970-01-01T00:00:00.000Z\")");
    assert_eq!(cell_with("1.5", &text, &timed(TimeFormat::Seconds)).unwrap(), "Text(\"1970-01-01T00:00:01.500Z\")");
    assert_eq!(value_with(Value::Int(5), &text, &demands()).unwrap(), "Text(\"5\")");
    assert!(value_with(Value::Bytes(b"\xff"), &text, &demands()).is_err());
}

#[test]
fn enums_take_their_labels_only() {
    let labels: std::sync::Arc<[String]> = vec!["low".to_owned(), "high".to_owned()].into();
    check(&ColumnType::Enum(labels), &[(r#""low""#, Some("Text(\"low\")")), (r#""Low""#, None), ("1", None)]);
}

#[test]
fn bytes_take_bytes_and_the_utf8_of_strings() {
    check(
        &ColumnType::Bytes,
        &[(r#""é""#, Some("Bytes([195, 169])")), (r#""\\x41""#, Some("Bytes([92, 120, 52, 49])"))],
    );
    assert_eq!(value_with(Value::Bytes(b"\xff\0"), &ColumnType::Bytes, &demands()).unwrap(), "Bytes([255, 0])");
}

#[test]
fn uuids_in_their_usual_forms() {
    let bytes = "Uuid([103, 229, 80, 68, 16, 177, 66, 111, 146, 71, 187, 104, 14, 95, 224, 200])";
    check(
        &ColumnType::Uuid,
        &[
            (r#""67e55044-10b1-426f-9247-bb680e5fe0c8""#, Some(bytes)),
            (r#""67E5504410B1426F9247BB680E5FE0C8""#, Some(bytes)),
            (r#""67e55044""#, None),
            ("67", None),
        ],
    );
    assert!(value_with(Value::Bytes(&[7; 16]), &ColumnType::Uuid, &demands()).is_ok());
    assert!(value_with(Value::Bytes(&[7; 15]), &ColumnType::Uuid, &demands()).is_err());
}

#[test]
fn addresses_are_canonical_and_checked() {
    check(
        &ColumnType::Inet,
        &[
            (r#""10.0.0.1""#, Some("Text(\"10.0.0.1\")")),
            (r#""10.0.0.0/8""#, Some("Text(\"10.0.0.0/8\")")),
            (r#""FE80:0::1/64""#, Some("Text(\"fe80::1/64\")")),
            (r#""10.0.0.1/33""#, None),
            (r#""10.0.0.1/+8""#, None),
            (r#""host""#, None),
            ("1", None),
        ],
    );
}

#[test]
fn arrays_go_element_by_element() {
    let integers = ColumnType::Array(Box::new(ColumnType::Int4), 23);
    check(
        &integers,
        &[
            (r#"[1, null, "3"]"#, Some("[Int(1), Null, Int(3)]")),
            ("[]", Some("[]")),
            ("[1.5]", None),
            ("[[1]]", None),
            ("1", None),
            ("{}", None),
        ],
    );
    let texts = ColumnType::Array(Box::new(ColumnType::Text { max_chars: None }), 25);
    check(&texts, &[(r#"["a","b\n",{"c":1}]"#, Some(r#"[Text("a"), Text("b\n"), Text("{\"c\":1}")]"#))]);
    let documents = ColumnType::Array(Box::new(ColumnType::Jsonb), 3802);
    check(&documents, &[(r#"[[1],"a"]"#, Some(r#"[Text("[1]"), Text("\"a\"")]"#))]);
}

#[test]
fn a_number_is_never_text_for_a_bind_without_a_type() {
    check(
        &ColumnType::Operand,
        &[
            ("9223372036854775807", Some("Int(9223372036854775807)")),
            ("9223372036854775808", Some("Float(9.223372036854776e18)")),
            ("40.123456789012345", Some("Float(40.123456789012344)")),
            ("0.12345678901234567890", Some("Float(0.12345678901234568)")),
            ("1e400", None),
            ("true", Some("Bool(true)")),
            (r#""40.1""#, Some("Text(\"40.1\")")),
        ],
    );
}

#[test]
fn a_column_of_any_type_takes_values_as_they_are() {
    check(
        &ColumnType::Any,
        &[
            ("9223372036854775807", Some("Int(9223372036854775807)")),
            ("9223372036854775808", Some("Text(\"9223372036854775808\")")),
            ("21.50", Some("Float(21.5)")),
            ("0.1", Some("Float(0.1)")),
            ("0.30000000000000004", Some("Float(0.30000000000000004)")),
            ("123456789018227.12", Some("Text(\"123456789018227.12\")")),
            ("123456789018227.13", Some("Text(\"123456789018227.13\")")),
            ("0.12345678901234567890", Some("Text(\"0.12345678901234567890\")")),
            ("1e400", Some("Text(\"1e400\")")),
            ("true", Some("Bool(true)")),
            (r#""x""#, Some("Text(\"x\")")),
            ("[1]", Some("Text(\"[1]\")")),
        ],
    );
    assert_eq!(value_with(Value::Bytes(b"a"), &ColumnType::Any, &demands()).unwrap(), "Bytes([97])");
    let instant = value_with(Value::Instant(0), &ColumnType::Any, &demands()).unwrap();
    assert_eq!(instant, "Text(\"1970-01-01T00:00:00.000Z\")");
}

#[test]
fn messages_name_the_kind_of_value_but_never_the_value() {
    for column_type in [
        ColumnType::Int4,
        ColumnType::Float8,
        ColumnType::Uuid,
        ColumnType::Timestamptz(SecondDigits::MICROS),
        ColumnType::Inet,
    ] {
        let fault = cell(r#""s3cret""#, &column_type).unwrap_err();
        assert!(fault.contains("string") && !fault.contains("s3cret"), "{fault}");
    }
}
