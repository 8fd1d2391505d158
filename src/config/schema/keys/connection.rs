//! Keys that `mqtt` and `databases` share: the waits of a retry and the files for TLS have the same meaning in both.

use super::PATH;
use crate::config::schema::Takes::{Duration, Text as Scalar};
use crate::config::schema::{Key, Section};

pub(super) const RETRY: Section = Section {
    keys: &[
        Key::new("min", Duration("1ms", "1h"), "The first wait. Further waits grow up to max, with jitter.")
            .default("200ms"),
        Key::new("max", Duration("1ms", "1h"), "The longest wait.").default("30s"),
    ],
    between: &[],
};

pub(super) const CA_FILE: Key = Key::new(
    "ca_file",
    Scalar(PATH),
    "PEM file of the certificates that are trusted: those of authorities, or the server's own. Default: the system's.",
);

pub(super) const CERT_FILE: Key =
    Key::new("cert_file", Scalar(PATH), "PEM file of the client's certificate; needs key_file.");

pub(super) const KEY_FILE: Key = Key::new("key_file", Scalar(PATH), "PEM file of the key of cert_file.");
