//! MessagePack's tokens. A timestamp (extension -1) is its RFC 3339 text; other extensions are their bytes.

use super::epoch;
use super::tokens::{Broken, Bytes, Count, Token, Tokens};

pub(super) struct Msgpack<'p> {
    bytes: Bytes<'p>,
    /// The text of a timestamp.
    time: String,
}

impl<'p> Msgpack<'p> {
    pub(super) fn new(payload: &'p [u8]) -> Msgpack<'p> {
        Msgpack { bytes: Bytes::new(payload), time: String::new() }
    }

    fn u8(&mut self) -> Result<u64, Broken> {
        self.bytes.array().map(u8::from_be_bytes).map(u64::from)
    }

    fn u16(&mut self) -> Result<u64, Broken> {
        self.bytes.array().map(u16::from_be_bytes).map(u64::from)
    }

    fn u32(&mut self) -> Result<u64, Broken> {
        self.bytes.array().map(u32::from_be_bytes).map(u64::from)
    }

    fn u64(&mut self) -> Result<u64, Broken> {
        self.bytes.array().map(u64::from_be_bytes)
    }

    fn text(&mut self, length: u64) -> Result<Token<'_>, Broken> {
        self.bytes.text(length).map(Token::Text)
    }

    fn binary(&mut self, length: u64) -> Result<Token<'_>, Broken> {
        self.bytes.take(length).map(Token::Bytes)
    }

    fn extension(&mut self, length: u64) -> Result<Token<'_>, Broken> {
        let kind = self.u8()?;
        let data = self.bytes.take(length)?;
        if kind != 0xff {
            return Ok(Token::Bytes(data));
        }
        let moment = match *data {
            [a, b, c, d] => Some((u32::from_be_bytes([a, b, c, d]).into(), 0)),
            [a, b, c, d, e, f, g, h] => {
                let both = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
                Some(((both & 0x3_ffff_ffff) as i64, (both >> 34) as u32))
            }
            [a, b, c, d, ref seconds @ ..] => {
                let nanoseconds = u32::from_be_bytes([a, b, c, d]);
                seconds.try_into().ok().map(|seconds| (i64::from_be_bytes(seconds), nanoseconds))
            }
            _ => None,
        };
        let text = moment.and_then(|(seconds, nanoseconds)| {
            let nanoseconds = (nanoseconds < 1_000_000_000).then_some(nanoseconds)?;
            epoch::rfc3339(i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds))
        });
        self.time = text.ok_or_else(|| self.bytes.broken("a timestamp outside the years 0 to 9999"))?;
        Ok(Token::Text(&self.time))
    }
}

/// An integer with a sign.
fn signed(number: i64) -> Token<'static> {
    match u64::try_from(number) {
        Ok(number) => Token::Unsigned(number),
        Err(_) => Token::Negative(!number as u64),
    }
}

impl Tokens for Msgpack<'_> {
    const NAME: &'static str = "MessagePack";

    #[inline]
    fn next(&mut self) -> Result<Token<'_>, Broken> {
        let [head] = self.bytes.array()?;
        Ok(match head {
            0x00..=0x7f => Token::Unsigned(head.into()),
            0x80..=0x8f => Token::Map(Count(Some((head & 0x0f).into()))),
            0x90..=0x9f => Token::Array(Count(Some((head & 0x0f).into()))),
            0xa0..=0xbf => return self.text((head & 0x1f).into()),
            0xc0 => Token::Null,
            0xc1 => {
                self.bytes.at -= 1;
                return Err(self.bytes.broken("a byte that begins no value"));
            }
            0xc2 => Token::Bool(false),
            0xc3 => Token::Bool(true),
            0xc4 => self.u8().and_then(|length| self.binary(length))?,
            0xc5 => self.u16().and_then(|length| self.binary(length))?,
            0xc6 => self.u32().and_then(|length| self.binary(length))?,
            0xc7 => self.u8().and_then(|length| self.extension(length))?,
            0xc8 => self.u16().and_then(|length| self.extension(length))?,
            0xc9 => self.u32().and_then(|length| self.extension(length))?,
            0xca => Token::Single(f32::from_be_bytes(self.bytes.array()?)),
            0xcb => Token::Double(f64::from_be_bytes(self.bytes.array()?)),
            0xcc => Token::Unsigned(self.u8()?),
            0xcd => Token::Unsigned(self.u16()?),
            0xce => Token::Unsigned(self.u32()?),
            0xcf => Token::Unsigned(self.u64()?),
            0xd0 => signed(i8::from_be_bytes(self.bytes.array()?).into()),
            0xd1 => signed(i16::from_be_bytes(self.bytes.array()?).into()),
            0xd2 => signed(i32::from_be_bytes(self.bytes.array()?).into()),
            0xd3 => signed(i64::from_be_bytes(self.bytes.array()?)),
            0xd4 => self.extension(1)?,
            0xd5 => self.extension(2)?,
            0xd6 => self.extension(4)?,
            0xd7 => self.extension(8)?,
            0xd8 => self.extension(16)?,
            0xd9 => self.u8().and_then(|length| self.text(length))?,
            0xda => self.u16().and_then(|length| self.text(length))?,
            0xdb => self.u32().and_then(|length| self.text(length))?,
            0xdc => Token::Array(Count(Some(self.u16()?))),
            0xdd => Token::Array(Count(Some(self.u32()?))),
            0xde => Token::Map(Count(Some(self.u16()?))),
            0xdf => Token::Map(Count(Some(self.u32()?))),
            0xe0..=0xff => signed((head as i8).into()),
        })
    }

    #[inline]
    fn take_key(&mut self, key: &str) -> bool {
        key.len() < 32 && self.bytes.take_if(0xa0 | key.len() as u8, key)
    }

    fn take_end_mark(&mut self) -> bool {
        false
    }

    fn at(&self) -> usize {
        self.bytes.at
    }

    fn is_at_end(&self) -> bool {
        self.bytes.is_at_end()
    }
}
