//! Arrays whose values fill columns by position, under rules that may lose no value.

use super::Slot;

/// Slots that tell whether an array has as many values as the table has columns. Before they are compiled, indexes of paths.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::mapping) struct Positions {
    /// Of the first value. Objects have none.
    pub(in crate::mapping) first: usize,
    /// Of the last column that the database has no default for, where values must not be missing.
    pub(in crate::mapping) last_needed: Option<usize>,
    /// Of the value after that of the last column.
    pub(in crate::mapping) surplus: usize,
    pub(in crate::mapping) column_count: usize,
}

impl Positions {
    pub(in crate::mapping) fn compiled(self, slots: &[usize]) -> Positions {
        let last_needed = self.last_needed.map(|last| slots[last]);
        Positions { first: slots[self.first], last_needed, surplus: slots[self.surplus], ..self }
    }

    /// The error is a sentence.
    #[inline]
    pub(super) fn check(&self, slots: &[Slot]) -> Result<(), String> {
        if slots[self.surplus].is_some() {
            return Err(self.describe("more"));
        }
        match self.last_needed {
            Some(last) if slots[self.first].is_some() && slots[last].is_none() => Err(self.describe("fewer")),
            _ => Ok(()),
        }
    }

    #[cold]
    fn describe(&self, how: &str) -> String {
        format!(
            "the array has {how} values than the table has columns, which are {}: name the columns in the payload, or send \
             a value (or null) for each",
            self.column_count
        )
    }
}
