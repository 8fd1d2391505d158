//! The keys of one entry of `publish`: the published changes of a table, and their messages.

use super::rule::{KEY_COLUMN, PROGRAM};
use crate::config::schema::Takes::{Choice, Flag, Integer, List, Named, Text as Scalar};
use crate::config::schema::{Key, Section, Takes, Text, patterns};

const PUBLISHED_TOPIC: Takes = Scalar(Text::NOT_EMPTY.examples(&["rows/{table}/{row.site}"]));

pub(super) const PUBLISH: Section = Section {
    keys: &[
        Key::new(
            "name",
            Scalar(Text::NOT_EMPTY.most(100)),
            "Known by it in `rowbridge_publications`, metrics and messages. Default: the table's name.",
        ),
        Key::new(
            "database",
            Scalar(Text::pattern(patterns::DATABASE_OF_PUBLICATION).numbers()),
            "One of databases. May be left out when there is one.",
        ),
        Key::new(
            "table",
            Scalar(Text::pattern(patterns::FIXED_TABLE).numbers()),
            "The table whose rows are published, or SCHEMA.TABLE, without quotes.",
        )
        .required(),
        Key::new(
            "events",
            List { item: &Choice(&["insert", "update", "delete"]), items_min: 1, single: true },
            "What is published.",
        )
        .default("insert"),
        Key::new(
            "start",
            Choice(&["now", "existing"]),
            "Where it begins: with the next row, or with those that are there already, by primary key.",
        )
        .default("now"),
        Key::new(
            "where",
            Scalar(PROGRAM),
            "A jq predicate on {event, row, old}: a change for which it is not true is not published.",
        ),
        Key::new(
            "columns",
            List { item: &KEY_COLUMN, items_min: 0, single: true },
            "The columns that are published. Default: all.",
        )
        .default("[]"),
        Key::new(
            "topic",
            PUBLISHED_TOPIC,
            "The topic, with {bridge} {database} {schema} {table} {event} {offset} or {row.COLUMN} in it.",
        )
        .required(),
        Key::new(
            "format",
            Scalar(Text::NOT_EMPTY.examples(&["envelope", "row", "{t: .row.ts, v: .row.f1}"])),
            "envelope: {\"data\":{…},\"offset\":{…}}; row: the row alone; or a jq program on {event, row, old, offset}.",
        )
        .default("envelope"),
        Key::new("qos", Choice(&["0", "1", "2"]), "The QoS of its messages. 0 is best effort.").default("1"),
        Key::new("retain", Flag, "Whether the broker keeps the last message of each topic.").default("false"),
        Key::new(
            "properties",
            Named { name: Text::ANY, value: &Scalar(Text::ANY.numbers()), entries_min: 0 },
            "MQTT 5 user properties of its messages; templates as in topic.",
        ),
        Key::new("meta_topic", PUBLISHED_TOPIC, "Where changes of the table's definition are told. Default: nowhere."),
        Key::new(
            "max_pending",
            Integer { min: 1, max: 1_000_000_000 },
            "Changes that may wait in the database; beyond it the oldest are dropped, logged at ERROR.",
        )
        .default("1000000"),
        Key::new(
            "time",
            Choice(&["rfc3339", "s", "ms", "us", "ns"]),
            "How timestamps are written: as text, or as a number since 1970.",
        )
        .default("rfc3339"),
    ],
    between: &[],
};
