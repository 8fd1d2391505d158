//! Fast parsing of doubles with the few digits that sensors send.

/// So many digits are exact in a double whatever they are, and so is ten to the power of as many.
const EXACT_DIGITS: usize = 15;
const POWERS_OF_TEN: [f64; EXACT_DIGITS + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// The double nearest to a number of at most 15 digits without exponent, as [`str::parse`] gives it; `None` for others.
/// It is never infinite, zero only if the number is, and exact if that is whole.
///
/// The digits are read as an integer and divided by a power of ten. Both are exact, so the quotient is rounded once, to
/// the nearest double (W. D. Clinger, "How to read floating point numbers accurately").
pub(super) fn double_of_few_digits(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    if unsigned.len() > EXACT_DIGITS + 1 {
        return None;
    }
    let mut integer = 0u64;
    let mut point = None;
    for (at, byte) in unsigned.bytes().enumerate() {
        match byte {
            b'0'..=b'9' => integer = integer * 10 + u64::from(byte - b'0'),
            b'.' if point.is_none() => point = Some(at),
            _ => return None,
        }
    }
    let digits = unsigned.len() - usize::from(point.is_some());
    if !(1..=EXACT_DIGITS).contains(&digits) {
        return None;
    }
    let fraction_digits = point.map_or(0, |at| digits - at);
    let number = integer as f64 / POWERS_OF_TEN[fraction_digits];
    Some(if unsigned.len() < text.len() { -number } else { number })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_number_or_has_many_digits_is_left_to_others() {
        for text in ["", "-", ".", "-.", "--1", "+1", "1.2.3", "1e3", " 1", "1_0", "\u{661}", "1234567890123456"] {
            assert_eq!(double_of_few_digits(text), None, "{text}");
        }
    }

    #[test]
    fn what_sensors_send_is_the_nearest_double() {
        for text in ["0", "-0", "21.53", "-40", "1013.25", "0.000001", "999999999999999", "5.", ".5", "-0.00"] {
            let bits = double_of_few_digits(text).map(f64::to_bits);
            assert_eq!(bits, Some(text.parse::<f64>().unwrap().to_bits()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_is_what_the_standard_library_says(text in "-?[0-9]{0,9}\\.?[0-9]{0,8}|[-+.0-9eE]{0,20}|.{0,4}") {
            if let Some(number) = double_of_few_digits(&text) {
                prop_assert_eq!(text.parse::<f64>().map(f64::to_bits), Ok(number.to_bits()), "{}", text);
            }
        }
    }
}
