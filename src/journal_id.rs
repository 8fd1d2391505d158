//! The journal's identity: numbers of two journals are never compared.

use std::fmt;
use std::str::FromStr;

/// 16 random bytes, written as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(test, derive(PartialOrd, Ord))]
pub struct JournalId(pub [u8; 16]);

impl fmt::Display for JournalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for JournalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JournalId({self})")
    }
}

/// Not 32 hexadecimal digits.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a journal id is 32 hexadecimal digits")]
pub struct JournalIdError;

impl FromStr for JournalId {
    type Err = JournalIdError;

    fn from_str(text: &str) -> Result<JournalId, JournalIdError> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(JournalIdError);
        }
        u128::from_str_radix(text, 16).map(|number| JournalId(number.to_be_bytes())).map_err(|_| JournalIdError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        let id = JournalId(*b"\x00\x01rowbridge-test");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("xyz".parse::<JournalId>(), Err(JournalIdError));
    }
}
