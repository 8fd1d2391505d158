//! The keys of `mqtt`: the broker's address, the client's identity, and the session.

use super::PATH;
use super::connection::{CA_FILE, CERT_FILE, KEY_FILE, RETRY};
use crate::config::schema::Between::{Exclusive, Together};
use crate::config::schema::Takes::{Choice, Duration, Flag, Integer, List, Mapping, Size, Text as Scalar};
use crate::config::schema::{Key, Section, Takes, Text, patterns};

const BROKER: Takes =
    Scalar(Text::pattern(patterns::BROKER).examples(&["mqtt://localhost:1883", "mqtts://broker:8883"]));

pub(super) const MQTT: Section = Section {
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
