//! Properties of every value and every column type. Proptest searches for a counterexample.

use proptest::prelude::*;

use super::*;

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
