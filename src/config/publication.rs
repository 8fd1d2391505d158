//! An entry of `publish`: rows of a table, published as messages.

use std::sync::Arc;

use crate::jq::Program;
use crate::message::Qos;
use crate::rule::{RowSource, TableName, Template};

/// One entry of `publish`. Equal to another exactly if both ask for the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Unique; the table's name when the file gives none.
    pub name: Arc<str>,
    /// Index into [`super::Config::databases`].
    pub database: usize,
    pub table: TableName,
    pub events: Events,
    /// Whether the rows that are there when it begins are published first.
    pub with_existing: bool,
    /// On `{event, row, old}`.
    pub predicate: Option<Arc<Program>>,
    /// Those that are published; empty: all.
    pub columns: Vec<String>,
    pub topic: Template<RowSource>,
    pub format: PublishFormat,
    pub qos: Qos,
    pub retain: bool,
    /// MQTT 5 user properties.
    pub properties: Vec<(String, Template<RowSource>)>,
    /// Where changes of the table's definition are told.
    pub meta_topic: Option<Template<RowSource>>,
    /// Changes that may wait in the database. 1,000,000: some hundred megabytes, a day at ten rows a second.
    pub max_pending: u64,
    pub time: TimeForm,
}

impl Publication {
    /// The settings that decide which changes are published, as a short text: an offset counts only these changes.
    pub fn settings(&self) -> String {
        let Publication { predicate, topic, meta_topic, format, .. } = self;
        let text = format!("{predicate:?}{topic}{meta_topic:?}{format:?}");
        format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
    }
}

/// Which changes of a row are published. At least one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Events {
    pub insert: bool,
    pub update: bool,
    pub delete: bool,
}

impl Events {
    /// In the order of [`Events::NAMES`].
    pub fn wanted(self) -> impl Iterator<Item = &'static str> {
        let flags = [self.insert, self.update, self.delete];
        Events::NAMES.into_iter().zip(flags).filter_map(|(name, is_wanted)| is_wanted.then_some(name))
    }

    /// As they stand in the configuration, in messages and in the names of triggers.
    pub const NAMES: [&'static str; 3] = ["insert", "update", "delete"];
}

/// What a payload is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishFormat {
    /// `{"data":{…},"offset":{…}}`
    Envelope,
    /// The row alone; of a deleted one nothing, which also takes a retained message away.
    Row,
    /// The output of a program on `{event, row, old, offset}`.
    Program(Arc<Program>),
}

/// How timestamps are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeForm {
    Rfc3339,
    /// Whole units since 1970, rounded down: so many make a second.
    Epoch(i64),
}
