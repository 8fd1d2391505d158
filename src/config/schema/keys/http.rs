//! The keys of `http`: the listen address, and who may read.

use super::PATH;
use crate::config::schema::Between::Exclusive;
use crate::config::schema::Takes::{Flag, List, Text as Scalar};
use crate::config::schema::{Key, Section, Takes, Text, patterns};

const HOST: Takes = Scalar(Text::ANY);

pub(super) const HTTP: Section = Section {
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
