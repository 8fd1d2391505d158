//! Recognises by its bytes what a payload is that is not UTF-8 or not JSON, for error texts. These are the mistakes
//! that a sender most often makes without noticing.

/// So many bytes are looked at for the zeros of UTF-16.
const UTF16_GLANCE: usize = 64;

/// The rest of a sentence that begins with the payload: what it is, and what the sender should do.
pub(super) fn name(payload: &[u8]) -> Option<String> {
    let known = match payload {
        [0xef, 0xbb, 0xbf, ..] => "begins with a byte order mark (BOM, EF BB BF); send UTF-8 without it",
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => "is UTF-32, as its byte order mark says; send UTF-8",
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "is UTF-16, as its byte order mark says; send UTF-8",
        [0x1f, 0x8b, ..] => "is compressed with gzip; set `compression: gzip`",
        _ if is_utf16(payload) => "is UTF-16, as every other byte is zero; send UTF-8",
        _ => return zero_byte(payload),
    };
    Some(known.to_owned())
}

fn is_utf16(payload: &[u8]) -> bool {
    let glance = &payload[..payload.len().min(UTF16_GLANCE) & !1];
    let zeros = |parity: usize| glance.iter().skip(parity).step_by(2).all(|byte| *byte == 0);
    let others = |parity: usize| glance.iter().skip(parity).step_by(2).all(|byte| *byte != 0);
    glance.len() >= 4 && (zeros(0) && others(1) || zeros(1) && others(0))
}

fn zero_byte(payload: &[u8]) -> Option<String> {
    let at = memchr::memchr(0, payload)?;
    let byte = at + 1;
    if payload[at..].iter().all(|byte| *byte == 0) {
        return Some(format!(
            "ends in a NUL (a zero byte, at byte {byte}), as the strings of C do; send its length without it"
        ));
    }
    Some(format!("holds a NUL (a zero byte, at byte {byte}); write \\u0000 in a JSON string, or use `format: bytes`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sender_does_not_see_is_named() {
        for (payload, word) in [
            (&b"\xef\xbb\xbf{}"[..], "byte order mark"),
            (b"\xff\xfe{\0}\0", "UTF-16"),
            (b"\xfe\xff\0{\0}", "UTF-16"),
            (b"{\0\"\0v\0\"\0:\x001\0}\0", "UTF-16"),
            (b"\0{\0\"\0v\0\"\0:\x001\0}", "UTF-16"),
            (b"\xff\xfe\0\0{\0\0\0", "UTF-32"),
            (b"{}\0", "ends in a NUL (a zero byte, at byte 3)"),
            (b"{}\0\0\0", "ends in a NUL"),
            (b"{\"a\":\"b\0c\"}", "holds a NUL (a zero byte, at byte 8)"),
            (b"\x1f\x8b\x08", "gzip"),
        ] {
            let named = name(payload).unwrap_or_default();
            assert!(named.contains(word), "{payload:?}: {named}");
        }
        for payload in [&b""[..], b"{", b"nonsense", b"\xff", b"{}x"] {
            assert_eq!(name(payload), None, "{payload:?}");
        }
    }
}
