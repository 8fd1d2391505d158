//! `rowbridge explain`: the outcome of one message under every rule, and why. `rowbridge test` uses the same code.
//!
//! A message is mapped by the daemon's own plans, compiled with an encoder that shows what the sink's own would write
//! ([`shown`]). Tables are the live ones, read without changing anything, or assumed from the rules ([`tables`]).

mod adjusted;
mod fields;
mod json;
mod plans;
mod routes;
mod shown;
mod tables;
mod unfit;

use std::sync::Arc;

pub use self::tables::Tables;
pub use self::unfit::unfit;
use crate::config::{Config, Database, DatabaseUrl, Unmatched};
use crate::message::{Fault, Message};
use crate::mqtt::publishing::packet_bytes;
use crate::schema::ColumnType;
use crate::sink::{Held, PostgresEncoder, SqliteEncoder};

/// What becomes of a message.
#[derive(Debug)]
pub struct Explanation {
    pub topic: String,
    /// In the order of the configuration.
    pub rules: Vec<RuleView>,
    /// What the configuration says of messages that no rule takes.
    pub unmatched: Unmatched,
    /// Where types come from, by database.
    pub databases: Vec<TypesOf>,
}

/// Where the types of a database's tables come from.
#[derive(Debug)]
pub struct TypesOf {
    pub database: Arc<str>,
    /// From live tables; otherwise they are assumed from the rules.
    pub are_live: bool,
    /// Why the database could not be asked.
    pub unreachable: Option<String>,
}

/// A message under one rule.
#[derive(Debug)]
pub struct RuleView {
    pub rule: Arc<str>,
    /// Where it stands in the configuration.
    pub position: String,
    pub database: Arc<str>,
    pub verdict: Verdict,
}

#[derive(Debug)]
pub enum Verdict {
    /// Why the rule does not take it, in a sentence.
    NotTaken(String),
    Taken(Box<Taken>),
}

/// The result of a rule for a message that it takes.
#[derive(Debug)]
pub struct Taken {
    pub pattern: String,
    /// By name, in the order of the pattern.
    pub captures: Vec<(String, String)>,
    /// The topic filter by which the message comes, if it is not the rule's own.
    pub comes_by: Option<String>,
    pub fate: Fate,
    /// Empty unless it is written.
    pub rows: Vec<Row>,
    /// Why it is not written.
    pub error: Option<RowError>,
    /// Further errors of the message.
    pub other_errors: Vec<RowError>,
    /// Of a message that is not written because of some columns: what the others would hold.
    pub other_values: Vec<ShownValue>,
    /// What else there is to know.
    pub note: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Written,
    Filtered,
    DeadLettered,
    Dropped,
    /// The database is held until a person acts (`on_error: halt`).
    Halted,
}

/// A row as the sink would write it.
#[derive(Debug)]
pub struct Row {
    pub database: Arc<str>,
    pub table: String,
    /// In the table's order.
    pub values: Vec<ShownValue>,
    /// Columns that are left to the database's default.
    pub left_out: Vec<String>,
    /// One statement, with literals.
    pub sql: String,
}

/// One column of a row.
#[derive(Debug)]
pub struct ShownValue {
    pub column: String,
    pub column_type: ColumnType,
    /// As the database writes it.
    pub type_name: String,
    /// The column's type is unknown: it was assumed to hold the value unchanged.
    pub is_assumed: bool,
    /// The source, as the configuration writes it.
    pub from: String,
    pub held: Held,
    /// The original value of the message, if adjustments of the column changed it.
    pub given: Option<Given>,
}

/// A value before it was adjusted.
#[derive(Debug)]
pub struct Given {
    /// As JSON.
    pub json: String,
    /// The adjustments, as the configuration names them.
    pub by: Vec<&'static str>,
    /// Why it does not fit and became NULL (`on_error: null`).
    pub nulled: Option<String>,
}

/// Why a message gives no row: what its dead letter says.
#[derive(Debug)]
pub struct RowError {
    pub reason: String,
    pub column: Option<String>,
    pub message: String,
}

impl Fate {
    /// As the contract has it.
    pub fn word(self) -> &'static str {
        match self {
            Fate::Written => "written",
            Fate::Filtered => "filtered",
            Fate::DeadLettered => "dead_lettered",
            Fate::Dropped => "dropped",
            Fate::Halted => "halted",
        }
    }
}

/// Maps a message under every rule. `tables` has an entry for each database of the configuration.
pub fn explain(config: &Config, tables: &[Tables], message: &Message<'_>) -> Explanation {
    let mut views: Vec<Option<RuleView>> = config.rules.iter().map(|_| None).collect();
    for (index, database) in config.databases.iter().enumerate() {
        let mapped = match &database.url {
            DatabaseUrl::Sqlite(_) => plans::map(config, index, &tables[index], SqliteEncoder, message),
            DatabaseUrl::Postgres(_) => plans::map(config, index, &tables[index], PostgresEncoder, message),
        };
        for (rule, view) in mapped {
            views[rule] = Some(view);
        }
    }
    routes::add_filters(config, &mut views);
    let mut views = of_chosen_databases(config, views);
    if packet_bytes(config.mqtt.version, message) > config.mqtt.max_packet_size as usize {
        views.iter_mut().for_each(refuse_for_size);
    }
    Explanation {
        topic: message.topic.to_owned(),
        rules: views,
        unmatched: config.unmatched,
        databases: config.databases.iter().zip(tables).map(types_of).collect(),
    }
}

/// The payload of such a message is not even kept, whatever the rule does with messages that do not fit.
fn refuse_for_size(view: &mut RuleView) {
    let Verdict::Taken(taken) = &mut view.verdict else { return };
    let (reason, message) = Fault::TooLarge.reason();
    taken.fate = Fate::DeadLettered;
    taken.rows.clear();
    taken.error = Some(RowError { reason: reason.to_owned(), column: None, message: message.to_owned() });
    taken.other_errors.clear();
    taken.other_values.clear();
    taken.note = None;
}

/// Of a rule that is there for several databases, the view of the one that the message names.
fn of_chosen_databases(config: &Config, views: Vec<Option<RuleView>>) -> Vec<RuleView> {
    let mut chosen: Vec<RuleView> = Vec::with_capacity(views.len());
    for (rule, view) in config.rules.iter().zip(views) {
        let Some(view) = view else { continue };
        match chosen.last_mut() {
            Some(first) if rule.is_copy() => {
                if matches!(view.verdict, Verdict::Taken(_)) {
                    *first = view;
                }
            }
            _ => chosen.push(view),
        }
    }
    chosen
}

fn types_of((database, tables): (&Database, &Tables)) -> TypesOf {
    let unreachable = tables.unreachable.clone();
    TypesOf { database: Arc::clone(&database.name), are_live: tables.are_live(), unreachable }
}
