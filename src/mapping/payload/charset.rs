//! Decodes a payload's characters to UTF-8. A byte order mark overrides the rule's charset and is removed. Bytes that
//! are not valid in the charset are a fault; nothing is replaced.

use encoding_rs::{DecoderResult, Encoding, UTF_8};

use super::{PayloadFault, not_utf8};

/// Room beyond the bound, as the decoder stops before it is used up.
const SLACK: usize = 64;

/// The payload as text: itself, or `decoded`.
pub(super) fn text<'t>(
    payload: &'t [u8],
    charset: &'static Encoding,
    bytes_max: usize,
    decoded: &'t mut String,
) -> Result<&'t str, PayloadFault> {
    let (charset, mark_length) = mark(payload).unwrap_or((charset, 0));
    let payload = &payload[mark_length..];
    if charset == UTF_8 {
        return std::str::from_utf8(payload).map_err(|error| PayloadFault::parse(not_utf8(payload, error)));
    }
    decoded.clear();
    let mut decoder = charset.new_decoder_without_bom_handling();
    let mut total_read = 0;
    loop {
        let rest = &payload[total_read..];
        let needed = decoder.max_utf8_buffer_length_without_replacement(rest.len()).unwrap_or(bytes_max);
        decoded.reserve(needed.min(bytes_max + SLACK - decoded.len()));
        let (result, read) = decoder.decode_to_string_without_replacement(rest, decoded, true);
        total_read += read;
        match result {
            DecoderResult::InputEmpty if decoded.len() <= bytes_max => return Ok(decoded),
            DecoderResult::Malformed(length, consumed_after) => {
                let byte = total_read + mark_length + 1 - usize::from(length) - usize::from(consumed_after);
                return Err(PayloadFault::parse(format!("the payload is not {} (byte {byte})", charset.name())));
            }
            DecoderResult::OutputFull if decoded.len() <= bytes_max => {}
            _ => return Err(PayloadFault::too_large(bytes_max)),
        }
    }
}

/// A payload of UTF-8 behind its byte order mark, if it has one: itself, or `decoded` where the mark says UTF-16.
#[inline]
pub(in crate::mapping) fn unmarked<'t>(payload: &'t [u8], decoded: &'t mut String) -> Result<&'t [u8], PayloadFault> {
    match payload.first() {
        Some(0xef | 0xfe | 0xff) => behind_mark(payload, decoded),
        _ => Ok(payload),
    }
}

#[cold]
fn behind_mark<'t>(payload: &'t [u8], decoded: &'t mut String) -> Result<&'t [u8], PayloadFault> {
    match mark(payload) {
        Some((charset, length)) if charset == UTF_8 => Ok(&payload[length..]),
        // No character takes twice as many bytes in UTF-8 as in UTF-16.
        Some(_) => text(payload, UTF_8, 2 * payload.len(), decoded).map(str::as_bytes),
        None => Ok(payload),
    }
}

/// What a byte order mark says, and its length. That of UTF-32, which begins as UTF-16's does, is none that can be followed.
fn mark(payload: &[u8]) -> Option<(&'static Encoding, usize)> {
    if payload.starts_with(&[0xff, 0xfe, 0, 0]) { None } else { Encoding::for_bom(payload) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(payload: &[u8], label: &str) -> Result<String, PayloadFault> {
        let charset = Encoding::for_label(label.as_bytes()).unwrap();
        text(payload, charset, 1 << 10, &mut String::new()).map(str::to_owned)
    }

    #[test]
    fn characters_of_any_charset_become_utf8() {
        for (payload, label, expected) in [
            (&b"\xce\xc2\xb6\xc8"[..], "gbk", "温度"),
            (b"\xa8\x43\xab\xd7", "big5", "每度"),
            (b"gr\xfc\xdfe", "latin1", "grüße"),
            (b"\x80", "windows-1252", "€"),
            (b"a\0\xe9\0", "utf-16le", "aé"),
            (b"\xff\xfea\0", "utf-8", "a"),
            (b"\xfe\xff\0a", "gbk", "a"),
            (b"\xef\xbb\xbfa", "utf-16le", "a"),
            ("é".as_bytes(), "utf-8", "é"),
        ] {
            assert_eq!(decoded(payload, label).as_deref(), Ok(expected), "{label}");
        }
    }

    #[test]
    fn what_is_no_character_is_named_by_its_byte() {
        for (payload, label, message) in [
            (&b"ab\xff\xff"[..], "gbk", "the payload is not GBK (byte 3)"),
            (b"ab\x81", "gbk", "the payload is not GBK (byte 3)"),
            (b"a\0\x00\xd8b\0", "utf-16le", "the payload is not UTF-16LE (byte 3)"),
            (b"a\0b", "utf-16le", "the payload is not UTF-16LE (byte 3)"),
            (b"a\xff", "utf-8", "the payload is not UTF-8 (byte 2)"),
        ] {
            assert_eq!(decoded(payload, label).unwrap_err().message, message, "{label}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_followed_where_no_charset_is_decoded() {
        for (payload, expected) in [
            (&b"\xef\xbb\xbfa"[..], &b"a"[..]),
            (b"\xff\xfea\0\xe9\0", "a\u{e9}".as_bytes()),
            (b"\xfe\xff\x4e\x0a", "\u{4e0a}".as_bytes()),
            (b"a", b"a"),
            (b"", b""),
            (b"\xef\xbb", b"\xef\xbb"),
            (b"\xff\xfe\0\0a\0\0\0", b"\xff\xfe\0\0a\0\0\0"),
        ] {
            assert_eq!(unmarked(payload, &mut String::new()), Ok(expected), "{payload:?}");
        }
        assert_eq!(
            unmarked(b"\xff\xfea", &mut String::new()).unwrap_err().message,
            "the payload is not UTF-16LE (byte 3)"
        );
    }

    #[test]
    fn text_that_grows_beyond_the_bound_is_refused() {
        assert_eq!(decoded(&[0xe9; 512], "latin1").unwrap().len(), 1 << 10);
        assert_eq!(decoded(&[0xe9; 513], "latin1").unwrap_err().reason, "size");
    }
}
