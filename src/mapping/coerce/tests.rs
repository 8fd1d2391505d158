//! Each column type: what fits, what it becomes, what is refused.

use jiff::tz::TimeZone;
use proptest::prelude::*;

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
    use ColumnType::{Any, LowerBound, TimestampText, UpperBound};
    matches!(column_type, Any | TimestampText | LowerBound | UpperBound)
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
fn integers_are_exact_whole_and_in_range() {
    check(
        &ColumnType::Int8,
        &[
            ("9223372036854775807", Some("Int(9223372036854775807)")),
            ("-9223372036854775808", Some("Int(-9223372036854775808)")),
            (r#""9007199254740993""#, Some("Int(9007199254740993)")),
            (r#"" 42\n""#, Some("Int(42)")),
            ("5.0", Some("Int(5)")),
            ("1e3", Some("Int(1000)")),
            ("true", Some("Int(1)")),
            ("9223372036854775808", None),
            ("21.5", None),
            (r#""0x10""#, None),
            (r#""""#, None),
            ("[1]", None),
        ],
    );
    check(&ColumnType::Int2, &[("32767", Some("Int(32767)")), ("32768", None), ("-32769", None)]);
    check(&ColumnType::Int4, &[("-2147483648", Some("Int(-2147483648)")), ("2147483648", None)]);
}

#[test]
fn times_in_integer_columns_are_epoch_milliseconds() {
    assert_eq!(value_with(Value::Instant(1_500_999), &ColumnType::Int8, &demands()).unwrap(), "Int(1500)");
    let seconds = timed(TimeFormat::Seconds);
    assert_eq!(cell_with("1700000000", &ColumnType::Int8, &seconds).unwrap(), "Int(1700000000000)");
    assert!(cell_with("1700000000", &ColumnType::Int4, &seconds).is_err());
}

#[test]
fn floats_are_the_nearest_and_never_infinite_or_silently_zero() {
    check(
        &ColumnType::Float8,
        &[
            ("21.5", Some("Float(21.5)")),
            (r#""1e3""#, Some("Float(1000.0)")),
            ("0.12345678901234567890", Some("Float(0.12345678901234568)")),
            ("1e400", None),
            ("1e-400", None),
            ("0e-400", Some("Float(0.0)")),
            (r#""NaN""#, None),
            (r#""inf""#, None),
            ("{}", None),
        ],
    );
    check(
        &ColumnType::Float4,
        &[("0.5", Some("Float(0.5)")), ("1e39", None), ("1e-60", None), ("0.1", Some("Float(0.10000000149011612)"))],
    );
}

#[test]
fn integers_that_a_float_would_round_are_refused_with_the_remedy() {
    check(
        &ColumnType::Float8,
        &[
            ("9007199254740992", Some("Float(9007199254740992.0)")),
            ("9007199254740993", None),
            (r#""-9007199254740993""#, None),
            ("9223372036854775807", None),
            ("-9223372036854775808", Some("Float(-9.223372036854776e18)")),
            ("18446744073709551616", Some("Float(1.8446744073709552e19)")),
            ("18446744073709551617", None),
            ("1234567890123456789012345678901234567890", None),
            ("000000000000000000005", Some("Float(5.0)")),
        ],
    );
    check(
        &ColumnType::Float4,
        &[
            ("16777216", Some("Float(16777216.0)")),
            ("16777217", None),
            (r#""16777217""#, None),
            ("9999999", Some("Float(9999999.0)")),
        ],
    );
    assert!(value_with(Value::Int(i64::MAX), &ColumnType::Float8, &demands()).is_err());
    let fault = cell("9007199254740993", &ColumnType::Float8).unwrap_err();
    assert!(fault.contains("bigint or numeric"), "{fault}");
}

#[test]
fn a_float_column_changes_no_digit_before_the_point() {
    check(
        &ColumnType::Float8,
        &[
            ("9007199254740990.7", Some("Float(9007199254740991.0)")),
            ("9007199254740991.7", None),
            ("9007199254740993.0", None),
            ("9007199254740993e0", None),
            ("9007199254740994.0", Some("Float(9007199254740994.0)")),
            ("1234567890123456789.5", None),
            ("6.02214076e23", Some("Float(6.02214076e23)")),
            ("-1.7976931348623157e308", Some("Float(-1.7976931348623157e308)")),
            ("123456789012345680000.0", Some("Float(1.2345678901234568e20)")),
        ],
    );
    check(
        &ColumnType::Float4,
        &[
            ("123456.789", Some("Float(123456.7890625)")),
            ("16777214.6", Some("Float(16777215.0)")),
            ("16777217.5", None),
            ("1700000001.5", None),
            (r#""1700000001.5""#, None),
            ("1700000000.0", Some("Float(1700000000.0)")),
            ("1.7e9", Some("Float(1700000000.0)")),
            ("3.4028235e38", Some("Float(3.4028234663852886e38)")),
        ],
    );
    let fault = cell("1700000001.5", &ColumnType::Float4).unwrap_err();
    assert!(fault.contains("about 7") && fault.contains("make the column double"), "{fault}");
}

#[test]
fn bounds_of_an_r_tree_are_singles_that_still_contain_the_value() {
    check(
        &ColumnType::LowerBound,
        &[
            ("21.53", Some("Float(21.529998779296875)")),
            ("-21.53", Some("Float(-21.530000686645508)")),
            ("16777217", Some("Float(16777216.0)")),
            ("0.5", Some("Float(0.5)")),
            ("1e39", Some("Float(3.4028234663852886e38)")),
            ("-1e39", None),
            (r#""here""#, None),
        ],
    );
    check(
        &ColumnType::UpperBound,
        &[
            ("21.53", Some("Float(21.530000686645508)")),
            ("-21.53", Some("Float(-21.529998779296875)")),
            ("16777217", Some("Float(16777218.0)")),
            ("1e39", None),
        ],
    );
}

#[test]
fn times_are_cut_to_the_digits_that_their_column_keeps() {
    const DIGITS: [u8; 4] = [0, 1, 3, 6];
    let last_of_1999 = r#""1999-12-31T23:59:59.9876549Z""#;
    let kept = ["946684799000000", "946684799900000", "946684799987000", "946684799987654"];
    for (digits, micros) in DIGITS.map(SecondDigits::new).into_iter().zip(kept) {
        let expected = Ok(format!("Timestamp({micros})"));
        assert_eq!(cell(last_of_1999, &ColumnType::Timestamptz(digits)), expected);
        assert_eq!(cell(last_of_1999, &ColumnType::Timestamp(digits)), expected);
        let counted = timed(TimeFormat::Seconds);
        assert_eq!(cell_with("946684799.9876549", &ColumnType::Timestamptz(digits), &counted), expected);
    }
    for (digits, micros) in DIGITS.map(SecondDigits::new).into_iter().zip([86_399_000_000, 86_399_900_000_i64]) {
        assert_eq!(cell(r#""23:59:59.9876549""#, &ColumnType::Time(digits)), Ok(format!("Time({micros})")));
    }
    assert_eq!(cell(last_of_1999, &ColumnType::TimestampText), Ok("Timestamp(946684799987000)".to_owned()));
    let before_1970 = r#""1969-12-31T23:59:59.5Z""#;
    assert_eq!(cell(before_1970, &ColumnType::Timestamptz(SecondDigits::new(0))), Ok("Timestamp(-1000000)".to_owned()));
    let seconds = ColumnType::Array(Box::new(ColumnType::Timestamptz(SecondDigits::new(0))), 1184);
    assert_eq!(cell(&format!("[{last_of_1999}]"), &seconds), Ok("[Timestamp(946684799000000)]".to_owned()));
}

#[test]
fn counts_of_nanoseconds_are_exact_to_the_microsecond() {
    let nanos = timed(TimeFormat::Nanos);
    let column = ColumnType::Timestamptz(SecondDigits::MICROS);
    for (count, micros) in [
        ("1700000000123456789", "1700000000123456"),
        ("1700000000123456999.9", "1700000000123456"),
        ("-1", "-1"),
        ("-1000", "-1"),
        ("-1001", "-2"),
    ] {
        assert_eq!(cell_with(count, &column, &nanos), Ok(format!("Timestamp({micros})")), "{count}");
    }
    let seconds = timed(TimeFormat::Seconds);
    assert_eq!(cell_with("1700000000.999999999", &column, &seconds), Ok("Timestamp(1700000000999999)".to_owned()));
}

#[test]
fn a_date_column_drops_no_time_of_day_and_a_time_column_no_date() {
    check(
        &ColumnType::Date,
        &[
            (r#""2026-11-21""#, Some("Date(20778)")),
            (r#""2026-11-21T00:00:00Z""#, Some("Date(20778)")),
            (r#""2026-11-21T08:26:00Z""#, None),
            (r#""2026-11-21 00:00:01""#, None),
        ],
    );
    check(
        &ColumnType::Time(SecondDigits::MICROS),
        &[(r#""2026-11-21T08:26:00Z""#, None), (r#""08:26:00+01:00""#, None)],
    );
}

#[test]
fn an_interval_column_keeps_every_field_or_refuses_the_value() {
    let year = ColumnType::Interval(IntervalUnit::Year);
    check(&year, &[(r#""P2Y""#, Some("Interval { months: 24, days: 0, micros: 0 }")), (r#""P2Y1M""#, None)]);
    let minute = ColumnType::Interval(IntervalUnit::Minute);
    check(&minute, &[("60", Some("Interval { months: 0, days: 0, micros: 60000000 }")), ("61", None)]);
    let second = ColumnType::Interval(IntervalUnit::Second(SecondDigits::new(0)));
    check(
        &second,
        &[
            ("1.9", Some("Interval { months: 0, days: 0, micros: 1000000 }")),
            ("-1.9", Some("Interval { months: 0, days: 0, micros: -1000000 }")),
            (r#""P1DT1.9S""#, Some("Interval { months: 0, days: 1, micros: 1000000 }")),
        ],
    );
    let fault = cell("61", &minute).unwrap_err();
    assert!(fault.contains("minutes") && fault.contains("plain `interval`"), "{fault}");
}

#[test]
fn decimals_keep_every_digit_or_are_refused() {
    let digits = "1234567890123456789012345678901234567890.5";
    assert_eq!(cell(digits, &ColumnType::Numeric(None)).unwrap(), format!("Decimal({digits:?})"));
    check(
        &ColumnType::Numeric(Some((5, 2))),
        &[
            ("123.45", Some("Decimal(\"123.45\")")),
            ("123.4500", Some("Decimal(\"123.4500\")")),
            ("1.2e2", Some("Decimal(\"1.2e2\")")),
            (r#""+.5""#, Some("Decimal(\"5e-1\")")),
            (r#""5.""#, Some("Decimal(\"5\")")),
            ("true", Some("Decimal(\"1\")")),
            ("0e99999999999", Some("Decimal(\"0\")")),
            ("1234.5", None),
            ("1.234", None),
            ("1e999999999999", None),
            (r#""abc""#, None),
        ],
    );
    let long = format!("1.{}", "0".repeat(20_000));
    assert_eq!(cell(&long, &ColumnType::Numeric(None)).unwrap(), "Decimal(\"1\")");
    assert!(cell(&"9".repeat(131_001), &ColumnType::Numeric(None)).is_err());
    check(&ColumnType::Numeric(Some((2, -3))), &[("12000", Some("Decimal(\"12000\")")), ("12500", None)]);
    check(&ColumnType::Numeric(Some((2, 4))), &[("0.0012", Some("Decimal(\"0.0012\")")), ("0.012", None)]);
    check(
        &ColumnType::Numeric(None),
        &[("1e131072", None), ("1e-16384", None), ("1e131071", Some("Decimal(\"1e131071\")"))],
    );
    assert_eq!(value_with(Value::Int(-7), &ColumnType::Numeric(Some((1, 0))), &demands()).unwrap(), "Decimal(\"-7\")");
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
fn times_and_intervals_reach_their_columns() {
    let text = r#""2026-11-21T08:26:00Z""#;
    check(
        &ColumnType::Timestamptz(SecondDigits::MICROS),
        &[(text, Some("Timestamp(1795249560000000)")), ("1", None), (r#""soon""#, None)],
    );
    check(&ColumnType::TimestampText, &[(text, Some("Timestamp(1795249560000000)")), (r#""-000001-01-01""#, None)]);
    check(
        &ColumnType::Timestamp(SecondDigits::MICROS),
        &[(r#""2026-11-21 08:26:00""#, Some("Timestamp(1795249560000000)"))],
    );
    check(&ColumnType::Date, &[(r#""2026-11-21""#, Some("Date(20778)")), (r#""2026-02-29""#, None)]);
    check(&ColumnType::Time(SecondDigits::MICROS), &[(r#""08:26""#, Some("Time(30360000000)")), (r#""24:30""#, None)]);
    check(
        &ColumnType::Interval(IntervalUnit::Second(SecondDigits::MICROS)),
        &[
            (r#""P1M2DT3S""#, Some("Interval { months: 1, days: 2, micros: 3000000 }")),
            ("1.5", Some("Interval { months: 0, days: 0, micros: 1500000 }")),
            (r#""soon""#, None),
            ("true", None),
        ],
    );
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

fn any_type() -> impl Strategy<Value = ColumnType> {
    prop::sample::select(vec![
        ColumnType::Bool,
        ColumnType::Int2,
        ColumnType::Int8,
        ColumnType::Float4,
        ColumnType::Float8,
        ColumnType::Numeric(None),
        ColumnType::Numeric(Some((6, 2))),
        ColumnType::Text { max_chars: Some(5) },
        ColumnType::Jsonb,
        ColumnType::Bytes,
        ColumnType::Uuid,
        ColumnType::Date,
        ColumnType::Time(SecondDigits::MILLIS),
        ColumnType::Timestamp(SecondDigits::MICROS),
        ColumnType::Timestamptz(SecondDigits::new(0)),
        ColumnType::TimestampText,
        ColumnType::LowerBound,
        ColumnType::UpperBound,
        ColumnType::Interval(IntervalUnit::Second(SecondDigits::MICROS)),
        ColumnType::Interval(IntervalUnit::Month),
        ColumnType::Inet,
        ColumnType::Any,
        ColumnType::Array(Box::new(ColumnType::Int4), 23),
    ])
}

proptest! {
    #[test]
    fn every_64_bit_integer_stays_exact(number: i64, quoted: bool) {
        let json = if quoted { format!("\"{number}\"") } else { number.to_string() };
        prop_assert_eq!(cell(&json, &ColumnType::Int8), Ok(format!("Int({number})")));
        prop_assert_eq!(cell(&number.to_string(), &ColumnType::Any), Ok(format!("Int({number})")));
    }

    #[test]
    fn an_integer_in_a_float_column_is_exact_or_refused(number: i64, shift in 0u32..64) {
        let number = number >> shift;
        for (column_type, kept) in [(ColumnType::Float8, number as f64), (ColumnType::Float4, f64::from(number as f32))] {
            let expected = (kept as i128 == i128::from(number)).then(|| format!("{:?}", Cell::Float(kept)));
            prop_assert_eq!(cell(&number.to_string(), &column_type).ok(), expected);
        }
    }

    #[test]
    fn a_time_loses_less_than_its_columns_resolution_and_is_never_later(
        micros in -62_000_000_000_000_000i64..253_000_000_000_000_000, digits in 0u8..=6, nanos in 0..1_000i128,
    ) {
        let digits = SecondDigits::new(digits);
        let counted = (i128::from(micros) * 1_000 + nanos).to_string();
        let instant = jiff::Timestamp::from_nanosecond(i128::from(micros) * 1_000 + nanos).unwrap();
        let written = format!("\"{instant}\"");
        for column in [ColumnType::Timestamptz(digits), ColumnType::Timestamp(digits)] {
            let kept = cell_with(&counted, &column, &timed(TimeFormat::Nanos)).unwrap();
            prop_assert_eq!(&cell(&written, &column).unwrap(), &kept, "written and counted alike");
            let kept: i64 = kept.trim_start_matches("Timestamp(").trim_end_matches(')').parse().unwrap();
            prop_assert!((0..digits.step_micros()).contains(&(micros - kept)) && kept % digits.step_micros() == 0);
        }
    }

    #[test]
    fn a_single_changes_digits_before_the_point_of_no_number(whole in -99_999_999_999i64..99_999_999_999, part in 0..1000) {
        if let Ok(kept) = cell(&format!("{whole}.{part:03}"), &ColumnType::Float4) {
            let kept: f64 = kept.trim_start_matches("Float(").trim_end_matches(')').parse().unwrap();
            let distance = (kept - whole as f64).abs();
            prop_assert!(distance <= 1.0, "{} became {}", whole, kept);
        }
    }

    #[test]
    fn an_r_trees_bounds_contain_the_number(number in -1e30f64..1e30) {
        let json = serde_json::to_string(&number).unwrap();
        let bound = |column: &ColumnType| {
            cell(&json, column).unwrap().trim_start_matches("Float(").trim_end_matches(')').parse::<f64>().unwrap()
        };
        let (lower, upper) = (bound(&ColumnType::LowerBound), bound(&ColumnType::UpperBound));
        prop_assert!(lower <= number && number <= upper);
        prop_assert!((lower as f32).next_up() >= upper as f32, "{} to {}", lower, upper);
    }

    #[test]
    fn every_double_comes_back(number in prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO) {
        let json = serde_json::to_string(&number).unwrap();
        prop_assert_eq!(cell(&json, &ColumnType::Float8), Ok(format!("{:?}", Cell::Float(number))));
    }

    #[test]
    fn arbitrary_strings_and_numbers_never_panic(
        text in "\\PC{0,12}|[-+0-9.eE:T/ PYMWDHSZ]{0,24}", column_type in any_type(), raw: bool,
        format in prop::sample::select(vec![None, Some("s"), Some("ns"), Some("rfc3339"), Some("%d.%m.%Y %H:%M")]),
    ) {
        let format = format.map(|format| TimeFormat::parse(format).unwrap());
        let demands = Demands { clockface: Clockface { format, zone: TimeZone::UTC }, text_takes_nul: false };
        let quoted = serde_json::to_string(&text).unwrap();
        let value = if raw { Value::Text(&text) } else { Value::JsonString(&quoted) };
        if let Ok(shown) = value_with(value, &column_type, &demands) {
            prop_assert!(!shown.is_empty());
        }
        if serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok_and(|raw| raw.get() == text)
            && let Some(value) = Value::from_json(&text)
            && let Err(why) = value_with(value, &column_type, &demands)
        {
            prop_assert!(!why.is_empty());
        }
    }
}
