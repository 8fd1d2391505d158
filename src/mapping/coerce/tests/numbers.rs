//! Numbers into numeric columns: they stay exact, or they are refused with a remedy.

use super::*;

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
    let why = |number: &str, limits| cell(number, &ColumnType::Numeric(Some(limits))).unwrap_err();
    assert_eq!(
        why("12345", (3, -2)),
        "a number that is no multiple of 10^2, which the column's scale of -2 asks for; it would be rounded: give the column a \
         larger scale, or make it plain numeric"
    );
    assert!(why("1.5", (3, 0)).starts_with("a number with more digits after the point"));
    assert_eq!(why("0.012", (2, 4)), "a number that is too large for the column, which takes numbers below 10^-2");
    assert_eq!(why("1", (2, 2)), "a number with more digits before the point than the column has");
    check(
        &ColumnType::Numeric(None),
        &[("1e131072", None), ("1e-16384", None), ("1e131071", Some("Decimal(\"1e131071\")"))],
    );
    assert_eq!(value_with(Value::Int(-7), &ColumnType::Numeric(Some((1, 0))), &demands()).unwrap(), "Decimal(\"-7\")");
}
