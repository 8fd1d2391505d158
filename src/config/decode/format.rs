//! The format of a rule's payloads: `format` and the options of each, `compression`, `charset`, `max_expanded`.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use encoding_rs::{Encoding, REPLACEMENT, UTF_8};
use prost_reflect::DescriptorPool;

use super::table::Table;
use super::value::Value;
use crate::config::{
    Compression, Csv, CsvHeader, Decoding, EXPANDED_BYTES_MAX_DEFAULT, Format, MessageType, Pattern, Precision, Syntax,
};

const EXPANDED_BYTES_MIN: u64 = 1 << 10;
/// What a payload takes in memory at once; positions in it are 32 bits.
const EXPANDED_BYTES_MOST: u64 = 256 << 20;
/// A set of descriptors with everything it imports has some 100 KiB.
const DESCRIPTOR_BYTES_MAX: u64 = 16 << 20;

const WORDS: [(&str, Kind); 13] = [
    ("json", Kind::Json),
    ("ndjson", Kind::Ndjson),
    ("csv", Kind::Csv),
    ("text", Kind::Text),
    ("bytes", Kind::Bytes),
    ("hex", Kind::Hex),
    ("base64", Kind::Base64),
    ("regex", Kind::Regex),
    ("msgpack", Kind::Msgpack),
    ("cbor", Kind::Cbor),
    ("protobuf", Kind::Protobuf),
    ("influx", Kind::Influx),
    ("auto", Kind::Auto),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Json,
    Ndjson,
    Csv,
    Text,
    Bytes,
    Hex,
    Base64,
    Regex,
    Msgpack,
    Cbor,
    Protobuf,
    Influx,
    Auto,
}

/// What rules have in common: decodings that are equal, and descriptor files, each read once.
#[derive(Default)]
pub(super) struct Formats {
    decodings: HashSet<Arc<Decoding>>,
    descriptors: HashMap<PathBuf, Result<DescriptorPool, String>>,
}

impl Formats {
    pub(super) fn decode(&mut self, table: &Table<'_>) -> Format {
        let kind = table.choice("format", Kind::Json, &WORDS);
        let syntax = self.syntax(kind, table);
        let compression = compression(table);
        let charset = charset(table, kind);
        let expanded_bytes_max =
            table.size("max_expanded", EXPANDED_BYTES_MAX_DEFAULT as u64, EXPANDED_BYTES_MIN..=EXPANDED_BYTES_MOST);
        let is_plain = compression == Compression::None && charset == UTF_8;
        match syntax {
            Some(Syntax::Json) | None if is_plain => Format::Json,
            Some(Syntax::Text) if is_plain => Format::Text,
            Some(Syntax::Bytes) if is_plain => Format::Bytes,
            syntax => {
                let expanded_bytes_max = usize::try_from(expanded_bytes_max).unwrap_or(usize::MAX);
                let syntax = syntax.unwrap_or(Syntax::Json);
                Format::Decoded(self.once(Decoding { syntax, compression, charset, expanded_bytes_max }))
            }
        }
    }

    /// The decoding, or an equal one from before.
    fn once(&mut self, decoding: Decoding) -> Arc<Decoding> {
        if let Some(known) = self.decodings.get(&decoding) {
            return Arc::clone(known);
        }
        let decoding = Arc::new(decoding);
        self.decodings.insert(Arc::clone(&decoding));
        decoding
    }

    /// `None` if its options are refused.
    fn syntax(&mut self, kind: Kind, table: &Table<'_>) -> Option<Syntax> {
        let csv = csv(table, kind);
        let pattern = pattern(table, kind);
        let message_type = self.message_type(table, kind);
        let precision = precision(table, kind);
        Some(match kind {
            Kind::Json => Syntax::Json,
            Kind::Ndjson => Syntax::Ndjson,
            Kind::Csv => Syntax::Csv(csv),
            Kind::Auto => Syntax::Auto(csv),
            Kind::Text => Syntax::Text,
            Kind::Bytes => Syntax::Bytes,
            Kind::Hex => Syntax::Hex,
            Kind::Base64 => Syntax::Base64,
            Kind::Msgpack => Syntax::Msgpack,
            Kind::Cbor => Syntax::Cbor,
            Kind::Regex => Syntax::Regex(pattern?),
            Kind::Protobuf => Syntax::Protobuf(message_type?),
            Kind::Influx => Syntax::Influx(precision),
        })
    }

    fn message_type(&mut self, table: &Table<'_>, kind: Kind) -> Option<MessageType> {
        const FORMS: &str = "{ descriptor: FILE, message: package.Type }; the file is what protoc --include_imports \
                             --descriptor_set_out=FILE writes";
        let Some(value) = table.get("protobuf") else {
            if kind == Kind::Protobuf {
                table.miss("protobuf", FORMS);
            }
            return None;
        };
        let options = value.table();
        let place = options.get("descriptor");
        let file = options.path("descriptor");
        let message = options.get("message").and_then(|value| Some((value.text()?, value)));
        if kind != Kind::Protobuf {
            refuse_unused(&value, place.is_some() || message.is_some(), "format: protobuf");
        } else if place.is_none() {
            options.miss("descriptor", FORMS);
        } else if message.is_none() {
            options.miss("message", FORMS);
        }
        options.finish();
        if kind != Kind::Protobuf {
            return None;
        }
        let (file, (name, message)) = (file?, message?);
        let pool = self.descriptors.entry(file.clone()).or_insert_with(|| read_descriptors(&file));
        let pool = match pool {
            Ok(pool) => pool,
            Err(error) => {
                place?.refuse(error.clone(), "a file that protoc --include_imports --descriptor_set_out wrote");
                return None;
            }
        };
        let Some(descriptor) = pool.get_message_by_name(&name) else {
            let names: Vec<String> = pool.all_messages().map(|message| message.full_name().to_owned()).collect();
            let nearest = crate::config::report::nearest(&name, names.iter().map(String::as_str));
            let problem = format!("found {}, which is not in the descriptor file", message.shown());
            message.refuse_with(problem, Some("a message with its package, such as pkg.Type".to_owned()), nearest);
            return None;
        };
        Some(MessageType { file, descriptor })
    }
}

fn read_descriptors(file: &Path) -> Result<DescriptorPool, String> {
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|opened| opened.take(DESCRIPTOR_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("`{}` cannot be read: {error}", file.display()))?;
    if bytes.len() as u64 > DESCRIPTOR_BYTES_MAX {
        return Err(format!("`{}` is larger than {} MiB", file.display(), DESCRIPTOR_BYTES_MAX >> 20));
    }
    DescriptorPool::decode(bytes.as_slice())
        .map_err(|error| format!("`{}` is no set of protobuf descriptors: {error}", file.display()))
}

/// Options of another format than the rule's would have no effect.
fn refuse_unused(value: &Value<'_>, says_something: bool, accepted: &str) {
    if says_something {
        value.refuse("has no meaning for the rule's format", accepted);
    }
}

fn csv(table: &Table<'_>, kind: Kind) -> Csv {
    let mut csv = Csv::default();
    let Some(whole) = table.get("csv") else { return csv };
    let options = whole.table();
    if let Some(value) = options.get("delimiter") {
        csv.delimiter = delimiter(&value).unwrap_or(csv.delimiter);
    }
    let headers = [("none", CsvHeader::None), ("skip", CsvHeader::Skip), ("columns", CsvHeader::Columns)];
    csv.header = options.choice("header", CsvHeader::None, &headers);
    if let Some(value) = options.get("header")
        && kind == Kind::Auto
        && csv.header != CsvHeader::None
    {
        value.refuse("`format: auto` reads CSV without a header", "none, or format: csv");
    }
    if let Some(value) = options.get("null") {
        csv.null = value.texts().into_iter().map(|(text, _)| text).collect();
    }
    if let Some(value) = options.get("columns") {
        let names: Vec<String> = value.texts().into_iter().map(|(text, _)| text).collect();
        if names.is_empty() {
            value.refuse("names no field", "the fields' names in their order: [time, temp]");
        } else if csv.header == CsvHeader::Columns {
            value.refuse("the header names the fields too", "header: skip, or no `columns`");
        }
        csv.columns = Some(names).filter(|names| !names.is_empty());
    }
    if !matches!(kind, Kind::Csv | Kind::Auto) {
        refuse_unused(&whole, csv != Csv::default(), "format: csv or auto");
    }
    options.finish();
    csv
}

fn delimiter(value: &Value<'_>) -> Option<u8> {
    let text = value.as_text();
    match text.as_deref().map(str::as_bytes) {
        Some([delimiter]) if delimiter.is_ascii() && !matches!(delimiter, b'"' | b'\n' | b'\r' | 0) => Some(*delimiter),
        _ => {
            value.refuse(
                format!("found {}", value.shown()),
                "one ASCII character such as \",\", \";\", \"|\" or \"\\t\"",
            );
            None
        }
    }
}

fn pattern(table: &Table<'_>, kind: Kind) -> Option<Pattern> {
    const FORMS: &str = r"{ pattern: '^(?<v>[0-9.]+)(?<unit>\w+)$', each: message | line }";
    let Some(whole) = table.get("regex") else {
        if kind == Kind::Regex {
            table.miss("regex", FORMS);
        }
        return None;
    };
    let options = whole.table();
    let each_line = options.choice("each", false, &[("message", false), ("line", true)]);
    let pattern = options.get("pattern");
    if kind != Kind::Regex {
        refuse_unused(&whole, pattern.is_some(), "format: regex");
    } else if pattern.is_none() {
        options.miss("pattern", FORMS);
    }
    options.finish();
    if kind != Kind::Regex {
        return None;
    }
    let value = pattern?;
    let regex = match regex::Regex::new(&value.text()?) {
        Ok(regex) => regex,
        Err(error) => {
            // The rest of the text shows the pattern with a mark under it.
            let text = error.to_string();
            let why = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            value.refuse(format!("is no regular expression: {why}"), FORMS);
            return None;
        }
    };
    if regex.capture_names().flatten().next().is_none() {
        value.refuse("has no named group, so it gives no value", FORMS);
        return None;
    }
    Some(Pattern { regex, each_line })
}

fn precision(table: &Table<'_>, kind: Kind) -> Precision {
    let Some(value) = table.get("influx") else { return Precision::Nanoseconds };
    let options = value.table();
    let precision = options.choice(
        "precision",
        Precision::Nanoseconds,
        &[
            ("ns", Precision::Nanoseconds),
            ("us", Precision::Microseconds),
            ("ms", Precision::Milliseconds),
            ("s", Precision::Seconds),
        ],
    );
    if kind != Kind::Influx {
        refuse_unused(&value, precision != Precision::Nanoseconds, "format: influx");
    }
    options.finish();
    precision
}

fn compression(table: &Table<'_>) -> Compression {
    table.choice(
        "compression",
        Compression::None,
        &[
            ("none", Compression::None),
            ("gzip", Compression::Gzip),
            ("zlib", Compression::Zlib),
            ("zstd", Compression::Zstd),
            ("lz4", Compression::Lz4),
            ("snappy", Compression::Snappy),
            ("auto", Compression::Auto),
        ],
    )
}

fn charset(table: &Table<'_>, kind: Kind) -> &'static Encoding {
    const FORMS: &str = "a label of the WHATWG Encoding Standard: utf-8, utf-16le, latin1, windows-1252, gbk, gb18030, \
                         big5, shift_jis, euc-kr …";
    let Some(value) = table.get("charset") else { return UTF_8 };
    let label = value.text().unwrap_or_default();
    let Some(charset) = Encoding::for_label(label.as_bytes()).filter(|charset| *charset != REPLACEMENT) else {
        value.refuse(format!("found {}", value.shown()), FORMS);
        return UTF_8;
    };
    if charset != UTF_8 && matches!(kind, Kind::Bytes | Kind::Msgpack | Kind::Cbor | Kind::Protobuf) {
        value.refuse("has no meaning for the rule's format, which is binary", "leave it out");
    }
    charset
}
