//! Decimal numbers of the configuration, kept exactly: `scale: 0.1`, `shift: -40`.

use std::fmt;

/// Digits of such a number, zeros between its digits and the point included. Weighed against the work that each value takes
/// with it; conversions of units have ten at most.
const DIGITS_MAX: usize = 100;

/// A decimal number: `digits` × 10^`exponent`, negative or not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Exact {
    negative: bool,
    /// Without zeros at either end; empty for zero.
    digits: Box<str>,
    exponent: i32,
}

impl Exact {
    /// What [`Exact::parse`] accepts, for messages.
    pub const FORMS: &'static str = "a decimal number of at most 100 digits, such as 0.1, -40 or 1e-3";

    pub fn zero() -> Exact {
        Exact { negative: false, digits: "".into(), exponent: 0 }
    }

    pub fn one() -> Exact {
        Exact { negative: false, digits: "1".into(), exponent: 0 }
    }

    /// Reads `[+-] digits [. digits] [e [+-] digits]`.
    pub fn parse(text: &str) -> Option<Exact> {
        let text = text.trim();
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i16>().ok()?),
            None => (unsigned, 0),
        };
        let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let written = format!("{integer}{fraction}");
        if written.is_empty() || written.len() > DIGITS_MAX || !written.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let digits = written.trim_end_matches('0');
        let trailing_zeros = written.len() - digits.len();
        let digits = digits.trim_start_matches('0');
        if digits.is_empty() {
            return Some(Exact::zero());
        }
        // Both lengths are bounded by DIGITS_MAX.
        let exponent = i32::from(exponent) - fraction.len() as i32 + trailing_zeros as i32;
        let fits = exponent.unsigned_abs() as usize + digits.len() <= DIGITS_MAX;
        fits.then(|| Exact { negative, digits: digits.into(), exponent })
    }

    pub fn is_zero(&self) -> bool {
        self.digits.is_empty()
    }

    pub fn is_negative(&self) -> bool {
        self.negative
    }

    /// The significant digits; empty for zero.
    pub fn digits(&self) -> &str {
        &self.digits
    }

    /// The power of ten that the digits, as an integer, are multiplied with.
    pub fn exponent(&self) -> i32 {
        self.exponent
    }
}

impl fmt::Display for Exact {
    /// As JSON writes numbers: `-125e-1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.negative { "-" } else { "" };
        match (self.is_zero(), self.exponent) {
            (true, _) => f.write_str("0"),
            (false, 0) => write!(f, "{sign}{}", self.digits),
            (false, exponent) => write!(f, "{sign}{}e{exponent}", self.digits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_kept_without_what_says_nothing() {
        for (text, shown) in [
            ("0.1", "1e-1"),
            ("-40", "-4e1"),
            ("+0.250", "25e-2"),
            (".5", "5e-1"),
            ("5.", "5"),
            ("1e-3", "1e-3"),
            ("1200E2", "12e4"),
            ("0.000", "0"),
            ("-0", "0"),
            (" 007 ", "7"),
            ("1.8", "18e-1"),
        ] {
            assert_eq!(Exact::parse(text).map(|exact| exact.to_string()).as_deref(), Some(shown), "{text}");
        }
        assert_eq!(Exact::parse("1.0"), Some(Exact::one()));
    }

    #[test]
    fn what_is_no_number_or_too_long_is_none() {
        let long = "1".repeat(DIGITS_MAX + 1);
        for text in ["", "-", ".", "e5", "1e", "1,5", "0x10", "nan", "inf", "1 2", "--1", "1e101", "1e99999", &long] {
            assert_eq!(Exact::parse(text), None, "{text}");
        }
    }
}
