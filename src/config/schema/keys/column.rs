//! The keys of one column of a rule, and of one parameter of a query: the source of its value, the adjustments, and the
//! replacement of a missing value.

use super::rule::PROGRAM;
use crate::config::schema::Between::{AnyOf, Exclusive};
use crate::config::schema::Takes::{Choice, Flag, List, Literal, Named, Text as Scalar};
use crate::config::schema::{Key, Section, Takes, Text, patterns};

const TIME_FORMAT: Takes =
    Scalar(Text::pattern(patterns::TIME_FORMAT).examples(&["s", "ms", "us", "ns", "rfc3339", "auto"]));

pub(super) const COLUMN: Section = Section {
    keys: &[
        Key::new(
            "from",
            List { item: &Scalar(SOURCE), items_min: 1, single: true },
            "A source, or a list of them, of which the first that has a value is taken: topic, topic.NAME, topic[N], payload, \
             payload.a.b[0], property.NAME, content_type, response_topic, correlation_data, message_expiry, qos, retain, dup, \
             received_at, journal.seq, bridge, rule; under for_each item, item.a.b, index, key, parent; \
             unmapped, the fields that no column takes.",
        ),
        Key::new(
            "template",
            Scalar(Text::ANY.examples(&["{topic.site}-{payload.id}"])),
            "Text with sources in braces, in place of from. {{ and }} are braces. If a source has no value, the column has none.",
        ),
        Key::new("value", Literal, "A constant, in place of from."),
        Key::new(
            "jq",
            Scalar(PROGRAM),
            "A jq program, in place of from: its only output is the value. `.` is the payload, or the element under for_each.",
        ),
        Key::new(
            "type",
            Scalar(Text::pattern(patterns::COLUMN_TYPE).examples(&["real", "bigint", "text", "timestamptz", "json"])),
            "For `create`, where the source does not tell: bool int bigint real double decimal(p,s) text json bytes uuid date \
             time timestamp timestamptz inet, and arrays such as text[]. An existing table's own types always rule.",
        ),
        Key::new(
            "time",
            List { item: &TIME_FORMAT, items_min: 1, single: true },
            "How a time is written: s ms us ns rfc3339, auto (the unit of an epoch from its digits, or RFC 3339), or a strftime \
             pattern; or a list of them, tried in turn.",
        ),
        Key::new(
            "decode",
            List { item: &Choice(&["base64", "hex", "json"]), items_min: 1, single: true },
            "What a string holds in another form; several, one in the other, as a list.",
        ),
        Key::new(
            "map",
            Named { name: Text::ANY, value: &Literal, entries_min: 1 },
            "Values in place of others, by their text: on: 1, unavailable: null. * is for all others, which stay as they are without.",
        ),
        Key::new(
            "decimal",
            Choice(&[",", "."]),
            "Strings are numbers with this decimal mark, and perhaps with marks between thousands.",
        ),
        Key::new(
            "unit",
            Choice(&["ignore"]),
            "Strings are numbers, perhaps with a unit behind them, which is passed over.",
        ),
        Key::new("scale", Scalar(Text::pattern(patterns::DECIMAL).numbers()), "Multiplies the value, exactly."),
        Key::new("shift", Scalar(Text::pattern(patterns::DECIMAL).numbers()), "Is added after that, exactly."),
        Key::new(
            "tz",
            Scalar(Text::ANY.examples(&["UTC", "Europe/Berlin"])),
            "The zone of times that carry none. Default: UTC.",
        ),
        Key::new(
            "default",
            Literal,
            "In place of a missing or null value. null says that a message may go without the field.",
        ),
        Key::new("required", Flag, "A missing value is an error.").default("false"),
        Key::new(
            "on_error",
            Choice(&["dead_letter", "drop", "halt", "null"]),
            "For this column, in place of the rule's. null: a value that does not fit becomes NULL, counted.",
        ),
    ],
    between: &[
        Exclusive("from", "value"),
        Exclusive("from", "template"),
        Exclusive("from", "jq"),
        Exclusive("template", "value"),
        Exclusive("template", "jq"),
        Exclusive("value", "jq"),
        AnyOf(&["from", "template", "value", "jq"]),
    ],
};

/// Of a column; also what [`SourceOr`] takes in place of the mapping.
pub(in crate::config::schema) const SOURCE: Text =
    Text::pattern(patterns::SOURCE).examples(&["received_at", "topic", "payload"]);
