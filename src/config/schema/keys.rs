//! The table. Every key that the decoder takes, section by section, in the order of docs/configuration.md.

use super::Between::{AnyOf, Exclusive, Together, Unless, Without};
use super::Takes::{
    Choice, Duration, Flag, FlagOr, Integer, List, Literal, Mapping, Named, Size, SourceOr, Text as Scalar, WordOr,
};
use super::queries::QUERY;
use super::{Key, Section, Takes, Text, patterns};

const PATH: Text = Text::NOT_EMPTY;
const ON_ERROR: &[&str] = &["dead_letter", "drop", "halt"];

pub(in crate::config) const ROOT: Section = Section {
    keys: &[
        Key::new(
            "bridge",
            Scalar(Text::NOT_EMPTY.most(200)),
            "The bridge's name in the databases' offset tables. Default: mqtt.client_id. It is remembered in data_dir; a \
             changed name holds the databases.",
        ),
        Key::new(
            "data_dir",
            Scalar(PATH),
            "The journal and the session's state. Default: $STATE_DIRECTORY, else ./rowbridge-data.",
        )
        .default("rowbridge-data"),
        Key::new("shutdown_grace", Duration("1s", "1h"), "How long a stop may take before it is forced.")
            .default("10s"),
        Key::new("mqtt", Mapping(&MQTT), "The broker, and the session that it keeps for the bridge."),
        Key::new("journal", Mapping(&JOURNAL), "The journal on disk: messages go here before they are acknowledged."),
        Key::new(
            "databases",
            Named {
                name: Text::pattern(patterns::DATABASE_NAME).most(100),
                value: &Mapping(&DATABASE),
                entries_min: 1,
            },
            "Databases by name: any number, each delivered to at its own pace. The name appears in rules and metrics.",
        )
        .required(),
        Key::new(
            "rules",
            List { item: &Mapping(&RULE), items_min: 0, single: false },
            "Rules from messages to rows. Every rule that matches takes the message.",
        ),
        Key::new(
            "rules_from",
            List { item: &Scalar(PATH), items_min: 0, single: true },
            "Files with more rules, such as rules.d/*.yaml, in the order of their names. Relative to this file.",
        ),
        Key::new(
            "publish",
            List { item: &Mapping(&PUBLISH), items_min: 0, single: false },
            "Rows that appear in a table are published, at least once.",
        ),
        Key::new(
            "queries",
            List { item: &Mapping(&QUERY), items_min: 0, single: false },
            "Statements that are run when a message comes on their topic, and answered over MQTT.",
        ),
        Key::new("unmatched", Choice(&["ignore", "dead_letter"]), "What becomes of messages that no rule takes.")
            .default("ignore"),
        Key::new("dead_letters", Mapping(&DEAD_LETTERS), "Messages that could not become rows."),
        Key::new(
            "http",
            WordOr(&["off", "false", "no", "Off", "False", "No", "FALSE"], &Mapping(&HTTP)),
            "Metrics, health, status and the status page; or `off`.",
        ),
        Key::new("log", Mapping(&LOG), "The log, on standard error."),
    ],
    between: &[AnyOf(&["rules", "rules_from", "publish", "queries"])],
};

const BROKER: Takes =
    Scalar(Text::pattern(patterns::BROKER).examples(&["mqtt://localhost:1883", "mqtts://broker:8883"]));

const MQTT: Section = Section {
    keys: &[
        Key::new(
            "url",
            BROKER,
            "The broker's address: mqtt, mqtts, ws or wss. A user name and password in it are percent-encoded.",
        )
        .default("mqtt://localhost:1883"),
        Key::new(
            "urls",
            List { item: &BROKER, items_min: 1, single: true },
            "Several addresses, tried in turn, in place of url.",
        ),
        Key::new("version", Choice(&["5", "3.1.1", "5.0"]), "MQTT's version.").default("5"),
        Key::new(
            "client_id",
            Scalar(Text::NOT_EMPTY),
            "The broker keeps the session, and what it queues, under this name, which no other client may have. Default: \
             rowbridge-HOSTNAME, remembered in data_dir.",
        ),
        Key::new("username", Scalar(Text::ANY), "The user name."),
        Key::new("username_file", Scalar(PATH), "A file that holds the user name, in place of username."),
        Key::new("password", Scalar(Text::ANY), "The password. Better: password_file."),
        Key::new(
            "password_file",
            Scalar(PATH),
            "A file that holds the password. A relative name is looked for in $CREDENTIALS_DIRECTORY first. It is read for \
             every connection.",
        ),
        Key::new(
            "session_expiry",
            Duration("1s", "4294967295s"),
            "How long the broker keeps queueing while the bridge is away. Whole seconds; MQTT 5 only.",
        )
        .default("7d"),
        Key::new(
            "keep_alive",
            Duration("1s", "65535s"),
            "How often the connection is tried when nothing is sent. Whole seconds.",
        )
        .default("30s"),
        Key::new("connect_timeout", Duration("1s", "10m"), "How long an attempt to connect may take.").default("10s"),
        Key::new("retry", Mapping(&RETRY), "How long to wait before connecting again."),
        Key::new(
            "receive_maximum",
            Integer { min: 1, max: 65_535 },
            "MQTT 5: messages in flight to the bridge before it acknowledges the first.",
        )
        .default("1000"),
        Key::new(
            "max_packet_size",
            Size { min: 1 << 10, max: 256 << 20 },
            "Larger messages become dead letters of reason `size`. Not announced to the broker.",
        )
        .default("1MiB"),
        Key::new(
            "topic_alias_maximum",
            Integer { min: 0, max: 1000 },
            "MQTT 5: topic aliases that the broker may use towards the bridge. 0, because several brokers get them wrong.",
        )
        .default("0"),
        Key::new("tls", Mapping(&MQTT_TLS), "TLS towards the broker, for mqtts and wss."),
        Key::new(
            "status_topic",
            Scalar(Text::NOT_EMPTY.examples(&["bridges/{bridge}/status"])),
            "Where the bridge tells whether it is there: `online`, and `offline` as its will, retained.",
        ),
    ],
    between: &[
        Exclusive("url", "urls"),
        Exclusive("username", "username_file"),
        Exclusive("password", "password_file"),
    ],
};

const RETRY: Section = Section {
    keys: &[
        Key::new("min", Duration("1ms", "1h"), "The first wait. Further waits grow up to max, with jitter.")
            .default("200ms"),
        Key::new("max", Duration("1ms", "1h"), "The longest wait.").default("30s"),
    ],
    between: &[],
};

const ALPN: Takes = Scalar(Text::NOT_EMPTY.most(255));

const MQTT_TLS: Section = Section {
    keys: &[
        CA_FILE,
        CERT_FILE,
        KEY_FILE,
        Key::new(
            "alpn",
            List { item: &ALPN, items_min: 0, single: true },
            "Protocol names offered in the TLS handshake, such as x-amzn-mqtt-ca.",
        )
        .default("[]"),
        Key::new(
            "insecure_skip_verify",
            Flag,
            "Accept any certificate. Whoever is on the way can then read and change everything.",
        )
        .default("false"),
    ],
    between: &[Together("cert_file", "key_file")],
};

const CA_FILE: Key = Key::new(
    "ca_file",
    Scalar(PATH),
    "PEM file of the certificates that are trusted: those of authorities, or the server's own. Default: the system's.",
);
const CERT_FILE: Key = Key::new("cert_file", Scalar(PATH), "PEM file of the client's certificate; needs key_file.");
const KEY_FILE: Key = Key::new("key_file", Scalar(PATH), "PEM file of the key of cert_file.");

const JOURNAL: Section = Section {
    keys: &[
        Key::new(
            "durability",
            WordOr(&["commit", "delivered"], &Duration("1ms", "1m")),
            "`commit`: on disk (fdatasync) before the broker gets its acknowledgement. `delivered`: in every database before \
             that, and the journal is in memory. Or a duration, e.g. 100ms: a power cut then loses up to that much.",
        )
        .default("commit"),
        Key::new(
            "sync_interval",
            WordOr(&["auto"], &Duration("0s", "10s")),
            "How long a message waits at most for others that are written, synced and acknowledged together with it. `auto`: \
             10ms. It never waits once the broker has sent all it may, nor alone in a quiet stream.",
        )
        .default("auto"),
        Key::new(
            "segment_size",
            Size { min: 4 << 10, max: 1 << 30 },
            "Size of one file of the journal. Space comes back file by file. Default: 16MiB, less if max_size is small.",
        )
        .default("16MiB"),
        Key::new("max_size", Size { min: 8 << 10, max: 1 << 44 }, "Size of the whole journal, at least two segments. Default: 1GiB, with `durability: delivered` 64MiB.")
            .default("1GiB"),
        Key::new(
            "when_full",
            Choice(&["pause", "drop_oldest", "drop_newest"]),
            "`pause`: stop acknowledging, and the broker queues. The other two drop messages, counted and logged at ERROR.",
        )
        .default("pause"),
        Key::new(
            "keep",
            Duration("0s", "365d"),
            "Delivered messages stay this long, for a database that fails over to a replica.",
        )
        .default("10m"),
        Key::new(
            "on_corruption",
            Choice(&["quarantine", "halt"]),
            "What to do about a damaged part: set it aside and go on, or stop.",
        )
        .default("quarantine"),
    ],
    between: &[],
};

const DATABASE: Section = Section {
    keys: &[
        Key::new(
            "url",
            Scalar(
                Text::pattern(patterns::DATABASE)
                    .examples(&["sqlite:rowbridge.db", "postgres://bridge@db.example/telemetry"]),
            ),
            "`sqlite:FILE`, relative to the working directory, or `postgres://USER@HOST/DATABASE` with libpq's parameters and \
             several hosts; PG* variables fill what is left out.",
        )
        .required(),
        Key::new("password", Scalar(Text::ANY), "Postgres: the password. Better: password_file."),
        Key::new(
            "password_file",
            Scalar(PATH),
            "Postgres: a file that holds the password. A relative name is looked for in $CREDENTIALS_DIRECTORY first. It is \
             read for every connection.",
        ),
        Key::new(
            "schema",
            Scalar(Text::pattern(patterns::SCHEMA_NAME).numbers().most(63)),
            "Postgres: where tables without a schema lie, and Rowbridge's own.",
        )
        .default("public"),
        Key::new("batch", Mapping(&BATCH), "How many rows share a transaction."),
        Key::new("retry", Mapping(&RETRY), "How long to wait before a transient error is tried again."),
        Key::new("statement_timeout", Duration("100ms", "1d"), "How long a statement may take.").default("60s"),
        Key::new(
            "park_after",
            Duration("0s", "1d"),
            "A bad table holds the database for so long; then only the rules that write to it wait.",
        )
        .default("30s"),
        Key::new("tls", Mapping(&DATABASE_TLS), "Postgres: TLS files. Whether to use TLS says sslmode in url."),
    ],
    between: &[
        Exclusive("password", "password_file"),
        Without("url", patterns::SQLITE, &["password", "password_file", "schema", "tls"]),
    ],
};

const BATCH: Section = Section {
    keys: &[
        Key::new("max_rows", Integer { min: 1, max: 1_000_000 }, "Rows of one batch.").default("5000"),
        Key::new("max_bytes", Size { min: 1 << 10, max: 1 << 30 }, "Encoded bytes of one batch.").default("8MiB"),
        Key::new(
            "max_wait",
            Duration("0s", "10m"),
            "How long a row waits for others that share its transaction. A lone row of a quiet stream does not wait.",
        )
        .default("50ms"),
    ],
    between: &[],
};

const DATABASE_TLS: Section =
    Section { keys: &[CA_FILE, CERT_FILE, KEY_FILE], between: &[Together("cert_file", "key_file")] };

/// What a program is, jq says.
const PROGRAM: Text = Text::NOT_EMPTY;

const TOPIC: Takes = Scalar(Text::pattern(patterns::TOPIC).numbers().examples(&["sensors/{site}/{device}/telemetry"]));
const KEY_COLUMN: Takes = Scalar(Text::NOT_EMPTY.most(63));
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

const RULE: Section = Section {
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

const PUBLISHED_TOPIC: Takes = Scalar(Text::NOT_EMPTY.examples(&["rows/{table}/{row.site}"]));

const PUBLISH: Section = Section {
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

const FORMATS: &[&str] = &[
    "json", "ndjson", "csv", "text", "bytes", "hex", "base64", "regex", "msgpack", "cbor", "protobuf", "influx", "auto",
];

const CSV: Section = Section {
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

const REGEX: Section = Section {
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

const PROTOBUF: Section = Section {
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

const INFLUX: Section = Section {
    keys: &[Key::new("precision", Choice(&["ns", "us", "ms", "s"]), "The unit of timestamps.").default("ns")],
    between: &[],
};

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
pub(super) const SOURCE: Text = Text::pattern(patterns::SOURCE).examples(&["received_at", "topic", "payload"]);

const DEAD_LETTERS: Section = Section {
    keys: &[Key::new("keep", Duration("1m", "36500d"), "How long dead letters stay in their table.").default("30d")],
    between: &[],
};

const HOST: Takes = Scalar(Text::ANY);

const HTTP: Section = Section {
    keys: &[
        Key::new(
            "listen",
            Scalar(Text::pattern(patterns::LISTEN).examples(&["127.0.0.1:9469", "0.0.0.0:9469"])),
            "IP address and port. One that is not loopback needs token_file or allow_unauthenticated.",
        )
        .default("127.0.0.1:9469"),
        Key::new("token", Scalar(Text::ANY), "The token that clients must send. Better: token_file."),
        Key::new(
            "token_file",
            Scalar(PATH),
            "File that holds the token that clients must send (`Authorization: Bearer TOKEN`); read for each request.",
        ),
        Key::new("allow_unauthenticated", Flag, "Whoever reaches the address may read.").default("false"),
        Key::new(
            "hosts",
            List { item: &HOST, items_min: 0, single: true },
            "Further names under which the bridge is asked, without port, such as gw1.example.",
        )
        .default("[]"),
    ],
    between: &[Exclusive("token", "token_file")],
};

const LOG: Section = Section {
    keys: &[
        Key::new(
            "level",
            Scalar(Text::pattern(patterns::LOG_LEVEL).examples(&["off", "error", "warn", "info", "debug", "trace"])),
            "off, error, warn, info, debug or trace; or directives such as info,rowbridge::source=debug.",
        )
        .default("info"),
        Key::new(
            "format",
            Choice(&["auto", "text", "json"]),
            "`auto`: text on a terminal, without time and colour under systemd.",
        )
        .default("auto"),
    ],
    between: &[],
};
