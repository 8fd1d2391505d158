//! CBOR's tokens (RFC 8949).
//!
//! Tags: an epoch (1) is its RFC 3339 text, big integers (2, 3) and decimal fractions (4) are numbers with every digit.
//! Base-2 fractions (5) and references to earlier values (25, 29) are refused, because their content is not the value.
//! All other tags are ignored and their content is the value. `undefined` is null.

use super::epoch;
use super::tokens::{Broken, Bytes, Count, Token, Tokens};

/// Bytes of a big integer: some 2,466 digits.
const BIG_BYTES_MAX: usize = 1_024;

/// A decimal fraction of a larger exponent is written with it: nobody measures in so many places.
const PLACES_MAX: usize = 40;

/// Zeros that are written behind an integer: with more, it would look like a number of which every digit counts.
const ZEROS_MAX: usize = 15;

const UNKNOWN_LENGTH: u8 = 31;
const END_MARK: u8 = 0xff;

pub(super) struct Cbor<'p> {
    bytes: Bytes<'p>,
    /// What is not in the payload as it is: a time, a big number, a string of several pieces.
    text: String,
    pieces: Vec<u8>,
}

/// The argument of a head.
#[derive(Clone, Copy)]
struct Head {
    major: u8,
    info: u8,
}

impl<'p> Cbor<'p> {
    pub(super) fn new(payload: &'p [u8]) -> Cbor<'p> {
        Cbor { bytes: Bytes::new(payload), text: String::new(), pieces: Vec::new() }
    }

    fn head(&mut self) -> Result<Head, Broken> {
        let [byte] = self.bytes.array()?;
        Ok(Head { major: byte >> 5, info: byte & 0x1f })
    }

    fn argument(&mut self, info: u8) -> Result<u64, Broken> {
        Ok(match info {
            0..=23 => info.into(),
            24 => u8::from_be_bytes(self.bytes.array()?).into(),
            25 => u16::from_be_bytes(self.bytes.array()?).into(),
            26 => u32::from_be_bytes(self.bytes.array()?).into(),
            27 => u64::from_be_bytes(self.bytes.array()?),
            _ => return Err(self.refused("a byte that begins no value")),
        })
    }

    /// An integer of major type 0 or 1.
    fn integer(&mut self, head: Head) -> Result<i128, Broken> {
        let number = i128::from(self.argument(head.info)?);
        Ok(if head.major == 0 { number } else { -1 - number })
    }

    /// A float of major type 7, if it is one.
    fn float(&mut self, info: u8) -> Result<Option<Token<'static>>, Broken> {
        Ok(Some(match info {
            25 => Token::Single(half(u16::from_be_bytes(self.bytes.array()?))),
            26 => Token::Single(f32::from_be_bytes(self.bytes.array()?)),
            27 => Token::Double(f64::from_be_bytes(self.bytes.array()?)),
            _ => return Ok(None),
        }))
    }

    /// A fault at the byte read last.
    fn refused(&self, what: &'static str) -> Broken {
        Broken { at: self.bytes.at.saturating_sub(1), what }
    }

    fn count(&mut self, info: u8) -> Result<Count, Broken> {
        match info {
            UNKNOWN_LENGTH => Ok(Count(None)),
            _ => self.argument(info).map(|count| Count(Some(count))),
        }
    }

    /// Puts the pieces of a string of unknown length together.
    fn gather(&mut self, major: u8) -> Result<(), Broken> {
        self.pieces.clear();
        while !self.take_end_mark() {
            let head = self.head()?;
            if head.major != major || head.info == UNKNOWN_LENGTH {
                return Err(self.refused("a string in pieces, one of which is no string"));
            }
            let length = self.argument(head.info)?;
            let piece = match major {
                // Each piece of a text is text by itself.
                3 => self.bytes.text(length)?.as_bytes(),
                _ => self.bytes.take(length)?,
            };
            self.pieces.extend_from_slice(piece);
        }
        Ok(())
    }

    fn tagged(&mut self, tag: u64) -> Result<Option<()>, Broken> {
        match tag {
            1 => self.epoch()?,
            2 | 3 => {
                self.text.clear();
                self.big(tag == 3)?;
            }
            4 => self.decimal_fraction()?,
            5 => return Err(self.refused("a number base 2 (tag 5), which is not supported")),
            25 | 29 => {
                return Err(self.refused("a reference to an earlier value (tag 25 or 29), which is not supported"));
            }
            _ => return Ok(None),
        }
        Ok(Some(()))
    }

    fn epoch(&mut self) -> Result<(), Broken> {
        let head = self.head()?;
        let text = match head.major {
            0 | 1 => epoch::rfc3339(self.integer(head)? * 1_000_000_000),
            7 => match self.float(head.info)? {
                Some(Token::Single(seconds)) => epoch::from_float(seconds.into()),
                Some(Token::Double(seconds)) => epoch::from_float(seconds),
                _ => return Err(self.refused("an epoch (tag 1) that is no number")),
            },
            _ => return Err(self.refused("an epoch (tag 1) that is no number")),
        };
        self.text = text.ok_or_else(|| self.refused("an epoch (tag 1) outside the years 0 to 9999"))?;
        Ok(())
    }

    /// Appends the digits of a big integer, whose bytes follow.
    fn big(&mut self, is_negative: bool) -> Result<(), Broken> {
        const NO_BYTES: &str = "a big integer (tag 2 or 3) that is not a byte string of at most 1,024 bytes";
        let head = self.head()?;
        let bytes = match head {
            Head { major: 2, info: UNKNOWN_LENGTH } => {
                self.gather(2)?;
                &self.pieces
            }
            Head { major: 2, info } => {
                let length = self.argument(info)?;
                self.bytes.take(length)?
            }
            _ => return Err(self.refused(NO_BYTES)),
        };
        if bytes.len() > BIG_BYTES_MAX {
            return Err(self.refused(NO_BYTES));
        }
        push_big(bytes, is_negative, &mut self.text);
        Ok(())
    }

    /// `[exponent, mantissa]`, base 10.
    fn decimal_fraction(&mut self) -> Result<(), Broken> {
        const NO_FRACTION: &str = "a decimal fraction (tag 4) that is not an exponent and an integer";
        let Head { major: 4, info: 2 } = self.head()? else { return Err(self.refused(NO_FRACTION)) };
        let head = self.head()?;
        let exponent = match head.major {
            0 | 1 => self.integer(head)?,
            _ => return Err(self.refused(NO_FRACTION)),
        };
        let mantissa = self.head()?;
        self.text.clear();
        match mantissa.major {
            0 | 1 => {
                let number = self.integer(mantissa)?;
                self.text.push_str(itoa::Buffer::new().format(number));
            }
            6 => match self.argument(mantissa.info)? {
                tag @ (2 | 3) => self.big(tag == 3)?,
                _ => return Err(self.refused(NO_FRACTION)),
            },
            _ => return Err(self.refused(NO_FRACTION)),
        }
        place_point(&mut self.text, exponent);
        Ok(())
    }
}

/// Makes the digits of an integer those of the integer × 10^`exponent`: `110` and -2 are `1.10`, as a person writes it.
fn place_point(digits: &mut String, exponent: i128) {
    let places_max = if exponent > 0 { ZEROS_MAX } else { PLACES_MAX };
    let Some(places) = usize::try_from(exponent.unsigned_abs()).ok().filter(|places| *places <= places_max) else {
        digits.push('e');
        return digits.push_str(itoa::Buffer::new().format(exponent));
    };
    if exponent > 0 {
        let zeros = if digits == "0" { 0 } else { places };
        return digits.extend(std::iter::repeat_n('0', zeros));
    }
    if places > 0 {
        let first = usize::from(digits.starts_with('-'));
        let missing = (places + 1).saturating_sub(digits.len() - first);
        digits.insert_str(first, &"0".repeat(missing));
        digits.insert(digits.len() - places, '.');
    }
}

/// The decimal digits of an integer in bytes, the highest first; of -1 minus it, if it is negative.
fn push_big(bytes: &[u8], is_negative: bool, text: &mut String) {
    use std::fmt::Write as _;
    const GROUP: u64 = 1_000_000_000;
    // In groups of nine digits, the lowest first.
    let mut groups = vec![0u32];
    for byte in bytes {
        let mut carry = u64::from(*byte);
        for group in &mut groups {
            carry += u64::from(*group) << 8;
            *group = (carry % GROUP) as u32;
            carry /= GROUP;
        }
        if carry > 0 {
            groups.push(carry as u32);
        }
    }
    if is_negative {
        text.push('-');
        let mut carry = 1;
        for group in &mut groups {
            carry += u64::from(*group);
            *group = (carry % GROUP) as u32;
            carry /= GROUP;
        }
        if carry > 0 {
            groups.push(carry as u32);
        }
    }
    let mut highest_first = groups.iter().rev();
    let written = highest_first.next().map_or(Ok(()), |group| write!(text, "{group}"));
    let written = written.and_then(|()| highest_first.try_for_each(|group| write!(text, "{group:09}")));
    written.expect("a String takes everything");
}

/// A float of 16 bits: every one is a single too.
fn half(bits: u16) -> f32 {
    let (exponent, fraction) = ((bits >> 10) & 0x1f, f32::from(bits & 0x3ff));
    let size = match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (fraction + 1024.0) * 2f32.powi(i32::from(exponent) - 25),
    };
    if bits >> 15 == 1 { -size } else { size }
}

impl Tokens for Cbor<'_> {
    const NAME: &'static str = "CBOR";

    #[inline]
    fn next(&mut self) -> Result<Token<'_>, Broken> {
        loop {
            let head = self.head()?;
            return Ok(match head.major {
                0 => Token::Unsigned(self.argument(head.info)?),
                1 => Token::Negative(self.argument(head.info)?),
                2 if head.info == UNKNOWN_LENGTH => {
                    self.gather(2)?;
                    Token::Bytes(&self.pieces)
                }
                2 => {
                    let length = self.argument(head.info)?;
                    Token::Bytes(self.bytes.take(length)?)
                }
                3 if head.info == UNKNOWN_LENGTH => {
                    self.gather(3)?;
                    Token::Text(std::str::from_utf8(&self.pieces).expect("pieces of text are text together"))
                }
                3 => {
                    let length = self.argument(head.info)?;
                    Token::Text(self.bytes.text(length)?)
                }
                4 => Token::Array(self.count(head.info)?),
                5 => Token::Map(self.count(head.info)?),
                6 => {
                    let tag = self.argument(head.info)?;
                    match self.tagged(tag)? {
                        Some(()) if tag == 1 => Token::Text(&self.text),
                        Some(()) => Token::Number(&self.text),
                        None => continue,
                    }
                }
                _ => match head.info {
                    20 => Token::Bool(false),
                    21 => Token::Bool(true),
                    22 | 23 => Token::Null,
                    25..=27 => match self.float(head.info)? {
                        Some(float) => float,
                        None => unreachable!("these are the floats"),
                    },
                    UNKNOWN_LENGTH => return Err(self.refused("an end where a value is expected")),
                    _ => return Err(self.refused("a simple value other than true, false, null and undefined")),
                },
            });
        }
    }

    #[inline]
    fn take_key(&mut self, key: &str) -> bool {
        key.len() < 24 && self.bytes.take_if(0x60 | key.len() as u8, key)
    }

    fn take_end_mark(&mut self) -> bool {
        let is_here = self.bytes.peek() == Some(END_MARK);
        self.bytes.at += usize::from(is_here);
        is_here
    }

    fn at(&self) -> usize {
        self.bytes.at
    }

    fn is_at_end(&self) -> bool {
        self.bytes.is_at_end()
    }
}
