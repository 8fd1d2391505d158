//! The formats of payloads, and their mappings of options. A rule's `format` names a format; the mapping of the same
//! name holds its options.

use super::PATH;
use crate::config::schema::Takes::{Choice, List, Text as Scalar};
use crate::config::schema::{Key, Section, Text};

pub(super) const FORMATS: &[&str] = &[
    "json", "ndjson", "csv", "text", "bytes", "hex", "base64", "regex", "msgpack", "cbor", "protobuf", "influx", "auto",
];

pub(super) const CSV: Section = Section {
    keys: &[
        Key::new("delimiter", Scalar(Text::ANY.most(1)), "One ASCII character.").default(","),
        Key::new(
            "header",
            Choice(&["none", "skip", "columns"]),
            "What the first record is: one like the others; nothing; or the names of the fields, which makes each record an \
             object.",
        )
        .default("none"),
        Key::new(
            "null",
            List { item: &Scalar(Text::ANY), items_min: 0, single: true },
            "Fields that mean NULL. Default: the empty one and NULL.",
        ),
        Key::new(
            "columns",
            List { item: &Scalar(Text::ANY), items_min: 1, single: true },
            "The names of the fields, where no header tells them.",
        ),
    ],
    between: &[],
};

pub(super) const REGEX: Section = Section {
    keys: &[
        Key::new(
            "pattern",
            Scalar(Text::NOT_EMPTY.examples(&[r"^(?<v>[0-9.]+)(?<unit>\w+)$"])),
            "Named groups are the fields.",
        ),
        Key::new("each", Choice(&["message", "line"]), "What is matched.").default("message"),
    ],
    between: &[],
};

pub(super) const PROTOBUF: Section = Section {
    keys: &[
        Key::new(
            "descriptor",
            Scalar(PATH),
            "The file that protoc --include_imports --descriptor_set_out=FILE writes.",
        ),
        Key::new("message", Scalar(Text::NOT_EMPTY.examples(&["pkg.Type"])), "The message's name with its package."),
    ],
    between: &[],
};

pub(super) const INFLUX: Section = Section {
    keys: &[Key::new("precision", Choice(&["ns", "us", "ms", "s"]), "The unit of timestamps.").default("ns")],
    between: &[],
};
