//! A valid rule: which messages it takes, how they are parsed, and which rows they become. As in the rest of the model,
//! names are resolved and mistakes are impossible.

use std::sync::Arc;

use super::{Format, Shaping};
use crate::message::Qos;
use crate::rule::{
    Adjustments, Chooser, ColumnSource, DeclaredType, Naming, Routing, Source, Statement, TableName, TimeFormat,
    TopicPattern,
};

#[derive(Debug, Clone)]
pub struct Rule {
    /// `rule-N` (from 1) when the file gives none. Unique.
    pub name: Arc<str>,
    /// Never empty.
    pub topics: Arc<[TopicPattern]>,
    pub qos: Qos,
    /// By topic, where one says its own (`filter::1`); empty if none does.
    pub own_qos: Vec<Option<Qos>>,
    /// MQTT 5 user properties, name and value, of the SUBSCRIBE for its topics.
    pub subscribe_properties: Vec<(String, String)>,
    /// Index into [`super::Config::databases`].
    pub database: usize,
    /// Where each message names its database: the rule is there once for each, under one name.
    pub chooser: Option<Arc<Chooser>>,
    /// With `routing`, the template's text: what people know the rule's tables by. With `statement`,
    /// [`TableName::of_statement`].
    pub table: TableName,
    /// Where each message names its table.
    pub routing: Option<Arc<Routing>>,
    /// Runs once for each row, in place of an INSERT into the table. Its binds are the rule's columns.
    pub statement: Option<Arc<Statement>>,
    pub format: Format,
    pub shaping: Shaping,
    pub for_each: ForEach,
    /// How times are read where no column says it.
    pub times: Option<AutoTimes>,
    /// Rows that one message may give. 100,000: a day of readings at one a second.
    pub rows_max: usize,
    pub unmapped: Unmapped,
    pub columns: Columns,
    /// The table is made if it is missing.
    pub create: Option<Arc<Create>>,
    pub mode: Mode,
    pub retained: Retained,
    pub on_error: OnError,
    /// Messages are answered once they are committed, or refused.
    pub reply: Option<Reply>,
    /// Where the rule begins in the file, as `bridge.yaml:12:5`, for messages about live tables.
    pub position: String,
}

impl Rule {
    /// The QoS that the topic at this index is subscribed with.
    pub fn qos_of(&self, topic: usize) -> Qos {
        self.own_qos.get(topic).copied().flatten().unwrap_or(self.qos)
    }

    /// Whether it is there once more for another database, and this is not the first.
    pub fn is_copy(&self) -> bool {
        self.chooser.as_ref().is_some_and(|chooser| chooser.first != self.database)
    }

    /// The primary key that its table gets if the rule makes it; empty: none.
    pub fn new_key(&self) -> &[Arc<str>] {
        match &self.create {
            Some(create) if !create.primary_key.is_empty() => &create.primary_key,
            _ => self.mode.key().unwrap_or_default(),
        }
    }

    /// Whether `create` may be set: the form of a convention tells no types.
    pub fn may_create(&self) -> bool {
        let is_of_convention = matches!(self.routing.as_deref(), Some(Routing { naming: Naming::Convention(_), .. }))
            || self.times.is_some();
        !is_of_convention && self.statement.is_none()
    }

    /// The lowest of all its topics.
    pub fn lowest_qos(&self) -> Qos {
        (0..self.topics.len()).map(|topic| self.qos_of(topic)).min().unwrap_or(self.qos)
    }
}

#[derive(Debug, Clone)]
pub enum Columns {
    /// Payload fields by column name.
    Auto,
    /// In the order of the file. Never empty. Rules with equal columns share the list, others the columns that are equal:
    /// ten thousand rules are mostly alike.
    Named(Arc<[Arc<Column>]>),
}

impl Columns {
    /// A list that is shared with nobody yet.
    pub fn named(columns: Vec<Column>) -> Columns {
        Columns::Named(columns.into_iter().map(Arc::new).collect())
    }
}

#[derive(Debug, Clone)]
pub struct Column {
    pub name: Arc<str>,
    pub source: ColumnSource,
    /// Needed only where `create` cannot tell.
    pub declared: Option<DeclaredType>,
    /// What is done to its values.
    pub adjust: Option<Box<Adjustments>>,
    pub time: Option<TimeFormat>,
    /// Zone of times that carry none; default UTC.
    pub tz: Option<jiff::tz::TimeZone>,
    /// In place of a missing or null value.
    pub default: Option<serde_json::Value>,
    pub required: bool,
    /// Overrides the rule's.
    pub on_error: Option<OnError>,
}

impl Column {
    /// One that is filled from this, and nothing else said.
    pub fn of(name: &str, source: ColumnSource) -> Column {
        Column {
            name: Arc::from(name),
            source,
            declared: None,
            adjust: None,
            time: None,
            tz: None,
            default: None,
            required: false,
            on_error: None,
        }
    }
}

/// Over what a row is made for each element or entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ForEach {
    /// Of the payload, then of its elements: at most two paths. Without any, a payload is one row.
    Paths(Vec<Source>),
    /// Whatever the payload is: an object or an array of values is one row, an array of these several, and so are
    /// `{"data":{"columns":[…],"rows":[[…],…]}}`.
    Auto,
}

impl ForEach {
    pub const NONE: ForEach = ForEach::Paths(Vec::new());

    pub fn is_empty(&self) -> bool {
        self.depth() == 0
    }

    /// How deep elements lie in elements.
    pub fn depth(&self) -> usize {
        match self {
            ForEach::Paths(paths) => paths.len(),
            ForEach::Auto => 1,
        }
    }
}

/// How a convention's rows are read: how the times of time columns are written, and which values there must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoTimes {
    pub format: TimeFormat,
    pub zone: jiff::tz::TimeZone,
    /// An array has a value for each column that the database does not fill.
    pub needs_all_columns: bool,
}

/// What becomes of fields that no column takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Unmapped {
    Ignore,
    /// The message is refused.
    Error,
    /// They become columns of the table.
    Add,
    /// They go into this column, as a JSON object. With named columns the list has it.
    Column(String),
}

/// The parts of a new table besides its columns. Each list of columns has each column once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Create {
    /// Empty: the rule's `key`, or none.
    pub primary_key: Vec<Arc<str>>,
    /// None is empty.
    pub indexes: Vec<Vec<Arc<str>>>,
}

/// How rows go into their table. A key is the columns that tell rows apart, each once; empty: the table's primary key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A row whose key is there already is refused by the table.
    Insert,
    /// It is passed over.
    Ignore { key: Arc<[Arc<str>]> },
    /// It takes the place of the one that is there.
    Upsert { key: Arc<[Arc<str>]> },
}

impl Mode {
    /// The key that the rule names, empty if it names none; `None` where rows go by no key.
    pub fn key(&self) -> Option<&[Arc<str>]> {
        match self {
            Mode::Insert => None,
            Mode::Ignore { key } | Mode::Upsert { key } => Some(key),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retained {
    Store,
    Skip,
    /// Those that equal the message of their topic that the rule stored last are skipped.
    Changed,
}

/// The mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OnError {
    Drop,
    DeadLetter,
    Halt,
}

/// Where answers to a rule's messages go: to the topic that the message names, if it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Only to this topic and those below it.
    pub prefix: Option<Arc<str>>,
    /// The user property `reply` names the topic as well, and wins over the Response Topic.
    pub by_property: bool,
}
