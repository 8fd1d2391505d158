//! Payloads that are one text or one run of bytes: `text`, `bytes`, `hex`, `base64`.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::picked::Picked;
use super::tree::PathTree;
use super::{Each, PayloadFault};

const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);
/// Many devices leave the padding out.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

pub(super) fn text<E: From<PayloadFault>>(
    text: &str,
    tree: &PathTree,
    picked: &mut Picked,
    each: Each<'_, E>,
) -> Result<(), E> {
    picked.begin(tree);
    picked.scalar::<E>(&tree.root, |picked| {
        picked.push_string(text);
        Ok(())
    })?;
    each(picked.document(None))
}

pub(super) fn bytes<E: From<PayloadFault>>(
    bytes: &[u8],
    tree: &PathTree,
    picked: &mut Picked,
    each: Each<'_, E>,
) -> Result<(), E> {
    picked.begin(tree);
    picked.scalar::<E>(&tree.root, |picked| Ok(picked.push_bytes(bytes)?))?;
    each(picked.document(None))
}

/// Pairs of hexadecimal digits in either case. Space between the pairs is passed over.
pub(super) fn hex(text: &str) -> Result<Vec<u8>, PayloadFault> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut high: Option<u8> = None;
    for (at, byte) in text.bytes().enumerate() {
        let digit = match char::from(byte).to_digit(16) {
            Some(digit) => digit as u8,
            None if byte.is_ascii_whitespace() && high.is_none() => continue,
            None => return Err(PayloadFault::parse(format!("the payload is not hexadecimal (byte {})", at + 1))),
        };
        match high.take() {
            Some(high) => bytes.push(high << 4 | digit),
            None => high = Some(digit),
        }
    }
    match high {
        Some(_) => Err(PayloadFault::parse("the payload has an odd number of hexadecimal digits")),
        None => Ok(bytes),
    }
}

/// The standard or the URL-safe alphabet, with or without padding. Line ends are passed over.
pub(super) fn base64(text: &str) -> Result<Vec<u8>, PayloadFault> {
    let unfolded;
    let text = text.trim_ascii();
    let text = match text.contains(['\n', '\r']) {
        true => {
            unfolded = text.replace(['\n', '\r'], "");
            &unfolded
        }
        false => text,
    };
    let engine = if text.contains(['-', '_']) { BASE64_URL } else { BASE64 };
    engine.decode(text).map_err(|error| {
        use base64::DecodeError;
        let place = match error {
            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol { offset: at, .. } => {
                format!(" (character {})", at + 1)
            }
            _ => String::new(),
        };
        PayloadFault::parse(format!("the payload is not base64{place}"))
    })
}
