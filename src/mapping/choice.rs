//! Databases named by messages, for a rule whose `database` is a template, or whose convention names the database.
//!
//! Each database maps every message separately and decides only whether the message is its own. The decision does not
//! use the payload, so all databases decide alike: a payload that one database cannot parse does not become another
//! one's message. A message that names no known database is a dead letter in the first database only.

use std::sync::Arc;

use super::naming::{compile_template, read_name};
use super::outcome::{CompileFault, ValueFault};
use super::plan::{Memory, Plan};
use super::route::Match;
use super::sharing::Parts;
use crate::config::{OnError, Rule};
use crate::message::Message;
use crate::rule::{Chooser, DatabaseNaming};

/// The dead letter's reason of a message that names no database.
const NO_DATABASE: &str = "no_database";

/// What a message means to the rule in this database.
#[derive(Debug)]
pub(super) enum Chosen {
    Ours,
    /// It goes to another one, or its dead letter does.
    Others,
    /// It names none, which is this database's affair.
    Nobodys(ValueFault),
}

/// The chooser of a rule, compiled.
#[derive(Debug)]
pub(super) struct Choice {
    chooser: Arc<Chooser>,
    /// Of the database's template.
    names: Option<Plan>,
    /// Of the table's, where aliases of it name databases.
    table: Option<Plan>,
    own: usize,
    on_error: OnError,
    name: Vec<u8>,
}

impl Choice {
    pub(super) fn compile(
        bridge: &str,
        rule: &Rule,
        chooser: &Arc<Chooser>,
        parts: &mut Parts,
    ) -> Result<Choice, Vec<CompileFault>> {
        let mut plan = |what: &str, template| compile_template(bridge, rule, (what, template), false, parts);
        let names = match &chooser.naming {
            DatabaseNaming::Template(template) => Some(plan("database", template)?),
            DatabaseNaming::Convention(_) => None,
        };
        let table = chooser.table.as_ref().map(|template| plan("table", template)).transpose()?;
        let (own, on_error) = (rule.database, rule.on_error);
        Ok(Choice { chooser: Arc::clone(chooser), names, table, own, on_error, name: Vec::new() })
    }

    pub(super) fn is_first(&self) -> bool {
        self.own == self.chooser.first
    }

    pub(super) fn choose(&mut self, message: &Message<'_>, matched: &Match, memory: &mut Memory) -> Chosen {
        match self.database(message, matched, memory) {
            Ok(database) if database == self.own => Chosen::Ours,
            Err(why) if self.is_first() => Chosen::Nobodys(self.fault(why)),
            Ok(_) | Err(_) => Chosen::Others,
        }
    }

    /// Of a message that goes to another database, where it lies in this one already.
    pub(super) fn strayed(&self) -> ValueFault {
        let why = "is another database, and a letter in this database cannot go into another one: publish the message \
                   again";
        // It is kept, whatever the rule does with messages that come.
        ValueFault { on_error: OnError::DeadLetter, ..self.fault(why.to_owned()) }
    }

    /// The database that a message is for, or why there is none.
    fn database(&mut self, message: &Message<'_>, matched: &Match, memory: &mut Memory) -> Result<usize, String> {
        let Choice { chooser, names, table, name, .. } = self;
        if !chooser.aliases.is_empty() {
            let text = match (table, &chooser.naming) {
                (Some(plan), _) => read_name(plan, message, matched, memory, name).ok(),
                (None, DatabaseNaming::Convention(convention)) => {
                    let is_known = |name: &str| chooser.databases.contains_key(name);
                    let named = convention.database_by_property(|name| message.properties.user(name), is_known)?;
                    named.is_none().then_some(message.topic)
                }
                (None, DatabaseNaming::Template(_)) => Some(message.topic),
            };
            if let Some(database) = text.and_then(|text| chooser.aliases.get(text)) {
                return Ok(*database);
            }
        }
        let is_not_there = || "is not one of those under `databases`".to_owned();
        match (names, &chooser.naming) {
            (Some(plan), _) => {
                let text = read_name(plan, message, matched, memory, name)
                    .map_err(|fault| format!("has a part that is not there: {}", fault.message))?;
                chooser.databases.get(text).copied().ok_or_else(is_not_there)
            }
            (None, DatabaseNaming::Convention(convention)) => {
                let is_known = |name: &str| chooser.databases.contains_key(name);
                let text = convention.database(message.topic, |name| message.properties.user(name), is_known)?;
                chooser.databases.get(text).copied().ok_or_else(is_not_there)
            }
            (None, DatabaseNaming::Template(_)) => unreachable!("a template is compiled"),
        }
    }

    #[cold]
    fn fault(&self, why: String) -> ValueFault {
        ValueFault {
            reason: NO_DATABASE,
            column: None,
            message: format!("the database's name, which the message gives, {why}"),
            on_error: self.on_error,
        }
    }
}
