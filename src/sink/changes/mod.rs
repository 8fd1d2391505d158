//! Changes of a table, captured by triggers when they commit, and read in an order that never changes.
//!
//! The triggers write each change into `rowbridge_changes` within the transaction that makes it. So a change that is
//! rolled back leaves nothing, and a committed change is captured. A reader gets the changes in one total order, into
//! which nothing is inserted later. `rowbridge_publications` holds the offset of the oldest change that still exists.
//! So the position of a change determines its offset, for every reader. If a process dies between publishing and
//! [`ChangeFeed::finish`], both tables are unchanged, and the next process gives the same changes the same offsets.
//! `finish` deletes a prefix and moves the offset by its length, in one transaction.

mod json;
mod time;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use self::json::{fields, push_string};
pub(super) use self::json::{object, push_base64};
pub(super) use self::time::push_timestamp;

use super::SinkError;
use crate::config::{Events, TimeForm};
use crate::rule::TableName;

/// The jump of the offset after `where` or `topic` was changed. Other changes than before may then be published, and a
/// change that was in flight when the last process died would be published again with another offset. The same applies
/// when the oldest changes are dropped, because some of them may take no offset. The jump is larger than the number of
/// changes that can be in flight.
pub(super) const OFFSET_JUMP: u64 = 100_000;

/// The changes to capture.
#[derive(Debug, Clone)]
pub struct Capture {
    pub bridge: Arc<str>,
    pub name: Arc<str>,
    pub table: TableName,
    pub events: Events,
    pub with_existing: bool,
    /// The settings that decide which changes are published, in any form.
    pub settings: String,
    /// The number of changes that may wait. Beyond it the triggers drop the oldest, even if no bridge ever reads them.
    pub max_pending: u64,
    /// Whether changes of the definition are among the changes.
    pub tells_definition: bool,
    pub time: TimeForm,
}

/// What has the name of the table to publish, and is none whose changes triggers can capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfit {
    /// With its article: `a view`.
    pub kind: &'static str,
    pub remedy: &'static str,
}

impl Unfit {
    pub(super) const VIEW: Unfit = Unfit { kind: "a view", remedy: "publish the table behind it" };
}

impl fmt::Display for Unfit {
    /// `it is a view: publish the table behind it`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it is {}: {}", self.kind, self.remedy)
    }
}

/// The name of the trigger for an event of a publication. Within one table no other publication's triggers have it, in whichever
/// schema that is kept, and it stays when the bridge gets another name.
pub(super) fn trigger_name(schema: &str, id: i64, event: &str) -> String {
    format!("rowbridge_{:08x}_{id}_{event}", xxhash_rust::xxh3::xxh3_64(schema.as_bytes()) as u32)
}

/// The place of a change in the order in which all are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangeKey {
    pub(crate) xact: i64,
    pub(crate) number: i64,
}

impl ChangeKey {
    /// Before every change.
    pub const FIRST: ChangeKey = ChangeKey { xact: i64::MIN, number: i64::MIN };
}

/// The kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    Insert,
    Update,
    Delete,
    /// The table is there, or there again.
    Create,
    Alter,
    Drop,
}

impl ChangeKind {
    const ALL: [(&'static str, ChangeKind); 6] = [
        ("insert", ChangeKind::Insert),
        ("update", ChangeKind::Update),
        ("delete", ChangeKind::Delete),
        ("create", ChangeKind::Create),
        ("alter", ChangeKind::Alter),
        ("drop", ChangeKind::Drop),
    ];

    pub fn name(self) -> &'static str {
        ChangeKind::ALL[self as usize].0
    }

    /// A name that only a newer version of Rowbridge writes is taken for a change that is not published.
    pub(super) fn of_name(name: &str) -> ChangeKind {
        ChangeKind::ALL.iter().find(|(known, _)| *known == name).map_or(ChangeKind::Alter, |(_, kind)| *kind)
    }

    /// Whether it is of the table's definition and not of a row.
    pub fn is_meta(self) -> bool {
        matches!(self, ChangeKind::Create | ChangeKind::Alter | ChangeKind::Drop)
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub key: ChangeKey,
    pub kind: ChangeKind,
    /// The row as it is now, a JSON object; of a change of the definition, the columns as a JSON array. `None`: deleted.
    pub row: Option<String>,
    /// The row as it was.
    pub old: Option<String>,
}

/// The finished part: a prefix of the changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// The offset before and after it.
    pub from: u64,
    pub to: u64,
    /// What was read before; nothing up to it is left, but by mistake.
    pub after: ChangeKey,
    /// The last change, and how many changes there are with it, those to keep included.
    pub last: ChangeKey,
    pub changes: u64,
    pub published: u64,
    pub skipped: u64,
}

/// The findings and actions of [`ChangeFeed::settle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// The publication is new, and captures from now on.
    Begun,
    Dropped,
    /// There was no such table so far; its rows are among the changes.
    Appeared,
    /// A table of that name is there again; its rows are among the changes.
    Recreated,
    Altered,
    /// Triggers were missing or switched off; changes in the meantime are not among the changes.
    TriggersPutBack,
    /// See [`OFFSET_JUMP`].
    OffsetJumped,
    /// The oldest changes were dropped.
    Overflown(Overflow),
}

/// The next changes.
#[derive(Debug, Default)]
pub struct Reading {
    pub changes: Vec<Change>,
    /// Of the oldest change, at the moment of the reading. What is read under another offset than the reader counts with would
    /// be published under a wrong one.
    pub next_offset: Option<u64>,
    /// The transaction that changes have been waiting for, for a minute or longer, in words.
    pub held_back: Option<String>,
}

/// The present state.
#[derive(Debug, Clone, Default)]
pub struct Settled {
    /// Of the oldest change that is there.
    pub next_offset: u64,
    pub news: Vec<News>,
    /// There is no such table at present.
    pub is_missing: bool,
}

/// Dropped by `max_pending`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow {
    pub first_offset: u64,
    pub last_offset: u64,
}

impl Overflow {
    /// Of so many changes, of which the offset is behind now.
    pub(super) fn before(next_offset: u64, dropped: u64) -> Overflow {
        let first_offset = next_offset.saturating_sub(dropped + OFFSET_JUMP);
        Overflow { first_offset, last_offset: first_offset + dropped - 1 }
    }
}

/// A row of `rowbridge_publications`, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPublication {
    pub(super) id: i64,
    pub name: String,
    pub table: String,
    pub next_offset: u64,
    pub published: u64,
    pub skipped: u64,
    pub pending: u64,
    /// As [`Reading::held_back`].
    pub held_back: Option<String>,
}

/// A connection that one publication has for itself. After an `Err` of class Transient `connect` comes next; what was given to
/// `finish` may then be finished or not.
#[allow(async_fn_in_trait)]
pub trait ChangeFeed {
    /// Opens a fresh connection and makes the tables that are missing.
    async fn connect(&mut self) -> Result<(), SinkError>;

    /// Compares the table and its triggers with what was known of them, and puts right what differs. Cheap if nothing does.
    async fn settle(&mut self) -> Result<Settled, SinkError>;

    /// The next changes behind `after`, in order: at most `limit`, and not many more than `bytes_max` bytes; at least one if
    /// there is one.
    async fn read(&mut self, after: ChangeKey, limit: usize, bytes_max: usize) -> Result<Reading, SinkError>;

    /// Deletes the changes except those to keep, which are among them, and moves the offset, in one transaction.
    /// [`super::Class::OffsetMoved`] if the changes no longer exist, or the offset differs: another process was here.
    async fn finish(&mut self, done: &Done, kept: &[ChangeKey]) -> Result<(), SinkError>;

    /// How many changes wait, counted up to `limit`.
    async fn pending(&mut self, limit: u64) -> Result<u64, SinkError>;

    /// Deletes the oldest changes beyond `max_pending`, and moves the offset by as many and [`OFFSET_JUMP`]. Rows that were there
    /// at the start are not counted: they go with the oldest of what came behind them.
    async fn drop_oldest(&mut self, max_pending: u64) -> Result<Option<Overflow>, SinkError>;

    /// Waits until there may be something new, at most so long.
    async fn changed(&mut self, at_most: Duration);

    async fn close(&mut self);
}
