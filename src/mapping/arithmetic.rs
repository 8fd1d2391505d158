//! Value × scale + shift, exactly: on integers of 128 bits where they hold it, else digit by digit.

use super::decimal::Decimal;
use super::value::Misfit;
use crate::rule::Exact;

/// Digits that are worked on. Weighed against the time that a hostile number takes: a hundred thousand steps at most.
const DIGITS_MAX: i64 = 1_000;
/// A product of two numbers with so many digits, and a sum with it, mostly fits 128 bits.
const SMALL_DIGITS_MAX: usize = 18;
/// Longer integers that end in zeros are written with an exponent, as the numbers of JavaScript are.
const PLAIN_INTEGER_DIGITS_MAX: i64 = 21;
/// Zeros between the point and the first digit; beyond, likewise.
const PLAIN_ZEROS_MAX: i64 = 40;

const TOO_LONG: &str = "a number with more digits than `scale` and `shift` work on (1000)";

/// `scale` and `shift` of a column.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Linear {
    scale: Exact,
    shift: Exact,
    /// The digits of both as integers, if they are few.
    small: Option<(i128, i128)>,
}

impl Linear {
    pub(super) fn new(scale: Exact, shift: Exact) -> Linear {
        let small = |exact: &Exact| match exact.digits() {
            "" => Some(0),
            digits if digits.len() > SMALL_DIGITS_MAX => None,
            digits => digits.parse::<i128>().ok().map(|number| if exact.is_negative() { -number } else { number }),
        };
        let small = small(&scale).zip(small(&shift));
        Linear { scale, shift, small }
    }

    /// Appends the result, as JSON writes numbers.
    pub(super) fn apply(&self, value: &Decimal<'_>, out: &mut String) -> Result<(), Misfit> {
        let (integer_digits, fraction_digits) = value.significant_places();
        let count = integer_digits + fraction_digits;
        if count > DIGITS_MAX {
            return Err(TOO_LONG.into());
        }
        let digits: &mut dyn Iterator<Item = u8> = &mut value.significant_digits();
        if count as usize <= SMALL_DIGITS_MAX {
            let magnitude = digits.fold(0, |number: i128, digit| number * 10 + i128::from(digit));
            let number = if value.is_negative() { -magnitude } else { magnitude };
            if let Some((result, exponent)) = self.small(number, -fraction_digits) {
                let mut buffer = itoa::Buffer::new();
                write(result < 0, buffer.format(result.unsigned_abs()), exponent, out);
                return Ok(());
            }
        }
        self.long(value, -fraction_digits, out)
    }

    fn small(&self, number: i128, exponent: i64) -> Option<(i128, i64)> {
        let (scale, shift) = self.small?;
        let product = number.checked_mul(scale)?;
        let (product_exponent, shift_exponent) = (exponent + i64::from(self.scale.exponent()), self.shift_exponent());
        if shift == 0 {
            return Some((product, product_exponent));
        }
        if product == 0 {
            return Some((shift, shift_exponent));
        }
        let exponent = product_exponent.min(shift_exponent);
        let aligned = |number: i128, from: i64| {
            let power = 10_i128.checked_pow(u32::try_from(from - exponent).ok()?)?;
            number.checked_mul(power)
        };
        let sum = aligned(product, product_exponent)?.checked_add(aligned(shift, shift_exponent)?)?;
        Some((sum, exponent))
    }

    fn long(&self, value: &Decimal<'_>, exponent: i64, out: &mut String) -> Result<(), Misfit> {
        let digits: Vec<u8> = value.significant_digits().collect();
        let product = multiply(&reversed(digits.into_iter()), &digits_of(&self.scale));
        let is_negative = value.is_negative() != self.scale.is_negative();
        let (product_exponent, shift_exponent) = (exponent + i64::from(self.scale.exponent()), self.shift_exponent());
        if self.shift.is_zero() || product.is_empty() {
            let (is_negative, digits, exponent) = match product.is_empty() {
                true => (self.shift.is_negative(), digits_of(&self.shift), shift_exponent),
                false => (is_negative, product, product_exponent),
            };
            write(is_negative, &shown(&digits), exponent, out);
            return Ok(());
        }
        let exponent = product_exponent.min(shift_exponent);
        let aligned = |digits: Vec<u8>, from: i64| -> Result<Vec<u8>, Misfit> {
            let zeros = from - exponent;
            if zeros > DIGITS_MAX {
                return Err(TOO_LONG.into());
            }
            Ok(std::iter::repeat_n(0, zeros as usize).chain(digits).collect())
        };
        let product = aligned(product, product_exponent)?;
        let shift = aligned(digits_of(&self.shift), shift_exponent)?;
        let (is_negative, sum) = match is_negative == self.shift.is_negative() {
            true => (is_negative, add(&product, &shift)),
            false if is_less(&product, &shift) => (self.shift.is_negative(), subtract(&shift, &product)),
            false => (is_negative, subtract(&product, &shift)),
        };
        write(is_negative, &shown(&sum), exponent, out);
        Ok(())
    }

    fn shift_exponent(&self) -> i64 {
        self.shift.exponent().into()
    }
}

/// Digits with the last one first.
fn reversed(digits: impl DoubleEndedIterator<Item = u8>) -> Vec<u8> {
    digits.rev().collect()
}

fn digits_of(exact: &Exact) -> Vec<u8> {
    reversed(exact.digits().bytes().map(|digit| digit - b'0'))
}

fn shown(digits: &[u8]) -> String {
    digits.iter().rev().map(|digit| char::from(b'0' + digit)).collect()
}

fn multiply(left: &[u8], right: &[u8]) -> Vec<u8> {
    if left.is_empty() || right.is_empty() {
        return Vec::new();
    }
    let mut product = vec![0_u32; left.len() + right.len()];
    for (at, digit) in left.iter().enumerate() {
        for (behind, other) in right.iter().enumerate() {
            product[at + behind] += u32::from(*digit) * u32::from(*other);
        }
    }
    let mut carry = 0;
    product
        .into_iter()
        .map(|sum| {
            carry += sum;
            let digit = (carry % 10) as u8;
            carry /= 10;
            digit
        })
        .collect()
}

fn add(left: &[u8], right: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    (0..left.len().max(right.len()) + 1)
        .map(|at| {
            let sum = digit(left, at) + digit(right, at) + carry;
            carry = sum / 10;
            sum % 10
        })
        .collect()
}

/// `right` is not the larger one.
fn subtract(left: &[u8], right: &[u8]) -> Vec<u8> {
    let mut borrowed = 0;
    (0..left.len())
        .map(|at| {
            let taken = digit(right, at) + borrowed;
            borrowed = u8::from(digit(left, at) < taken);
            digit(left, at) + 10 * borrowed - taken
        })
        .collect()
}

fn is_less(left: &[u8], right: &[u8]) -> bool {
    let places = (0..left.len().max(right.len())).rev();
    let unequal = places.map(|at| (digit(left, at), digit(right, at))).find(|(left, right)| left != right);
    unequal.is_some_and(|(left, right)| left < right)
}

fn digit(digits: &[u8], at: usize) -> u8 {
    digits.get(at).copied().unwrap_or(0)
}

/// Appends `digits` × 10^`exponent`: plain, if that takes few zeros.
fn write(is_negative: bool, digits: &str, exponent: i64, out: &mut String) {
    let kept = digits.trim_end_matches('0');
    let exponent = exponent + (digits.len() - kept.len()) as i64;
    let digits = kept.trim_start_matches('0');
    if digits.is_empty() {
        return out.push('0');
    }
    if is_negative {
        out.push('-');
    }
    let point = digits.len() as i64 + exponent;
    let zeros = |count: i64| std::iter::repeat_n('0', count as usize);
    if exponent >= 0 && (exponent == 0 || point <= PLAIN_INTEGER_DIGITS_MAX) {
        out.push_str(digits);
        out.extend(zeros(exponent));
    } else if exponent < 0 && point > 0 {
        let (integer, fraction) = digits.split_at(point as usize);
        out.extend([integer, ".", fraction]);
    } else if exponent < 0 && -point <= PLAIN_ZEROS_MAX {
        out.push_str("0.");
        out.extend(zeros(-point));
        out.push_str(digits);
    } else {
        let (first, others) = digits.split_at(1);
        out.push_str(first);
        if !others.is_empty() {
            out.extend([".", others]);
        }
        out.push('e');
        out.push_str(itoa::Buffer::new().format(point - 1));
    }
}

#[cfg(test)]
mod tests;
