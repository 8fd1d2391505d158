//! Decimal numbers as text, processed digit by digit. No number passes through a float on its way to an exact column.

/// Exponents beyond this are cut to it: such a number is zero or out of every column's range either way.
const EXPONENT_MAX: i64 = 1_000_000_000;

/// `[+-] digits [. digits] [e [+-] digits]`, with a digit before or after the point.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decimal<'t> {
    negative: bool,
    integer: &'t str,
    fraction: &'t str,
    exponent: i64,
}

/// Why a decimal is no 64-bit integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoInteger {
    Fraction,
    OutOfRange,
}

impl<'t> Decimal<'t> {
    pub(super) fn parse(text: &'t str) -> Option<Decimal<'t>> {
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, exponent) = match rest.find(['e', 'E']) {
            Some(at) => (&rest[..at], parse_exponent(&rest[at + 1..])?),
            None => (rest, 0),
        };
        let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all_digits = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_digit());
        let valid = all_digits(integer) && all_digits(fraction) && !(integer.is_empty() && fraction.is_empty());
        valid.then_some(Decimal { negative, integer, fraction, exponent })
    }

    pub(super) fn is_negative(&self) -> bool {
        self.negative
    }

    /// The digits without zeros at either end; none for zero.
    pub(super) fn significant_digits(&self) -> impl Iterator<Item = u8> + use<'t> {
        let (integer_digits, fraction_digits) = self.significant_places();
        let count = usize::try_from(integer_digits + fraction_digits).unwrap_or(0);
        self.digits().skip_while(|digit| *digit == 0).take(count)
    }

    pub(super) fn is_zero(&self) -> bool {
        self.digits().all(|digit| digit == 0)
    }

    /// The number itself, if it is whole and fits.
    pub(super) fn to_i64(self) -> Result<i64, NoInteger> {
        let (value, exact) = self.scaled_floor(0).ok_or(NoInteger::OutOfRange)?;
        if exact { Ok(value) } else { Err(NoInteger::Fraction) }
    }

    /// The largest integer that is not above the number × 10^`shift`, and whether they are equal.
    pub(super) fn scaled_floor(self, shift: i64) -> Option<(i64, bool)> {
        let whole_digits = self.point() + shift;
        let mut magnitude: i128 = 0;
        let mut exact = true;
        for (position, digit) in (0..).zip(self.digits()) {
            if position < whole_digits {
                magnitude = magnitude * 10 + i128::from(digit);
                if magnitude > 1 << 64 {
                    return None;
                }
            } else {
                exact &= digit == 0;
            }
        }
        // Zeros between the last digit written and the point.
        let written = (self.integer.len() + self.fraction.len()) as i64;
        for _ in written..whole_digits {
            if magnitude == 0 {
                break;
            }
            magnitude *= 10;
            if magnitude > 1 << 64 {
                return None;
            }
        }
        let value = if self.negative { -magnitude - i128::from(!exact) } else { magnitude };
        i64::try_from(value).ok().map(|value| (value, exact))
    }

    /// Digits before the point and after it, without zeros that say nothing. Negative where zeros stand between the
    /// point and the digits: 0.001 has (-2, 3), 1200 has (4, -2). Zero has (0, 0).
    pub(super) fn significant_places(&self) -> (i64, i64) {
        let point = self.point();
        let first = (0..).zip(self.digits()).find(|(_, digit)| *digit != 0);
        let last = (0..).zip(self.digits()).filter(|(_, digit)| *digit != 0).last();
        match (first, last) {
            (Some((first, _)), Some((last, _))) => (point - first, last + 1 - point),
            _ => (0, 0),
        }
    }

    /// Whether both are the same number, however written.
    pub(super) fn equals(&self, other: &Decimal<'_>) -> bool {
        if self.is_zero() || other.is_zero() {
            return self.is_zero() && other.is_zero();
        }
        let (left, right) = (self.significant_places(), other.significant_places());
        let count = usize::try_from(left.0 + left.1).unwrap_or(0);
        let leading = |digit: &u8| *digit == 0;
        self.negative == other.negative
            && left == right
            && self.digits().skip_while(leading).take(count).eq(other.digits().skip_while(leading).take(count))
    }

    /// Digits after the point as it was written, zeros included.
    pub(super) fn written_fraction_digits(&self) -> i64 {
        self.fraction.len() as i64 - self.exponent
    }

    /// Appends it in its shortest form, as JSON writes numbers: `-125e-1`, `0`.
    pub(super) fn write(&self, out: &mut String) {
        if self.is_zero() {
            return out.push('0');
        }
        let (_, fraction_digits) = self.significant_places();
        if self.negative {
            out.push('-');
        }
        out.extend(self.significant_digits().map(|digit| char::from(b'0' + digit)));
        if fraction_digits != 0 {
            out.push('e');
            out.push_str(itoa::Buffer::new().format(-fraction_digits));
        }
    }

    /// How many of the written digits stand before the point, exponent included.
    fn point(&self) -> i64 {
        self.integer.len() as i64 + self.exponent
    }

    fn digits(&self) -> impl Iterator<Item = u8> + use<'t> {
        self.integer.bytes().chain(self.fraction.bytes()).map(|digit| digit - b'0')
    }
}

fn parse_exponent(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    let mut exponent: i64 = 0;
    for digit in digits.bytes() {
        if !digit.is_ascii_digit() {
            return None;
        }
        exponent = (exponent * 10 + i64::from(digit - b'0')).min(EXPONENT_MAX);
    }
    Some(if negative { -exponent } else { exponent })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Decimal<'_> {
        Decimal::parse(text).unwrap()
    }

    #[test]
    fn only_decimal_numbers_are_numbers() {
        for text in ["", "-", "+", ".", "e5", "1e", "1e+", "1.2.3", "0x10", "NaN", "inf", "1 ", "--1", "1e5.0", "١"] {
            assert!(Decimal::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn whole_numbers_are_exact_however_written() {
        for (text, value) in [
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            ("1e3", 1000),
            ("5.0", 5),
            ("+12.50e1", 125),
            (".5e1", 5),
            ("5.", 5),
            ("0e999999999999", 0),
            ("0000000000000000000000000000001", 1),
            ("92233720368547758070e-1", i64::MAX),
        ] {
            assert_eq!(number(text).to_i64(), Ok(value), "{text}");
        }
        for text in ["9223372036854775808", "-9223372036854775809", "1e19", "1e999999999999999999999"] {
            assert_eq!(number(text).to_i64(), Err(NoInteger::OutOfRange), "{text}");
        }
        for text in ["0.5", "-1.000000000000000000000000000001", "1e-999999999999999999999"] {
            assert_eq!(number(text).to_i64(), Err(NoInteger::Fraction), "{text}");
        }
    }

    #[test]
    fn scaling_rounds_down() {
        assert_eq!(number("1.0000005").scaled_floor(6), Some((1_000_000, false)));
        assert_eq!(number("-1.0000005").scaled_floor(6), Some((-1_000_001, false)));
        assert_eq!(number("1.5e9").scaled_floor(6), Some((1_500_000_000_000_000, true)));
        assert_eq!(number("1234").scaled_floor(-3), Some((1, false)));
    }

    #[test]
    fn places_count_the_digits_that_say_something() {
        for (text, places) in [
            ("0.001", (-2, 3)),
            ("1200", (4, -2)),
            ("12.50", (2, 1)),
            ("0.000", (0, 0)),
            ("1e3", (4, -3)),
            ("00123.4500e-1", (2, 3)),
        ] {
            assert_eq!(number(text).significant_places(), places, "{text}");
        }
    }

    #[test]
    fn equality_looks_through_the_notation() {
        assert!(number("1.50").equals(&number("15e-1")) && number("0").equals(&number("-0.0e5")));
        assert!(!number("1.5").equals(&number("-1.5")) && !number("1.5").equals(&number("1.51")));
        assert!(!number("0").equals(&number("1")));
    }

    proptest! {
        #[test]
        fn integers_survive_any_shift_of_the_point(value: i64, shift in 0i64..40) {
            let text = format!("{value}{}e-{shift}", "0".repeat(shift as usize));
            prop_assert_eq!(number(&text).to_i64(), Ok(value));
            let mut written = String::new();
            number(&text).write(&mut written);
            prop_assert!(number(&written).equals(&number(&value.to_string())), "{}", written);
            prop_assert!(serde_json::from_str::<f64>(&written).is_ok(), "JSON reads it: {}", written);
        }

        #[test]
        fn arbitrary_text_never_panics(text in "[-+.eE0-9]{0,30}") {
            if let Some(number) = Decimal::parse(&text) {
                let _ = (number.to_i64(), number.scaled_floor(6), number.significant_places(), number.equals(&number));
                prop_assert!(text.parse::<f64>().is_ok(), "Rust reads every decimal");
            }
        }
    }
}
