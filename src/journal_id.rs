//! The journal's identity: numbers of two journals are never compared.

use std::fmt;
use std::str::FromStr;

/// 16 random bytes, written as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(test, derive(PartialOrd, Ord))]
pub struct JournalId(pub [u8; 16]);

/// The first bytes of a volatile id. One of 2^48 others begins so by chance.
const VOLATILE: [u8; 6] = *b"memory";

impl JournalId {
    /// The same id, marked as that of a journal which ends with its process.
    pub fn volatile(mut self) -> JournalId {
        self.0[..VOLATILE.len()].copy_from_slice(&VOLATILE);
        self
    }

    /// Whether the journal ended with its process: nobody will ever ask for its offset again.
    pub fn is_volatile(&self) -> bool {
        self.0.starts_with(&VOLATILE)
    }
}

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
        assert!(!id.is_volatile());
        assert_eq!(id.volatile().to_string(), "6d656d6f727972696467652d74657374");
        assert!(id.volatile().is_volatile());
    }
}
