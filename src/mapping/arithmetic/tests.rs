use proptest::prelude::*;

use super::*;

fn exact(text: &str) -> Exact {
    Exact::parse(text).unwrap()
}

fn linear(scale: &str, shift: &str) -> Linear {
    Linear::new(exact(scale), exact(shift))
}

fn result(value: &str, scale: &str, shift: &str) -> String {
    let mut out = String::new();
    linear(scale, shift).apply(&Decimal::parse(value).unwrap(), &mut out).unwrap();
    out
}

#[test]
fn results_are_exact_and_as_short_as_they_can_be() {
    // Checked with Python's decimal at 200 digits.
    for (value, scale, shift, expected) in [
        ("523", "0.1", "-40", "12.3"),
        ("400", "0.1", "-40", "0"),
        ("0", "0.1", "-40", "-40"),
        ("-17.5", "1.8", "32", "0.5"),
        ("21.450000000000003", "1", "0", "21.450000000000003"),
        ("9223372036854775807", "0.001", "0", "9223372036854775.807"),
        ("1e3", "2", "0", "2000"),
        ("5.0", "1", "1", "6"),
        ("-0.0", "3", "0", "0"),
        ("1e30", "0.1", "0", "1e29"),
        ("12e20", "0.1", "0", "120000000000000000000"),
        ("1.25e40", "1", "0", "1.25e40"),
        ("1e-50", "1", "0", "1e-50"),
        ("1e-30", "5", "0", "0.000000000000000000000000000005"),
        ("1", "-1e-3", "0.5", "0.499"),
        (
            "1234567890123456789012345678901234567890",
            "0.001",
            "-0.0000000001",
            "1234567890123456789012345678901234567.8899999999",
        ),
        (
            "99999999999999999999999999999999999999.99",
            "99999999999999999999",
            "1",
            "9999999999999999999899999999999999999999000000000000000001.01",
        ),
        ("-100000000000000000000000000000000000000001", "1", "100000000000000000000000000000000000000001", "0"),
    ] {
        assert_eq!(result(value, scale, shift), expected, "{value} × {scale} + {shift}");
    }
}

#[test]
fn what_takes_too_many_digits_is_refused() {
    let apply = |value: &str| linear("0.1", "1").apply(&Decimal::parse(value).unwrap(), &mut String::new());
    for value in ["1".repeat(1001).as_str(), "1e1002", "1e-1000", "1e999999999999"] {
        assert!(apply(value).unwrap_err().0.contains("more digits"), "{value}");
    }
    assert!(apply(&"1".repeat(1000)).is_ok() && apply("1e999").is_ok());
}

/// A number modulo a prime, where its lowest digit stands for 10^`exponent`.
fn residue(number: &str, exponent: i64) -> u64 {
    const PRIME: u64 = 1_000_000_007;
    let (integer, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = integer.bytes().chain(fraction.bytes()).filter(u8::is_ascii_digit);
    let zeros = -(fraction.len() as i64) - exponent;
    let zeros = std::iter::repeat_n(b'0', usize::try_from(zeros).unwrap());
    let residue = digits.chain(zeros).fold(0, |residue, digit| (residue * 10 + u64::from(digit - b'0')) % PRIME);
    if number.starts_with('-') { (PRIME - residue) % PRIME } else { residue }
}

fn number(digits: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    let digits = proptest::collection::vec(0..10_u8, digits);
    (any::<bool>(), digits, 0..20_usize).prop_map(|(is_negative, digits, fraction)| {
        let mut text: String = digits.iter().map(|digit| char::from(b'0' + digit)).collect();
        let fraction = fraction.min(text.len() - 1);
        text.insert(text.len() - fraction, '.');
        format!("{}{text}", if is_negative { "-" } else { "" })
    })
}

proptest! {
    #[test]
    fn few_digits_give_what_integers_of_128_bits_give(
        value: i32, value_places in 0..6_i64, scale: i32, scale_places in 0..6_i64, shift: i32, shift_places in 0..6_i64,
    ) {
        prop_assume!(scale != 0);
        let result = result(
            &format!("{value}e-{value_places}"),
            &format!("{scale}e-{scale_places}"),
            &format!("{shift}e-{shift_places}"),
        );
        let power = |places: i64| 10_i128.pow(u32::try_from(places).unwrap());
        let product_places = value_places + scale_places;
        let sum = i128::from(value) * i128::from(scale) * power(12 - product_places)
            + i128::from(shift) * power(12 - shift_places);
        let expected = format!("{sum}e-12");
        let same = Decimal::parse(&result).unwrap().equals(&Decimal::parse(&expected).unwrap());
        prop_assert!(same, "{} is {}", result, expected);
    }

    #[test]
    fn both_ways_give_the_same(value in number(1..19), scale in number(1..19), shift in number(1..19)) {
        let linear = linear(&scale, &shift);
        let value = Decimal::parse(&value).unwrap();
        let (mut quick, mut long) = (String::new(), String::new());
        linear.apply(&value, &mut quick).unwrap();
        linear.long(&value, -value.significant_places().1, &mut long).unwrap();
        prop_assert_eq!(quick, long);
    }

    #[test]
    fn many_digits_give_the_right_remainder(value in number(1..90), scale in number(1..60), shift in number(1..60)) {
        let result = result(&value, &scale, &shift);
        prop_assume!(!result.contains('e'));
        // 10^-60 is below the last digit of each.
        let product = residue(&value, -20) * residue(&scale, -40) % 1_000_000_007;
        let expected = (product + residue(&shift, -60)) % 1_000_000_007;
        prop_assert_eq!(residue(&result, -60), expected);
    }
}
