//! The keys of one entry of `databases`: its address, the size of a transaction, and the waits.

use super::PATH;
use super::connection::{CA_FILE, CERT_FILE, KEY_FILE, RETRY};
use crate::config::schema::Between::{Exclusive, Together, Without};
use crate::config::schema::Takes::{Duration, Integer, Mapping, Size, Text as Scalar};
use crate::config::schema::{Key, Section, Text, patterns};

pub(super) const DATABASE: Section = Section {
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
