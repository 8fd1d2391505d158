//! The table of keys. Every key that the decoder accepts, section by section, in the order of docs/configuration.md.
//! The top level and the short sections are here; each other section has its own file.

mod column;
mod connection;
mod database;
mod format;
mod http;
mod journal;
mod mqtt;
mod publish;
mod queries;
mod rule;

pub(super) use self::column::SOURCE;
use self::database::DATABASE;
use self::http::HTTP;
use self::journal::JOURNAL;
use self::mqtt::MQTT;
use self::publish::PUBLISH;
use self::queries::QUERY;
use self::rule::RULE;
use super::Between::AnyOf;
use super::Takes::{Choice, Duration, List, Mapping, Named, Text as Scalar, WordOr};
use super::{Key, Section, Text, patterns};

const PATH: Text = Text::NOT_EMPTY;

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

const DEAD_LETTERS: Section = Section {
    keys: &[Key::new("keep", Duration("1m", "36500d"), "How long dead letters stay in their table.").default("30d")],
    between: &[],
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
