//! The shaping of payloads before columns take their values.

use std::sync::Arc;

use super::{Format, Rule};
use crate::jq::Program;
use crate::rule::{Root, Source};

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Shaping {
    /// `decode`: strings in whose place stands what they hold, before anything else looks at the payload.
    pub roots: Vec<Root>,
    /// `where`: values for which it is not true are passed over.
    pub predicate: Option<Arc<Program>>,
    /// Each output becomes a payload.
    pub transform: Option<Arc<Program>>,
}

impl Shaping {
    /// Whether paths lead into what comes out.
    pub fn has_fields(&self, format: &Format) -> bool {
        let is_whole = |root: &Root| root.has_parts() && root.source == Source::Payload(Vec::new());
        self.transform.is_some() || format.has_fields() || self.roots.iter().any(is_whole)
    }

    /// Whether programs look at payloads.
    pub fn has_programs(&self) -> bool {
        self.predicate.is_some() || self.transform.is_some()
    }
}

impl Rule {
    /// Whether paths lead into what the columns take their values from.
    pub fn has_fields(&self) -> bool {
        self.shaping.has_fields(&self.format)
    }
}
