//! A strict cursor over the bytes of one MQTT packet.
//!
//! Every read is bounded by the packet; nothing is allocated; hostile bytes give [`Malformed`], never a panic.

use thiserror::Error;

/// The broker sent bytes that are not MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the broker sent a malformed packet: {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Reads from the front of a packet's body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What has not been read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        let (&first, rest) = self.rest.split_first().ok_or(Malformed("it ends within a byte field"))?;
        self.rest = rest;
        Ok(first)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(Malformed("it ends within a two-byte field"))?;
        self.rest = rest;
        Ok(u16::from_be_bytes(*head))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(Malformed("it ends within a four-byte field"))?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*head))
    }

    /// A variable byte integer, at most four bytes.
    pub(crate) fn varint(&mut self) -> Result<u32, Malformed> {
        match varint(self.rest)? {
            Some((value, len)) => {
                self.rest = &self.rest[len..];
                Ok(value)
            }
            None => Err(Malformed("it ends within a length")),
        }
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Malformed("a length points past its end"))?;
        self.rest = rest;
        Ok(head)
    }

    /// Two bytes of length and as many bytes: a string or binary data.
    pub(crate) fn field(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// An MQTT 5 property section: its length and as many bytes.
    pub(crate) fn section(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.varint()?;
        self.take(len as usize)
    }
}

/// Reads a variable byte integer at the front of `bytes`: its value and length, or `None` if more bytes are needed.
pub(crate) fn varint(bytes: &[u8]) -> Result<Option<(u32, usize)>, Malformed> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() >= 4 { Err(Malformed("a length takes more than four bytes")) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_byte_integer_is_read_at_its_borders() {
        for (bytes, value) in [
            (&[0x00][..], 0),
            (&[0x7F], 127),
            (&[0x80, 0x01], 128),
            (&[0xFF, 0x7F], 16_383),
            (&[0xFF, 0xFF, 0xFF, 0x7F], 268_435_455),
        ] {
            assert_eq!(varint(bytes), Ok(Some((value, bytes.len()))));
        }
        assert_eq!(varint(&[0x80, 0x80]), Ok(None));
        assert!(varint(&[0x80, 0x80, 0x80, 0x80]).is_err());
    }

    #[test]
    fn a_field_never_reaches_past_the_packet() {
        assert!(Cursor::new(&[0, 3, b'a', b'b']).field().is_err());
        assert_eq!(Cursor::new(&[0, 2, b'a', b'b', b'c']).field(), Ok(&b"ab"[..]));
    }
}
