//! Whether bytes are exactly one MessagePack map or array.

/// Deeper than any device nests.
const DEPTH_MAX: usize = 32;

pub(super) fn is_document(bytes: &[u8]) -> bool {
    let is_collection = matches!(bytes.first(), Some(0x80..=0x9f | 0xdc..=0xdf));
    is_collection && bytes.len() > 1 && skip(bytes, DEPTH_MAX).is_some_and(<[u8]>::is_empty)
}

/// The bytes after the first value.
fn skip(bytes: &[u8], depth: usize) -> Option<&[u8]> {
    let depth = depth.checked_sub(1)?;
    let (&first, rest) = bytes.split_first()?;
    let length = |rest: &[u8], width: usize| {
        let (digits, rest) = rest.split_at_checked(width)?;
        Some((digits.iter().fold(0_usize, |length, digit| length << 8 | usize::from(*digit)), rest.len()))
    };
    let behind = |width: usize| rest.get(width..);
    let sized = |width: usize, more: usize| {
        let (length, _) = length(rest, width)?;
        rest.get(width.checked_add(length)?.checked_add(more)?..)
    };
    let values = |count: usize, rest: &'_ [u8]| -> Option<usize> {
        let mut rest = rest;
        for _ in 0..count {
            rest = skip(rest, depth)?;
        }
        Some(rest.len())
    };
    let counted = |width: usize, each: usize| {
        let (count, _) = length(rest, width)?;
        let inside = rest.get(width..)?;
        // A value takes a byte at least: a false count ends soon.
        let left = values(count.checked_mul(each)?, inside)?;
        rest.get(rest.len() - left..)
    };
    match first {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => Some(rest),
        0x80..=0x8f => values(usize::from(first & 0x0f) * 2, rest).and_then(|left| rest.get(rest.len() - left..)),
        0x90..=0x9f => values(usize::from(first & 0x0f), rest).and_then(|left| rest.get(rest.len() - left..)),
        0xa0..=0xbf => behind(usize::from(first & 0x1f)),
        0xc1 => None,
        0xc4 | 0xd9 => sized(1, 0),
        0xc5 | 0xda => sized(2, 0),
        0xc6 | 0xdb => sized(4, 0),
        0xc7 => sized(1, 1),
        0xc8 => sized(2, 1),
        0xc9 => sized(4, 1),
        0xcc | 0xd0 => behind(1),
        0xcd | 0xd1 | 0xd4 => behind(2),
        0xd5 => behind(3),
        0xca | 0xce | 0xd2 => behind(4),
        0xd6 => behind(5),
        0xcb | 0xcf | 0xd3 => behind(8),
        0xd7 => behind(9),
        0xd8 => behind(17),
        0xdc => counted(2, 1),
        0xdd => counted(4, 1),
        0xde => counted(2, 2),
        0xdf => counted(4, 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_or_array_is_one_only_as_a_whole() {
        // {"t": 21.5, "ok": true, "l": [1, nil]}
        let map = [&b"\x83\xa1t\xcb\x40\x35\x80\0\0\0\0\0\xa2ok\xc3\xa1l\x92\x01\xc0"[..]].concat();
        assert!(is_document(&map));
        assert!(!is_document(&map[..map.len() - 1]) && !is_document(&[&map[..], b"\0"].concat()));
        assert!(is_document(b"\xdc\0\x01\xd9\x01a") && !is_document(b"\x80") && !is_document(b"\x05"));
        assert!(!is_document(b"\xdf\xff\xff\xff\xff\x01") && !is_document(&[0x91; 100]));
        // A JPEG begins otherwise.
        assert!(!is_document(b"\xff\xd8\xff\0\x01"));
    }
}
