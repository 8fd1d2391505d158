//! Fields that become columns: `unmapped: add`, and the first payload of a missing table, which determines all of its
//! columns (`create: true` with `columns: auto`).
//!
//! | value | column |
//! |---|---|
//! | whole number that 64 bits hold | bigint |
//! | any other number | decimal without limits: every digit is kept, and every later number fits |
//! | true, false | bool |
//! | string | text |
//! | object, array | json |
//! | bytes | bytes |
//! | null | none until a later value that is not null |
//!
//! A column has exactly its field's name, so every later lookup by name finds it. If a field cannot be a column's name,
//! or the table has too many columns, the message is a dead letter of reason [`NO_COLUMN`].
//!
//! A row with such fields ends the batch ([`NEW_COLUMNS`](super::outcome::NEW_COLUMNS)). The new columns of the whole
//! message are then collected, together with those of the next messages, and the message is mapped again once the table
//! has them.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::destination::{Destination, Plans, Want};
use super::outcome::ValueFault;
use super::payload::Document;
use super::plan::{Memory, Plan};
use super::rest::{Field, Rest};
use super::route::Match;
use super::shape::Targets;
use super::value::Value;
use crate::config::Rule;
use crate::message::Message;
use crate::rule::{DeclaredType, IDENTIFIER_BYTES_MAX, TableName};

/// Columns that a table may have for more to be added. Postgres holds 1,600 and SQLite 2,000, but a row of Postgres must fit a
/// page of 8 KiB, where 500 numbers take half of it, and names beyond that are mostly values in the wrong place.
pub const COLUMNS_MAX: usize = 500;

/// A dead letter's reason.
pub(super) const NO_COLUMN: &str = "no_column";

/// Of a name that cannot be a column's, so much is shown.
const SHOWN_CHARS_MAX: usize = 40;

/// A column that a payload tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewColumn {
    pub name: Box<str>,
    pub declared: DeclaredType,
}

/// How a plan's table may grow.
#[derive(Debug)]
pub(super) struct Growth {
    pub(super) rest: Rest,
    /// The table is not there.
    pub(super) is_absent: bool,
    /// Columns of the table, each with why a field of this name cannot become or fill it.
    pub(super) closed: Box<[(String, &'static str)]>,
    /// So many more it may have.
    pub(super) room: usize,
    /// A column that a new table has whatever the payload says.
    pub(super) extra: Option<NewColumn>,
    /// Columns that a new table must have, each with what it is needed for.
    pub(super) needed: Box<[(Arc<str>, &'static str)]>,
    pub(super) folds_case: bool,
    pub(super) reserved: &'static [&'static str],
}

/// Columns that the database did not add when it was asked, and why.
#[derive(Debug, Default)]
pub(super) struct Refused(HashMap<(TableName, Box<str>), Arc<str>>);

impl Refused {
    pub(super) fn add(&mut self, table: &TableName, column: &str, why: &Arc<str>) {
        self.0.insert((table.clone(), column.into()), Arc::clone(why));
    }

    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// Why the first of these is not added.
    pub(super) fn why(&self, table: &TableName, columns: &[NewColumn]) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        columns.iter().find_map(|NewColumn { name, .. }| {
            let why = self.0.get(&(table.clone(), name.clone()))?;
            Some(format!("field `{name}` gets no column: {why}"))
        })
    }
}

/// Adds what is not among them yet.
pub(super) fn add_wants(wants: &mut Vec<Want>, more: Vec<Want>) {
    for want in more {
        if !wants.contains(&want) {
            wants.push(want);
        }
    }
}

/// The state needed to determine the columns that a message needs.
pub(super) struct Growing<'g> {
    pub(super) rules: &'g [Arc<Rule>],
    pub(super) plans: &'g [Plan],
    pub(super) targets: &'g Targets,
    pub(super) refused: &'g Refused,
}

impl Growing<'_> {
    /// The columns that a message wants, of `plan` or, with `destination`, of the plans of its rows.
    #[cold]
    pub(super) fn wants(
        &self,
        (message, matched): (&Message<'_>, &Match),
        destination: Option<(&Destination, &Plans)>,
        plan: usize,
        memory: &mut Memory,
    ) -> Result<Vec<Want>, ValueFault> {
        let plans = match destination {
            None => vec![plan],
            Some((_, plans)) => Destination::distinct(plans),
        };
        let mut wants = Vec::new();
        for plan in plans {
            let is_its = |row: usize| match destination {
                Some((_, plans)) if !plans.is_one => plans.of_rows.get(row) == Some(&plan),
                _ => true,
            };
            let columns: Vec<NewColumn> = self.plans[plan].new_columns(message, matched, memory, is_its)?;
            if columns.is_empty() {
                continue;
            }
            let live = self.targets.table(plan);
            let (text, table) = match destination {
                None => ("".into(), self.rules[matched.rule].table.clone()),
                Some((destination, _)) => (destination.text_of(plan).unwrap_or_default(), live.name.clone()),
            };
            if let Some(why) = self.refused.why(&table, &columns) {
                return Err(self.plans[plan].no_column(why));
            }
            let makes_table = live.is_absent();
            wants.push(Want { rule: matched.rule, text, table, form: None, columns, makes_table });
        }
        Ok(wants)
    }
}

impl Growth {
    /// Whether a row has fields that are to become columns, or may have.
    pub(super) fn is_due(&self, document: &Document<'_>) -> bool {
        let mut is_due = self.is_absent;
        let twins = OnceCell::new();
        if !is_due {
            self.rest.each_of_all(document, &mut |field| {
                is_due = !self.rest.takes_exactly(field.name)
                    && document.value(range(field)).is_some()
                    && (!self.rest.takes_folded(field.name) || self.has_twin(&twins, document, field.name));
                !is_due
            });
        }
        is_due
    }

    /// Adds the columns that a row's fields are to become. The error says why one cannot.
    pub(super) fn gather(&self, document: &Document<'_>, columns: &mut Vec<NewColumn>) -> Result<(), String> {
        if self.is_absent && !self.rest.has_object(document) {
            return Err(
                "the table is not there yet, and its columns are to be those of the first payload: only the fields of \
                        an object name columns, an array or a lone value does not; make the table, or name the columns"
                    .to_owned(),
            );
        }
        // Of equal keys the last one counts.
        let first = columns.len();
        let twins = OnceCell::new();
        let mut fault = None;
        self.rest.each_of_all(document, &mut |field| {
            let (name, rest) = (field.name, &self.rest);
            if rest.takes_exactly(name) || (rest.takes_folded(name) && !self.has_twin(&twins, document, name)) {
                return true;
            }
            let Some(value) = document.value(range(field)) else { return true };
            // As in a later message, it goes to the column that an earlier row makes.
            let is_other_case = |known: &NewColumn| *known.name != *name && known.name.eq_ignore_ascii_case(name);
            if columns[..first].iter().any(is_other_case) && !self.has_twin(&twins, document, name) {
                return true;
            }
            if let Some(why) = self.objection(name, columns) {
                fault = Some(format!("field `{}` cannot become a column: {why}", shown(name)));
                return false;
            }
            let declared = type_of(&value);
            match columns.iter().position(|known| *known.name == *name) {
                Some(known) if known >= first => columns[known].declared = declared,
                Some(_) => {}
                None => columns.push(NewColumn { name: name.into(), declared }),
            }
            // More than there is room for, whatever the extra column takes: each further one would be compared with all.
            if columns.len() > self.room + 2 {
                fault = Some(too_many());
            }
            fault.is_none()
        });
        fault.map_or(Ok(()), Err)
    }

    /// What the message as a whole wants. The error says why it cannot be.
    pub(super) fn settle(&self, mut columns: Vec<NewColumn>) -> Result<Vec<NewColumn>, String> {
        if self.is_absent {
            if columns.is_empty() {
                return Err(
                    "the table is not there yet, and no field of the payload has a value that tells a column".into()
                );
            }
            if let Some(extra) = &self.extra {
                // A field of this name goes into it with the others.
                columns.retain(|column| !self.is_same(&column.name, &extra.name));
                columns.push(extra.clone());
            }
            let is_there = |name: &str| columns.iter().any(|column| self.is_same(&column.name, name));
            if let Some((missing, what)) = self.needed.iter().find(|(name, _)| !is_there(name)) {
                return Err(format!(
                    "the table is not there yet, and the payload has no value for `{missing}`, which is part of {what}"
                ));
            }
        }
        if columns.len() > self.room {
            return Err(too_many());
        }
        Ok(columns)
    }

    fn is_same(&self, one: &str, other: &str) -> bool {
        one == other || self.folds_case && one.eq_ignore_ascii_case(other)
    }

    /// Why a field cannot name a column beside these.
    fn objection(&self, name: &str, columns: &[NewColumn]) -> Option<&'static str> {
        let is_other = |known: &str| known != name && self.is_same(known, name);
        Some(match () {
            () if name.is_empty() => "its name is empty",
            () if name.len() > IDENTIFIER_BYTES_MAX => "its name is longer than 63 bytes",
            () if name.chars().any(char::is_control) => "its name has a control character",
            () if self.reserved.iter().any(|reserved| self.is_same(reserved, name)) => {
                "the database has a column of its own under this name; name the field in `columns` as the source of a column \
                 with another name"
            }
            () if columns.iter().any(|column| is_other(&column.name))
                || self.folds_case && self.rest.takes_folded(name) =>
            {
                "another field has the same name in another case, and this database does not distinguish them"
            }
            () => return self.closed_to(name),
        })
    }

    /// Why no column of the table takes a field.
    fn closed_to(&self, name: &str) -> Option<&'static str> {
        if let Some((_, why)) = self.closed.iter().find(|(closed, _)| self.is_same(closed, name)) {
            return Some(why);
        }
        let is_taken = self.folds_case && self.rest.taken.iter().any(|taken| taken.eq_ignore_ascii_case(name));
        is_taken.then_some(
            "the rule takes a field of this name in another case, and this database does not distinguish them; name the field \
             in `columns` as the source of a column with another name",
        )
    }

    /// Whether another field has a name that differs only in case: a column takes only one of them.
    fn has_twin(&self, twins: &OnceCell<Twins>, document: &Document<'_>, name: &str) -> bool {
        twins.get_or_init(|| Twins::of(&self.rest, document)).0.contains(&name.to_ascii_lowercase())
    }
}

/// Names in small letters that fields of an object have in several spellings.
struct Twins(HashSet<String>);

impl Twins {
    fn of(rest: &Rest, document: &Document<'_>) -> Twins {
        let mut spellings: HashMap<String, Box<str>> = HashMap::new();
        let mut twins = HashSet::new();
        rest.each_of_all(document, &mut |field| {
            let folded = field.name.to_ascii_lowercase();
            match spellings.get(&folded) {
                Some(known) if **known == *field.name => {}
                Some(_) => drop(twins.insert(folded)),
                None => drop(spellings.insert(folded, field.name.into())),
            }
            true
        });
        Twins(twins)
    }
}

fn too_many() -> String {
    format!(
        "the table would have more than {COLUMNS_MAX} columns, and no more are added: name the fields that are wanted in \
         `columns`, or let a json column take the rest (`unmapped: COLUMN`)"
    )
}

fn range(field: &Field<'_>) -> (u32, u32) {
    // A payload's positions fit 32 bits.
    (field.range.start as u32, field.range.end as u32)
}

/// The table at the head of this file.
fn type_of(value: &Value<'_>) -> DeclaredType {
    match value {
        Value::Bool(_) => DeclaredType::Bool,
        Value::Int(_) => DeclaredType::Bigint,
        Value::Number(text) if text.parse::<i64>().is_ok() => DeclaredType::Bigint,
        Value::Number(_) => DeclaredType::Decimal(None),
        Value::Double(_) => DeclaredType::Double,
        Value::Text(_) | Value::JsonString(_) => DeclaredType::Text,
        Value::Tree(_) => DeclaredType::Json,
        Value::Bytes(_) => DeclaredType::Bytes,
        Value::Instant(_) => DeclaredType::Timestamptz,
    }
}

/// A name for a message, however odd.
pub(super) fn shown(name: &str) -> String {
    let mut shown: String = name.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect();
    if name.chars().count() > SHOWN_CHARS_MAX {
        shown.push('…');
    }
    shown
}
