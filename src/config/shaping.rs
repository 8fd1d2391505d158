//! What a rule does with payloads before columns take their values.

use std::sync::Arc;

use super::{Format, Rule};
use crate::jq::Program;

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Shaping {
    /// `where`: values for which it is not true are passed over.
    pub predicate: Option<Arc<Program>>,
    /// Each output becomes a payload.
    pub transform: Option<Arc<Program>>,
}

impl Shaping {
    /// Whether paths lead into what comes out.
    pub fn has_fields(&self, format: &Format) -> bool {
        self.transform.is_some() || format.has_fields()
    }
}

impl Rule {
    /// Whether paths lead into what the columns take their values from.
    pub fn has_fields(&self) -> bool {
        self.shaping.has_fields(&self.format)
    }
}
