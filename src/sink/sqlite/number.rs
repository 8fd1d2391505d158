//! Decimal numbers as SQLite's NUMERIC affinity stores them: exactly, or not at all.
//!
//! A column of NUMERIC affinity turns text that looks like a number into INTEGER or REAL, and a number of more digits
//! than a double holds silently loses digits. So such text is never passed to SQLite. A number is sent as INTEGER if
//! it is whole and fits 64 bits, as REAL if the nearest double is shown as the same number by every program, and is
//! refused otherwise. Fifteen significant digits always fit.

/// A number that SQLite stores without changing it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ExactNumber {
    Integer(i64),
    Real(f64),
}

/// `±0.DIGITS × 10^exponent`, with neither leading nor trailing zeros in the digits; zero has none.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

/// Digits that survive the way through a double and back, whatever they are (C's DBL_DIG).
const DOUBLE_DIGITS: usize = 15;

/// An exponent past this is beyond any double; bounding it keeps the arithmetic below far from overflow.
const EXPONENT_MAX: i64 = 1_000_000;

/// The number, if SQLite can hold exactly what `text` says. `None` too for what is no decimal number (`NaN`).
pub(super) fn exact_number(text: &str) -> Option<ExactNumber> {
    let decimal = Decimal::parse(text)?;
    if let Some(integer) = decimal.integer() {
        return Some(ExactNumber::Integer(integer));
    }
    let real: f64 = text.trim_ascii().parse().ok()?;
    if !real.is_finite() {
        return None;
    }
    // For a double half-way between its two shortest decimal forms, programs differ in which one they show: then it
    // stands for neither.
    let is_printed = |printed: &str| Decimal::parse(printed).is_some_and(|printed| printed == decimal);
    (is_printed(ryu::Buffer::new().format_finite(real)) && is_printed(&format!("{real:e}")))
        .then_some(ExactNumber::Real(real))
}

/// As [`exact_number`], but exact also where the REAL is turned into text again, which SQLite does with
/// [`DOUBLE_DIGITS`] digits.
pub(super) fn exact_number_as_text(text: &str) -> Option<ExactNumber> {
    match exact_number(text)? {
        ExactNumber::Real(_) if Decimal::parse(text)?.digits.len() > DOUBLE_DIGITS => None,
        number => Some(number),
    }
}

/// Whether SQLite's affinities would take this text for a number.
pub(super) fn looks_numeric(text: &str) -> bool {
    Decimal::parse(text).is_some()
}

impl Decimal {
    /// Reads what SQLite takes for a number: `[spaces] [+-] digits [. digits] [e [+-] digits] [spaces]`, where either
    /// side of the point may be empty, but not both.
    fn parse(text: &str) -> Option<Decimal> {
        let text = text.trim_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let Some(first) = digits.iter().position(|&digit| digit != b'0') else {
            return Some(Decimal { negative: false, digits: Vec::new(), exponent: 0 });
        };
        let last = digits.iter().rposition(|&digit| digit != b'0').unwrap_or(first);
        Some(Decimal {
            negative,
            digits: digits[first..=last].to_vec(),
            exponent: whole.len() as i64 - first as i64 + exponent,
        })
    }

    fn integer(&self) -> Option<i64> {
        // 19 digits hold every i64.
        let places = usize::try_from(self.exponent).ok().filter(|&places| places <= 19)?;
        if self.digits.len() > places {
            return None;
        }
        let digits = self.digits.iter().copied().chain(std::iter::repeat(b'0')).take(places);
        let magnitude = digits.fold(0i128, |number, digit| number * 10 + i128::from(digit - b'0'));
        i64::try_from(if self.negative { -magnitude } else { magnitude }).ok()
    }
}

fn parse_exponent(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Too long to parse is too large to matter.
    let exponent = digits.parse().unwrap_or(EXPONENT_MAX).min(EXPONENT_MAX);
    Some(if negative { -exponent } else { exponent })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn whole_numbers_of_64_bits_are_integers_however_they_are_written() {
        for (text, number) in [
            ("0", 0),
            ("-0.000", 0),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            ("9007199254740993.0", 9_007_199_254_740_993),
            ("1.5e1", 15),
            ("1500e-2", 15),
            ("007", 7),
        ] {
            assert_eq!(exact_number(text), Some(ExactNumber::Integer(number)), "{text}");
        }
    }

    #[test]
    fn fractions_are_reals_only_if_nothing_is_lost() {
        assert_eq!(exact_number("21.5"), Some(ExactNumber::Real(21.5)));
        assert_eq!(exact_number("0.1"), Some(ExactNumber::Real(0.1)));
        assert_eq!(exact_number("-.5e-3"), Some(ExactNumber::Real(-0.0005)));
        assert_eq!(exact_number("2e19"), Some(ExactNumber::Real(2e19)));
        // The double half-way between the two is shown as either.
        assert_eq!(exact_number("1773375481354444.3"), None);
        assert_eq!(exact_number("1773375481354444.2"), None);
        assert_eq!(exact_number("900719925474059.3"), None);
        assert_eq!(exact_number("1773375481354444.25"), None);
        assert_eq!(exact_number("9223372036854775808"), None);
        assert_eq!(exact_number("18446744073709551615"), None);
        assert_eq!(exact_number("0.1000000000000000055511151231257827"), None);
        assert_eq!(exact_number("1e400"), None);
        assert_eq!(exact_number("1e-400"), None);
        assert_eq!(exact_number("1e99999999999999999999"), None);
        assert_eq!(exact_number("NaN"), None);
    }

    #[test]
    fn a_real_of_seventeen_digits_is_not_exact_as_text() {
        assert_eq!(exact_number("0.30000000000000004"), Some(ExactNumber::Real(0.30000000000000004)));
        assert_eq!(exact_number_as_text("0.30000000000000004"), None);
        assert_eq!(exact_number_as_text("12345678.9"), Some(ExactNumber::Real(12345678.9)));
    }

    #[test]
    fn only_what_sqlite_takes_for_a_number_looks_numeric() {
        for text in ["1", " 1 ", "+1", "1.", ".5", "1e5", "-1E-5", "007"] {
            assert!(looks_numeric(text), "{text:?}");
        }
        for text in ["", ".", "e5", "1e", "1e+", "0x10", "1_000", "1 2", "inf", "nan", "10.0.0.1", "--1", "１"] {
            assert!(!looks_numeric(text), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_double_and_every_integer_is_exact(real in prop::num::f64::NORMAL, integer: i64) {
            let text = format!("{real:?}");
            match exact_number(&text) {
                Some(ExactNumber::Real(kept)) => prop_assert_eq!(kept, real),
                Some(ExactNumber::Integer(kept)) => prop_assert_eq!(kept as f64, real),
                // Half-way between its two shortest forms.
                None => prop_assert_ne!(text, format!("{}", ryu::Buffer::new().format(real))),
            }
            prop_assert_eq!(exact_number(&integer.to_string()), Some(ExactNumber::Integer(integer)));
        }

        #[test]
        fn no_text_panics(text in "[-+0-9eE. nN]{0,40}|.{0,20}") {
            let _ = (exact_number(&text), exact_number_as_text(&text), looks_numeric(&text));
        }
    }
}
