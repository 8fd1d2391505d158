//! How the payloads of a rule are read.

use std::sync::Arc;

/// The form of a rule's payloads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Format {
    /// One JSON value a message, as it stands in the payload.
    Json,
    /// UTF-8 text, as it stands in the payload.
    Text,
    Bytes,
    /// Everything that has to be decoded first.
    Decoded(Arc<Decoding>),
}

/// How payloads become values.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Decoding {
    pub syntax: Syntax,
}

/// The notation that values are written in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Syntax {
    /// Each line is a JSON value.
    Ndjson,
}

impl Format {
    /// Whether paths lead into its payloads.
    pub fn has_fields(&self) -> bool {
        match self {
            Format::Json => true,
            Format::Text | Format::Bytes => false,
            Format::Decoded(decoding) => match decoding.syntax {
                Syntax::Ndjson => true,
            },
        }
    }
}

impl Decoding {
    /// With nothing around the values.
    pub fn of(syntax: Syntax) -> Decoding {
        Decoding { syntax }
    }
}
