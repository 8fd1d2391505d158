//! Times, dates and intervals into their columns. Digits that a column cannot keep are cut off if its type says so;
//! otherwise the value is refused.

use super::*;

#[test]
fn times_in_integer_columns_are_epoch_milliseconds() {
    assert_eq!(value_with(Value::Instant(1_500_999), &ColumnType::Int8, &demands()).unwrap(), "Int(1500)");
    let seconds = timed(TimeFormat::Seconds);
    assert_eq!(cell_with("1700000000", &ColumnType::Int8, &seconds).unwrap(), "Int(1700000000000)");
    assert!(cell_with("1700000000", &ColumnType::Int4, &seconds).is_err());
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
