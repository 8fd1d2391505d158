//! Fields whose strings hold another form, as roots of further paths.

use super::{Decode, Source, Step};

/// A string in the payload, or in an element of it, that is replaced by its decoded value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Root {
    /// A path of the payload or of an element.
    pub source: Source,
    /// One after the other; never empty.
    pub decodes: Vec<Decode>,
}

impl Root {
    /// Whether paths lead on into what it holds; bytes have no parts.
    pub fn has_parts(&self) -> bool {
        self.decodes.last() == Some(&Decode::Json)
    }

    /// Whether `source` is a part of what it holds.
    pub fn is_above(&self, source: &Source) -> bool {
        let is_longer = |ours: &[Step], theirs: &[Step]| theirs.len() > ours.len() && theirs.starts_with(ours);
        match (&self.source, source) {
            (Source::Payload(ours), Source::Payload(theirs))
            | (Source::Item(ours), Source::Item(theirs))
            | (Source::Parent(ours), Source::Parent(theirs)) => is_longer(ours, theirs),
            _ => false,
        }
    }

    /// As messages for people have it: `payload.data decoded as base64, json`.
    pub fn describe(&self) -> String {
        let name = |decode: &Decode| Decode::NAMES.iter().find(|(_, of)| of == decode).map(|(name, _)| *name);
        let names: Vec<&str> = self.decodes.iter().filter_map(name).collect();
        format!("{} decoded as {}", self.source, names.join(", "))
    }
}
