//! The keys of one entry of `rules`: which messages the rule takes, how payloads are parsed, and which rows they
//! become.

use super::column::COLUMN;
use super::format::{CSV, FORMATS, INFLUX, PROTOBUF, REGEX};
use crate::config::schema::Between::{AnyOf, Unless, Without};
use crate::config::schema::Takes::{
    Choice, Flag, FlagOr, Integer, List, Mapping, Named, Size, SourceOr, Text as Scalar, WordOr,
};
use crate::config::schema::{Key, Section, Takes, Text, patterns};

const ON_ERROR: &[&str] = &["dead_letter", "drop", "halt"];

/// What a program is, jq says.
pub(super) const PROGRAM: Text = Text::NOT_EMPTY;

const TOPIC: Takes = Scalar(Text::pattern(patterns::TOPIC).numbers().examples(&["sensors/{site}/{device}/telemetry"]));

pub(super) const KEY_COLUMN: Takes = Scalar(Text::NOT_EMPTY.most(63));

const COLUMNS: Takes = Named { name: Text::NOT_EMPTY.most(63), value: &SourceOr(&COLUMN), entries_min: 1 };

const INDEX: Takes = List { item: &KEY_COLUMN, items_min: 1, single: true };

const CREATE: Section = Section {
    keys: &[
        Key::new(
            "primary_key",
            List { item: &KEY_COLUMN, items_min: 0, single: true },
            "The columns of the new table's primary key. Default: those of `key`, else there is none.",
        ),
        Key::new(
            "indexes",
            List { item: &INDEX, items_min: 0, single: true },
            "The new table's indexes, each a list of columns: [[device, time], [time]].",
        ),
    ],
    between: &[],
};

pub(super) const RULE: Section = Section {
    keys: &[
        Key::new(
            "name",
            Scalar(Text::NOT_EMPTY.most(100)),
            "Used in metrics, dead letters and messages. Default: rule-N.",
        ),
        Key::new(
            "topic",
            List { item: &TOPIC, items_min: 1, single: true },
            "A topic pattern or a list of them. {x} takes one level, {*x} the rest, + and # as in MQTT; $share/GROUP/ may stand \
             before it.",
        )
        .required(),
        Key::new("qos", Choice(&["0", "1", "2"]), "The QoS asked for when subscribing.").default("1"),
        Key::new(
            "subscribe_properties",
            Named { name: Text::ANY, value: &Scalar(Text::ANY.numbers()), entries_min: 0 },
            "MQTT 5 user properties sent with SUBSCRIBE for these topics, as in { sub-offset: earliest }.",
        ),
        Key::new(
            "database",
            Scalar(Text::NOT_EMPTY.numbers()),
            "One of databases, or a template that messages fill, such as {topic.db}. May be left out when there is one, and \
             with convention: joinbase.",
        ),
        Key::new(
            "convention",
            Choice(&["joinbase", "machbase"]),
            "Messages say their table, format and options as they do for another system; in place of table, format and columns.",
        ),
        Key::new(
            "into",
            Scalar(Text::NOT_EMPTY.examples(&["db/append/EXAMPLE:csv?timeformat=s"])),
            "Machbase's writing descriptor, in place of table, format, their options and columns.",
        ),
        Key::new("table", Scalar(Text::pattern(patterns::TABLE).numbers()), "The table, or SCHEMA.TABLE, without quotes; or a template that messages fill, such as {topic.site}_telemetry."),
        Key::new(
            "tables",
            List { item: &Scalar(Text::NOT_EMPTY.examples(&["*_telemetry", "abc.*"])), items_min: 1, single: true },
            "Which tables messages may name, where `table` or `database` is a template; * stands for anything.",
        ),
        Key::new(
            "table_aliases",
            Named { name: Text::NOT_EMPTY, value: &Scalar(Text::pattern(patterns::FIXED_TABLE)), entries_min: 0 },
            "What a template gives → the table that is meant.",
        ),
        Key::new("format", Choice(FORMATS), "What a payload is.").default("json"),
        Key::new("csv", Mapping(&CSV), "For format: csv and auto."),
        Key::new("regex", Mapping(&REGEX), "For format: regex."),
        Key::new("protobuf", Mapping(&PROTOBUF), "For format: protobuf."),
        Key::new("influx", Mapping(&INFLUX), "For format: influx."),
        Key::new(
            "compression",
            Choice(&["none", "gzip", "zlib", "zstd", "lz4", "snappy", "auto"]),
            "How payloads are compressed; auto goes by their first bytes.",
        )
        .default("none"),
        Key::new(
            "charset",
            Scalar(Text::NOT_EMPTY.examples(&["utf-8", "utf-16le", "latin1", "gbk", "gb18030", "big5"])),
            "The characters of text payloads: a label of the WHATWG Encoding Standard. A byte order mark decides.",
        )
        .default("utf-8"),
        Key::new(
            "max_expanded",
            Size { min: 1 << 10, max: 256 << 20 },
            "A payload that is larger when it is expanded and brought into UTF-8 is a dead letter of reason `size`.",
        )
        .default("16MiB"),
        Key::new(
            "decode",
            Named {
                name: Text::pattern(patterns::SOURCE).examples(&["payload.data"]),
                value: &List { item: &Choice(&["base64", "hex", "json"]), items_min: 1, single: true },
                entries_min: 1,
            },
            "Strings that hold another form, by their paths: payload.data: json. Further paths go on into what they hold, and \
             everything else of the rule sees that, too. Several forms, one in the other, as a list.",
        ),
        Key::new(
            "where",
            Scalar(PROGRAM),
            "A jq predicate on the payload, such as `.temp > 20`: a message for which it is not true is filtered.",
        ),
        Key::new(
            "transform",
            Scalar(PROGRAM),
            "A jq program, such as `.readings[] | select(.ok)`: each output becomes a payload.",
        ),
        Key::new(
            "columns",
            WordOr(&["auto"], &COLUMNS),
            "Columns by name, each with its source; or `auto`: payload fields by column name, arrays by position.",
        ),
        Key::new(
            "for_each",
            List { item: &Scalar(Text::pattern(patterns::FOR_EACH).examples(&["payload.readings"])), items_min: 1, single: true },
            "One row for each element of this array, or entry of this object: a path of the payload. Columns take item, \
             item.a.b, index and key. For arrays in arrays two paths: [payload.groups, item.values]; then parent is the outer \
             element. `auto` takes rows in whichever usual shape they come.",
        ),
        Key::new("max_rows_per_message", Integer { min: 1, max: 10_000_000 }, "Rows that one message may give; with more it is a dead letter.")
            .default("100000"),
        Key::new(
            "create",
            FlagOr(&CREATE),
            "Create the table if it is missing: from columns, where one whose source tells no type needs `type` then; with \
             columns: auto from the fields of the first payload. As a mapping, with a primary key and indexes.",
        )
        .default("false"),
        Key::new(
            "mode",
            Choice(&["insert", "ignore", "upsert"]),
            "What becomes of a row whose key is in the table already: refused by the table, passed over, or put in place of the \
             one that is there.",
        )
        .default("insert"),
        Key::new(
            "key",
            List { item: &KEY_COLUMN, items_min: 0, single: true },
            "For `mode: ignore` and `upsert`: the columns that tell rows apart. Default: the table's primary key.",
        )
        .default("[]"),
        Key::new(
            "retained",
            Choice(&["store", "skip", "changed"]),
            "What to do with messages that the broker had retained. `changed`: stored only if they differ from the last message of \
             their topic that the rule stored.",
        )
        .default("store"),
        Key::new(
            "on_error",
            Choice(ON_ERROR),
            "What becomes of a message that does not fit: kept as a dead letter, dropped and counted, or the database halts.",
        )
        .default("dead_letter"),
        Key::new(
            "statement",
            Scalar(Text::NOT_EMPTY.examples(&["INSERT INTO readings (device, temp) VALUES (:device, :temp)"])),
            "In place of table, mode and key: one SQL statement, which runs once for each row, with a bind :name for each column.",
        ),
        Key::new(
            "reply",
            Flag,
            "Answer on the message's MQTT 5 Response Topic once it is committed, or refused.",
        )
        .default("false"),
        Key::new(
            "reply_prefix",
            Scalar(Text::NOT_EMPTY.examples(&["db/reply"])),
            "Answers go only to this topic and those below it. Default: db/reply with `convention: machbase`, else any.",
        ),
        Key::new(
            "unmapped",
            Scalar(Text::NOT_EMPTY.examples(&["ignore", "error", "add", "extra"])),
            "Fields that no column takes: ignore, error (the message is refused), add (ALTER TABLE ADD COLUMN), or a json \
             column that takes them.",
        )
        .default("ignore"),
    ],
    between: &[
        AnyOf(&["table", "convention", "into", "statement"]),
        Without(
            "statement",
            patterns::NOT_EMPTY,
            &["table", "tables", "table_aliases", "mode", "key", "create", "unmapped", "convention", "into"],
        ),
        AnyOf(&["columns", "convention", "into"]),
        Unless("format", &["\"text\"", "\"bytes\"", "\"hex\"", "\"base64\""], "columns", "\"auto\""),
    ],
};
