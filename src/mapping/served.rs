//! How often the tables and columns that a message wants were looked up or added for it.
//!
//! A message is mapped again once its wants are served. If it then wants the same table again, the table may have been
//! changed by somebody else meanwhile. After [`SERVED_MAX`] times the message is refused: no input may be mapped without
//! end, whatever the reason.

use std::collections::{HashMap, HashSet};

use super::destination::Want;
use crate::message::Seq;
use crate::rule::TableName;

/// So often the wants of one message for one table are served. One is the rule, two are needed for a table that another
/// bridge makes or alters at the same moment.
pub(super) const SERVED_MAX: u32 = 4;

/// What was served to the messages that are not mapped yet.
#[derive(Debug, Default)]
pub struct Served {
    /// Wanted, and not taken yet by those who serve it.
    asked: HashSet<Ask>,
    counts: HashMap<Ask, u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Ask {
    seq: Seq,
    rule: usize,
    table: TableName,
    /// For columns or to be made, not only to be looked up.
    is_growth: bool,
}

impl Served {
    /// Notes what a message wants. The error is the first table that was served too often.
    pub(super) fn ask<'w>(&mut self, seq: Seq, wants: &'w [Want]) -> Result<(), &'w TableName> {
        for want in wants {
            let is_growth = !want.columns.is_empty() || want.makes_table;
            let ask = Ask { seq, rule: want.rule, table: want.table.clone(), is_growth };
            if self.counts.get(&ask).is_some_and(|count| *count >= SERVED_MAX) {
                return Err(&want.table);
            }
            self.asked.insert(ask);
        }
        Ok(())
    }

    /// All that was asked for is being served.
    pub(super) fn serve(&mut self) {
        for ask in self.asked.drain() {
            *self.counts.entry(ask).or_default() += 1;
        }
    }

    /// A message is mapped.
    #[inline]
    pub(super) fn settle(&mut self, seq: Seq) {
        if !self.counts.is_empty() {
            self.counts.retain(|ask, _| ask.seq != seq);
        }
    }

    /// What still counts once the rules are compiled again: tables are looked up again then, but are not to grow again.
    pub(super) fn compiled_again(mut self) -> Served {
        self.asked.clear();
        self.counts.retain(|ask, _| ask.is_growth);
        self
    }
}
