//! The keys of one entry of `queries`. They say where requests come, which statement they run, and what an answer looks like.

use super::column::COLUMN;
use crate::config::schema::Between::{AnyOf, Without};
use crate::config::schema::Takes::{Choice, Duration, Integer, Named, SourceOr, Text as Scalar};
use crate::config::schema::{Key, Section, Text, patterns};

pub(super) const QUERY: Section = Section {
    keys: &[
        Key::new("name", Scalar(Text::NOT_EMPTY.most(100)), "Used in metrics and messages. Default: query-N."),
        Key::new(
            "topic",
            Scalar(Text::pattern(patterns::TOPIC).numbers().examples(&["db/query/latest"])),
            "Where requests come, on the second MQTT connection. {x} takes one level, {*x} the rest, + and # as in MQTT. With \
             convention: machbase the default is db/query.",
        ),
        Key::new("database", Scalar(Text::NOT_EMPTY), "One of databases. May be left out when there is one."),
        Key::new(
            "sql",
            Scalar(Text::NOT_EMPTY.examples(&["select time, temp from telemetry where device = :device limit :n"])),
            "One statement that reads, with a bind such as :device for each parameter.",
        ),
        Key::new(
            "parameters",
            Named { name: Text::NOT_EMPTY.most(63), value: &SourceOr(&COLUMN), entries_min: 0 },
            "What each bind of sql stands for: a source as of a column, or a mapping with one. Without a value and without \
             `default` a request is refused.",
        ),
        Key::new(
            "reply",
            Scalar(Text::NOT_EMPTY.examples(&["db/reply/latest"])),
            "The answer's topic where the request has no Response Topic (MQTT 5): a template. Default: then no answer; with \
             convention: machbase db/reply.",
        ),
        Key::new(
            "reply_prefix",
            Scalar(Text::NOT_EMPTY.examples(&["db/reply"])),
            "Answers go to this topic and those below it only, whatever a request asks for.",
        ),
        Key::new("format", Choice(&["json", "rows", "ndjson", "csv"]), "What an answer is.").default("json"),
        Key::new(
            "time",
            Choice(&["rfc3339", "s", "ms", "us", "ns"]),
            "How timestamps stand in answers: as text in UTC, or as a number of units since 1970.",
        )
        .default("rfc3339"),
        Key::new("max_rows", Integer { min: 1, max: 100_000 }, "Rows of an answer; with more the request is refused.")
            .default("1000"),
        Key::new(
            "timeout",
            Duration("10ms", "5m"),
            "How long a request may take from its arrival; then its statement is ended.",
        )
        .default("2s"),
        Key::new(
            "convention",
            Choice(&["machbase"]),
            "Requests bring their statement, in Machbase's form; in place of sql and parameters.",
        ),
        Key::new(
            "allow_sql",
            Choice(&["read_only", "off"]),
            "With convention: whether any statement that reads is run.",
        )
        .default("off"),
    ],
    between: &[
        AnyOf(&["sql", "convention"]),
        AnyOf(&["topic", "convention"]),
        Without("convention", "^machbase$", &["sql", "parameters", "format", "time"]),
    ],
};
