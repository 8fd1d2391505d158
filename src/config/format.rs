//! The payload format of a rule.

use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use encoding_rs::{Encoding, UTF_8};
use prost_reflect::MessageDescriptor;

/// 16 MiB: far more than a device sends, little enough that a hostile message does not fill the memory.
pub const EXPANDED_BYTES_MAX_DEFAULT: usize = 16 << 20;

/// The form of a rule's payloads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Format {
    /// One JSON value per message, unchanged.
    Json,
    /// UTF-8 text, unchanged.
    Text,
    Bytes,
    /// Everything that has to be decoded first.
    Decoded(Arc<Decoding>),
}

/// How payloads become values: they are expanded, then brought into UTF-8, then read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Decoding {
    pub syntax: Syntax,
    pub compression: Compression,
    /// Without meaning for binary formats.
    pub charset: &'static Encoding,
    /// Bytes of a payload when it is expanded and brought into UTF-8. A larger one becomes a dead letter.
    pub expanded_bytes_max: usize,
}

/// The notation that values are written in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Syntax {
    Json,
    /// Each line is a JSON value.
    Ndjson,
    Csv(Csv),
    Text,
    Bytes,
    Hex,
    Base64,
    Regex(Pattern),
    Msgpack,
    Cbor,
    Protobuf(MessageType),
    Influx(Precision),
    /// Of line protocol the fields that are numbers, as Machbase takes them.
    InfluxNumbers(Precision),
    /// JSON or NDJSON if it begins with a bracket, otherwise CSV without header.
    Auto(Csv),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    None,
    Gzip,
    Zlib,
    Zstd,
    /// The frame format.
    Lz4,
    /// The frame format or a raw block.
    Snappy,
    /// By the first bytes; what has none of the known marks is not compressed.
    Auto,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Csv {
    /// ASCII.
    pub delimiter: u8,
    pub header: CsvHeader,
    /// The fields' names, if the rule gives them instead of the header.
    pub columns: Option<Vec<String>>,
    /// Fields that mean NULL, quoted or not.
    pub null: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CsvHeader {
    /// The first record is one like the others.
    None,
    /// The first record says nothing.
    Skip,
    /// The first record names the fields.
    Columns,
}

/// A regular expression whose named groups are the values.
#[derive(Debug, Clone)]
pub struct Pattern {
    pub regex: regex::Regex,
    /// Each line is matched by itself; otherwise the whole payload is.
    pub each_line: bool,
}

/// A protobuf message's type.
#[derive(Debug, Clone)]
pub struct MessageType {
    pub file: PathBuf,
    pub descriptor: MessageDescriptor,
}

/// The unit of line protocol's timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    Nanoseconds,
    Microseconds,
    Milliseconds,
    Seconds,
}

impl Format {
    /// Whether paths lead into its payloads.
    pub fn has_fields(&self) -> bool {
        match self {
            Format::Json => true,
            Format::Text | Format::Bytes => false,
            Format::Decoded(decoding) => {
                !matches!(decoding.syntax, Syntax::Text | Syntax::Bytes | Syntax::Hex | Syntax::Base64)
            }
        }
    }

    /// Whether the fields of its records have names.
    pub fn has_names(&self) -> bool {
        match self {
            Format::Decoded(decoding) => match &decoding.syntax {
                Syntax::Csv(csv) => csv.header == CsvHeader::Columns || csv.columns.is_some(),
                _ => true,
            },
            _ => true,
        }
    }
}

impl Decoding {
    /// With nothing around the values.
    pub fn of(syntax: Syntax) -> Decoding {
        Decoding {
            syntax,
            compression: Compression::None,
            charset: UTF_8,
            expanded_bytes_max: EXPANDED_BYTES_MAX_DEFAULT,
        }
    }
}

impl Default for Csv {
    fn default() -> Csv {
        let null = ["", "NULL"].map(str::to_owned).to_vec();
        Csv { delimiter: b',', header: CsvHeader::None, columns: None, null }
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        (self.regex.as_str(), self.each_line) == (other.regex.as_str(), other.each_line)
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.regex.as_str().hash(state);
    }
}

impl PartialEq for MessageType {
    /// Each file is read once, so the same file and the same name give the same type.
    fn eq(&self, other: &MessageType) -> bool {
        self.file == other.file && self.descriptor.full_name() == other.descriptor.full_name()
    }
}

impl Eq for MessageType {}

impl Hash for MessageType {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.descriptor.full_name().hash(state);
    }
}
