//! Decompression of payloads. The expanded size is bounded, and so is the memory: by a few times the bound, and up to 10 MiB
//! for the blocks of an LZ4 frame, whatever a frame's header announces.

use std::io::Read;

use flate2::bufread::{MultiGzDecoder, ZlibDecoder};

use super::PayloadFault;
use crate::config::Compression;

/// The identifier that a stream of Snappy frames begins with; a raw block has none.
const SNAPPY_FRAMES: &[u8] = b"\xff\x06\0\0sNaPpY";

/// The payload as it was before it was compressed: itself, or `expanded`.
pub(super) fn expand<'e>(
    compression: Compression,
    payload: &'e [u8],
    bytes_max: usize,
    expanded: &'e mut Vec<u8>,
) -> Result<&'e [u8], PayloadFault> {
    let compression = match compression {
        Compression::Auto => recognise(payload),
        other => other,
    };
    if compression == Compression::Auto && has_zlib_header(payload) {
        return match zlib(payload, bytes_max, expanded) {
            Ok(()) => Ok(expanded),
            Err(Failure::TooLarge) => Err(PayloadFault::too_large(bytes_max)),
            Err(Failure::Broken | Failure::Dictionary) => Ok(payload),
        };
    }
    if matches!(compression, Compression::None | Compression::Auto) {
        return Ok(payload);
    }
    if payload.is_empty() {
        return Err(PayloadFault::empty());
    }
    expanded.clear();
    let done = match compression {
        Compression::None | Compression::Auto => Ok(()),
        Compression::Gzip => read(MultiGzDecoder::new(payload), bytes_max, expanded),
        Compression::Zlib => zlib(payload, bytes_max, expanded),
        Compression::Zstd => zstd(payload, bytes_max, expanded),
        Compression::Lz4 => lz4(payload, bytes_max, expanded),
        Compression::Snappy if payload.starts_with(SNAPPY_FRAMES) => {
            read(snap::read::FrameDecoder::new(payload), bytes_max, expanded)
        }
        Compression::Snappy => snappy_block(payload, bytes_max, expanded),
    };
    match done {
        Ok(()) => Ok(expanded),
        Err(Failure::TooLarge) => Err(PayloadFault::too_large(bytes_max)),
        Err(Failure::Dictionary) => Err(PayloadFault::parse(
            "the payload is compressed with a dictionary, which the bridge does not have: compress it without",
        )),
        Err(Failure::Broken) => {
            let name = name(compression);
            Err(PayloadFault::parse(format!("the payload is not {name}, or is cut off or damaged")))
        }
    }
}

enum Failure {
    TooLarge,
    /// The content refers to a dictionary.
    Dictionary,
    Broken,
}

/// Recognises the compression by the first bytes; [`Compression::Auto`] if they do not tell.
fn recognise(payload: &[u8]) -> Compression {
    match payload {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        // The usual window with the four levels.
        [0x78, 0x01 | 0x9c | 0xda, ..] => Compression::Zlib,
        // `x^`, which a text may begin with.
        [0x78, 0x5e, ..] if std::str::from_utf8(payload).is_err() => Compression::Zlib,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        [0x04, 0x22, 0x4d, 0x18, ..] => Compression::Lz4,
        _ if payload.starts_with(SNAPPY_FRAMES) => Compression::Snappy,
        _ => Compression::Auto,
    }
}

/// Whether the first two bytes are a header of zlib (RFC 1950): deflate with a window of at most 32 KiB, a check that is
/// right, no preset dictionary. A text may begin so too (`HK`, `x^`): only a payload that inflates is zlib.
fn has_zlib_header(payload: &[u8]) -> bool {
    let [method, flags, ..] = *payload else { return false };
    let is_deflate = method & 0x0f == 8 && method >> 4 <= 7;
    is_deflate && u16::from_be_bytes([method, flags]).is_multiple_of(31) && flags & 0x20 == 0
}

fn name(compression: Compression) -> &'static str {
    match compression {
        Compression::None | Compression::Auto => "compressed",
        Compression::Gzip => "gzip",
        Compression::Zlib => "zlib",
        Compression::Zstd => "zstd",
        Compression::Lz4 => "an LZ4 frame",
        Compression::Snappy => "Snappy",
    }
}

/// Reads to the end, one byte beyond the bound at most.
fn read(reader: impl Read, bytes_max: usize, expanded: &mut Vec<u8>) -> Result<(), Failure> {
    let room = bytes_max - expanded.len();
    let limit = u64::try_from(room).unwrap_or(u64::MAX).saturating_add(1);
    let count = reader.take(limit).read_to_end(expanded).map_err(|_| Failure::Broken)?;
    if count > room { Err(Failure::TooLarge) } else { Ok(()) }
}

fn zlib(payload: &[u8], bytes_max: usize, expanded: &mut Vec<u8>) -> Result<(), Failure> {
    expanded.clear();
    let mut decoder = ZlibDecoder::new(payload);
    read(&mut decoder, bytes_max, expanded).and_then(|()| ended(decoder.into_inner()))
}

fn ended(rest: &[u8]) -> Result<(), Failure> {
    if rest.is_empty() { Ok(()) } else { Err(Failure::Broken) }
}

/// One frame after another.
fn zstd(payload: &[u8], bytes_max: usize, expanded: &mut Vec<u8>) -> Result<(), Failure> {
    use ruzstd::decoding::FrameDecoder;
    use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
    let mut rest = payload;
    while !rest.is_empty() {
        let mut decoder = FrameDecoder::new();
        // The decoder allocates for what it has expanded, not for the window that the frame announces, which may be 128 MiB
        // and more for a few bytes.
        decoder.set_max_window_size(u64::MAX);
        match decoder.init(&mut rest) {
            Ok(()) => zstd_frame(&mut decoder, &mut rest, bytes_max, expanded)?,
            // A frame of one segment whose content has more bytes than any window.
            Err(FrameDecoderError::WindowSizeTooBig { .. }) => return Err(Failure::TooLarge),
            Err(FrameDecoderError::DictNotProvided { .. }) => return Err(Failure::Dictionary),
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                rest = rest.get(length as usize..).ok_or(Failure::Broken)?;
            }
            Err(_) => return Err(Failure::Broken),
        }
    }
    Ok(())
}

/// The decoder keeps a window of what it has expanded, so most of the content may be in it until the frame ends. It tells
/// how much that is only then. Each step adds at least [`ZSTD_STEP_BYTES`] and at most a block of 128 KiB more, so the memory
/// that is taken depends on `bytes_max` only.
fn zstd_frame(
    decoder: &mut ruzstd::decoding::FrameDecoder,
    rest: &mut &[u8],
    bytes_max: usize,
    expanded: &mut Vec<u8>,
) -> Result<(), Failure> {
    use ruzstd::decoding::BlockDecodingStrategy::UptoBytes;
    let room = bytes_max - expanded.len();
    if u64::try_from(room).is_ok_and(|room| decoder.content_size() > room) {
        return Err(Failure::TooLarge);
    }
    let mut count_min = 0;
    loop {
        let step = ZSTD_STEP_BYTES.min(room + 1 - count_min);
        let is_whole = decoder.decode_blocks(&mut *rest, UptoBytes(step)).map_err(|_| Failure::Broken)?;
        decoder.collect_to_writer(&mut *expanded).map_err(|_| Failure::Broken)?;
        count_min += step;
        if expanded.len() > bytes_max || (!is_whole && count_min > room) {
            return Err(Failure::TooLarge);
        }
        if is_whole {
            break;
        }
    }
    match decoder.get_checksum_from_data() {
        Some(sum) if decoder.get_calculated_checksum() != Some(sum) => Err(Failure::Broken),
        _ => Ok(()),
    }
}

/// Eight blocks, so that what a step adds beyond the bound is small beside it.
const ZSTD_STEP_BYTES: usize = 1 << 20;

/// One frame after another.
fn lz4(payload: &[u8], bytes_max: usize, expanded: &mut Vec<u8>) -> Result<(), Failure> {
    let mut rest = Watched { rest: payload, ended_early: false };
    while !rest.rest.is_empty() {
        read(lz4_flex::frame::FrameDecoder::new(&mut rest), bytes_max, expanded)?;
        if rest.ended_early {
            return Err(Failure::Broken);
        }
    }
    Ok(())
}

/// Notes that more was asked for than is there: the decoder takes a frame without its end mark for a whole one.
struct Watched<'p> {
    rest: &'p [u8],
    ended_early: bool,
}

impl Read for Watched<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.ended_early |= into.len() > self.rest.len();
        self.rest.read(into)
    }
}

fn snappy_block(payload: &[u8], bytes_max: usize, expanded: &mut Vec<u8>) -> Result<(), Failure> {
    let length = snap::raw::decompress_len(payload).map_err(|_| Failure::Broken)?;
    if length > bytes_max {
        return Err(Failure::TooLarge);
    }
    expanded.resize(length, 0);
    let written = snap::raw::Decoder::new().decompress(payload, expanded).map_err(|_| Failure::Broken)?;
    if written == length { Ok(()) } else { Err(Failure::Broken) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const BOUND: usize = 1 << 20;

    fn compressed(compression: Compression, content: &[u8]) -> Vec<u8> {
        let level = flate2::Compression::fast();
        match compression {
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Zlib => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Zstd => {
                ruzstd::encoding::compress_to_vec(content, ruzstd::encoding::CompressionLevel::Fastest)
            }
            Compression::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Snappy => snap::raw::Encoder::new().compress_vec(content).unwrap(),
            Compression::None | Compression::Auto => content.to_vec(),
        }
    }

    const ALL: [Compression; 5] =
        [Compression::Gzip, Compression::Zlib, Compression::Zstd, Compression::Lz4, Compression::Snappy];

    fn expanded(compression: Compression, payload: &[u8]) -> Result<Vec<u8>, PayloadFault> {
        expand(compression, payload, BOUND, &mut Vec::new()).map(<[u8]>::to_vec)
    }

    #[test]
    fn what_was_compressed_comes_back_and_is_recognised() {
        let content: Vec<u8> = (0..BOUND).map(|at| (at / 7) as u8 ^ (at >> 9) as u8).collect();
        for compression in ALL {
            for content in [&content[..], b"{\"a\":1}", b""] {
                let payload = compressed(compression, content);
                assert_eq!(expanded(compression, &payload).as_deref(), Ok(content), "{compression:?}");
                if compression != Compression::Snappy {
                    assert_eq!(expanded(Compression::Auto, &payload).as_deref(), Ok(content), "{compression:?}");
                }
            }
        }
        let mut frames = snap::write::FrameEncoder::new(Vec::new());
        frames.write_all(&content).unwrap();
        let frames = frames.into_inner().unwrap();
        assert_eq!(expanded(Compression::Snappy, &frames).as_deref(), Ok(&content[..]));
        assert_eq!(expanded(Compression::Auto, &frames).as_deref(), Ok(&content[..]));
        for plain in [&b"{}"[..], b"", b"x", b"x^2", b"\x28\xb5"] {
            assert_eq!(expanded(Compression::Auto, plain).as_deref(), Ok(plain));
        }
    }

    /// One stream behind every header that two bytes can be.
    #[test]
    fn zlib_is_recognised_whatever_its_window_and_no_text_is_taken_for_it() {
        let deflated = &compressed(Compression::Zlib, b"{\"temp\":21.5}")[2..];
        let mut recognised = 0;
        for [method, flags] in (0..=u16::MAX).map(u16::to_be_bytes) {
            let payload = [&[method, flags], deflated].concat();
            let is_zlib = method & 0x0f == 8 && method < 0x80 && flags & 0x20 == 0;
            let is_zlib = is_zlib && (u32::from(method) * 256 + u32::from(flags)) % 31 == 0;
            let is_other = [0x1f8b, 0x28b5].contains(&u16::from_be_bytes([method, flags]));
            if !is_other {
                let expected: &[u8] = if is_zlib { b"{\"temp\":21.5}" } else { &payload };
                assert_eq!(expanded(Compression::Auto, &payload).as_deref(), Ok(expected), "{method:x} {flags:x}");
            }
            recognised += usize::from(is_zlib);
        }
        assert_eq!(recognised, 8 * 4, "eight windows of four levels each");
        for text in ["HK", "HK,21.5", "8Oaks", "XG;1", "hC", "(S)", "x^2 + 1", "X\t1\t2"] {
            assert!(has_zlib_header(text.as_bytes()), "{text}");
            assert_eq!(expanded(Compression::Auto, text.as_bytes()).as_deref(), Ok(text.as_bytes()));
        }
        let bomb = [&[0x18, 0x19], &compressed(Compression::Zlib, &vec![0; BOUND + 1])[2..]].concat();
        assert_eq!(expanded(Compression::Auto, &bomb).unwrap_err().reason, "size");
    }

    #[test]
    fn one_stream_behind_another_is_one_payload() {
        for compression in [Compression::Gzip, Compression::Zstd, Compression::Lz4] {
            let both = [compressed(compression, b"one "), compressed(compression, b"two")].concat();
            assert_eq!(expanded(compression, &both).as_deref(), Ok(&b"one two"[..]), "{compression:?}");
        }
    }

    #[test]
    fn a_bomb_is_refused_by_its_size() {
        let content = vec![0; BOUND + 1];
        for compression in ALL {
            let fault = expanded(compression, &compressed(compression, &content)).unwrap_err();
            assert_eq!(fault.reason, "size", "{compression:?}");
            assert!(fault.message.contains("`max_expanded` (1048576 bytes)"), "{}", fault.message);
        }
        let halves = compressed(Compression::Gzip, &content[..BOUND / 2 + 1]);
        assert_eq!(expanded(Compression::Gzip, &[&halves[..], &halves].concat()).unwrap_err().reason, "size");
        // A block that claims more than any memory has.
        assert_eq!(expanded(Compression::Snappy, b"\xff\xff\xff\xff\x0f").unwrap_err().reason, "size");
    }

    /// Among them windows of 128 MiB and 2 GiB, as `--long` and `--ultra` announce them for content of unknown size.
    #[test]
    fn the_window_that_a_zstd_frame_announces_takes_no_memory() {
        let frame = |window: u8, blocks: &[u8]| [&b"\x28\xb5\x2f\xfd\x00"[..], &[window], blocks].concat();
        let sealed = b"\x28\xb5\x2f\xfd\x04\x88\x39\0\0{\"v\":1}\x2b\x08\xcb\xea";
        assert_eq!(expanded(Compression::Zstd, sealed).as_deref(), Ok(&b"{\"v\":1}"[..]));
        assert_eq!(expanded(Compression::Auto, &[&sealed[..], sealed].concat()).unwrap().len(), 14);
        let content = b"\x39\0\0{\"v\":1}";
        for window in [0x00, 0x6f, 0x88, 0xa8] {
            assert_eq!(
                expanded(Compression::Zstd, &frame(window, content)).as_deref(),
                Ok(&b"{\"v\":1}"[..]),
                "{window}"
            );
        }
        // Blocks of 128 KiB of one letter; the bound is eight of them.
        let letters = |count: usize| {
            let mut blocks = b"\x02\0\x10x".repeat(count);
            blocks[(count - 1) * 4] |= 1;
            frame(0x88, &blocks)
        };
        assert_eq!(expanded(Compression::Zstd, &letters(8)).unwrap(), vec![b'x'; BOUND]);
        for count in [9, 10_000] {
            let fault = expanded(Compression::Zstd, &letters(count)).unwrap_err();
            assert!(fault.reason == "size" && fault.message.contains("`max_expanded`"), "{}", fault.message);
        }
        // Of one segment, with a size that no memory has.
        let announced = [&b"\x28\xb5\x2f\xfd\xe0"[..], &[0xff; 8], content].concat();
        assert_eq!(expanded(Compression::Zstd, &announced).unwrap_err().reason, "size");
        let with_dictionary = [&b"\x28\xb5\x2f\xfd\x01\x88\x07"[..], content].concat();
        let fault = expanded(Compression::Zstd, &with_dictionary).unwrap_err();
        assert!(fault.reason == "parse" && fault.message.contains("dictionary"), "{}", fault.message);
    }

    #[test]
    fn what_is_cut_off_or_damaged_is_refused() {
        let content: Vec<u8> = (0..4_000u32).flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 7).to_le_bytes()).collect();
        for compression in ALL {
            let whole = compressed(compression, &content);
            for cut in [1, whole.len() / 2, whole.len() - 1] {
                assert_eq!(
                    expanded(compression, &whole[..cut]).map_err(|fault| fault.reason),
                    Err("parse"),
                    "{compression:?} {cut}"
                );
            }
            assert_eq!(expanded(compression, b"").unwrap_err().message, "the payload is empty");
            assert!(expanded(compression, b"{\"a\":1}").is_err(), "{compression:?}");
        }
    }
}
