//! A payload's characters as UTF-8. A byte order mark decides over the rule's charset and is taken off. What is no
//! character of the charset is a fault: nothing is replaced.

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
    let (charset, mark_length) = Encoding::for_bom(payload).unwrap_or((charset, 0));
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
    fn text_that_grows_beyond_the_bound_is_refused() {
        assert_eq!(decoded(&[0xe9; 512], "latin1").unwrap().len(), 1 << 10);
        assert_eq!(decoded(&[0xe9; 513], "latin1").unwrap_err().reason, "size");
    }
}
