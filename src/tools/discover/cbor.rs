//! Whether bytes are exactly one CBOR map.

/// Deeper than any device nests.
const DEPTH_MAX: usize = 32;

/// Says that what follows is CBOR (RFC 8949, 3.4.6).
const MAGIC: &[u8] = b"\xd9\xd9\xf7";

const BREAK: u8 = 0xff;

pub(super) fn is_document(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(MAGIC).unwrap_or(bytes);
    let is_map = matches!(bytes.first(), Some(0xa1..=0xbb | 0xbf));
    is_map && skip(bytes, DEPTH_MAX).is_some_and(<[u8]>::is_empty)
}

/// The bytes after the first value.
fn skip(bytes: &[u8], depth: usize) -> Option<&[u8]> {
    let depth = depth.checked_sub(1)?;
    let (&first, rest) = bytes.split_first()?;
    let (major, short) = (first >> 5, first & 0x1f);
    let (number, mut rest) = match short {
        0..=23 => (u64::from(short), rest),
        24..=27 => {
            let (digits, rest) = rest.split_at_checked(1 << (short - 24))?;
            (digits.iter().fold(0, |number, digit| number << 8 | u64::from(*digit)), rest)
        }
        // Without a length: values up to a break.
        31 if (2..=5).contains(&major) => {
            let mut rest = rest;
            while *rest.first()? != BREAK {
                rest = skip(rest, depth)?;
            }
            return rest.get(1..);
        }
        _ => return None,
    };
    match major {
        0 | 1 | 7 => Some(rest),
        2 | 3 => rest.get(usize::try_from(number).ok()?..),
        6 => skip(rest, depth),
        _ => {
            // A value takes a byte at least: a false count ends soon.
            for _ in 0..number.checked_mul(if major == 5 { 2 } else { 1 })? {
                rest = skip(rest, depth)?;
            }
            Some(rest)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_one_only_as_a_whole() {
        // {"t": 21.5, "l": [1, null], "b": h'ff'}
        let map = b"\xa3\x61t\xf9\x4d\x60\x61l\x82\x01\xf6\x61b\x41\xff";
        assert!(is_document(map) && is_document(&[MAGIC, map].concat()));
        assert!(!is_document(&map[..map.len() - 1]) && !is_document(&[&map[..], b"\0"].concat()));
        assert!(is_document(b"\xbf\x61a\x9f\x01\xff\xff") && !is_document(b"\xbf\x61a\x01"));
        assert!(!is_document(b"\xa0") && !is_document(b"\x82\x01\x02") && !is_document(b""));
        assert!(!is_document(b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff\x01"));
        let deep = [&b"\xa1\x00"[..], &[0x81; 100], b"\x00"].concat();
        assert!(!is_document(&deep));
    }
}
