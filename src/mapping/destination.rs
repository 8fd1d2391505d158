//! Tables named by messages, for a rule whose `table` is a template, or which has a convention.
//!
//! A template is compiled to a plan with one text column ([`naming`](super::naming)). If the template does not use the
//! payload, all rows of a message go to one table; otherwise each row names its own table.
//!
//! A name that occurs for the first time is a [`Want`]: the batch ends before its message, the table is looked up, and
//! the rule is compiled for it ([`Mapper::bind`](super::Mapper::bind)). If the table is missing, does not fit, or takes no
//! rows, messages that name it become dead letters of reason `no_table`. The table is looked up again after a moment.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::growth::NewColumn;
use super::naming::{compile_template, encode_name};
use super::outcome::{CompileFault, ValueFault};
use super::plan::{Memory, PayloadForm, Plan};
use super::route::Match;
use super::sharing::Parts;
use crate::config::{OnError, Rule};
use crate::message::Message;
use crate::rule::{Address, Convention, Descriptor, Form, Naming, Routing, TableName};

/// Tables that are looked up together.
pub(super) const WANTS_MAX: usize = 1_000;

/// A table that is to be looked up for a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// Index into the rules.
    pub rule: usize,
    /// The text that the template gave.
    pub text: Arc<str>,
    pub table: TableName,
    /// How the message is written, where it says so.
    pub form: Option<Form>,
    /// The columns that the table lacks; none if it only must be looked up.
    pub columns: Vec<NewColumn>,
    /// The table is not there, and is to be made of these columns.
    pub makes_table: bool,
}

/// The tables of one rule.
#[derive(Debug)]
pub(super) struct Destination {
    names: Names,
    routing: Arc<Routing>,
    on_error: OnError,
    /// By what the template gives.
    bound: HashMap<Arc<str>, Bound>,
}

/// How messages name them.
#[derive(Debug)]
enum Names {
    Plan(Box<Plan>),
    Convention(Convention),
}

/// The cached knowledge of a name.
#[derive(Debug)]
struct Bound {
    /// The plan, or why there is none.
    plan: Result<usize, ValueFault>,
    /// The batch that last took it.
    used: u64,
    /// A message has met it since it was looked up.
    is_met: bool,
    /// The table was not there, and its first payload is to make it.
    is_absent: bool,
}

/// The plans of one message's rows.
#[derive(Debug, Default)]
pub(super) struct Plans {
    /// One for each row; or one for all of them.
    pub(super) of_rows: Vec<usize>,
    pub(super) is_one: bool,
}

/// Why a message has no plans.
#[derive(Debug)]
pub(super) enum NoPlans {
    Refused(ValueFault),
    /// The tables that the message names and that are not known yet, or so many of them.
    Wanted(Vec<Want>),
}

impl From<ValueFault> for NoPlans {
    fn from(fault: ValueFault) -> NoPlans {
        NoPlans::Refused(fault)
    }
}

impl Destination {
    pub(super) fn compile(
        bridge: &str,
        rule: &Rule,
        routing: &Arc<Routing>,
        parts: &mut Parts,
    ) -> Result<Destination, Vec<CompileFault>> {
        let on_error = rule.on_error;
        let template = match &routing.naming {
            Naming::Template(template) => template,
            Naming::Convention(convention) => {
                let (names, routing) = (Names::Convention(*convention), Arc::clone(routing));
                return Ok(Destination { names, routing, on_error, bound: HashMap::new() });
            }
        };
        let names = compile_template(bridge, rule, ("table", template), true, parts)?;
        let (names, routing) = (Names::Plan(Box::new(names)), Arc::clone(routing));
        Ok(Destination { names, routing, on_error, bound: HashMap::new() })
    }

    /// Appends the plans of a message's rows to `plans`, in the order of the rows. `batch` is the number of the current
    /// batch.
    pub(super) fn plans(
        &mut self,
        rule: usize,
        message: &Message<'_>,
        matched: &Match,
        memory: &mut Memory,
        batch: u64,
        plans: &mut Plans,
    ) -> Result<(), NoPlans> {
        let Destination { names, routing, on_error, bound } = self;
        plans.of_rows.clear();
        plans.is_one = true;
        let mut wanted: Vec<Want> = Vec::new();
        let mut wanted_texts: HashSet<Arc<str>> = HashSet::new();
        let refuse = |message: String| ValueFault { reason: "no_table", column: None, message, on_error: *on_error };
        let mut look_up = |text: &str, alias: Option<&str>, table: &str, form: Option<Form>| {
            if let Some(found) = bound.get_mut(text) {
                found.used = batch;
                found.is_met = true;
                plans.of_rows.push(found.plan.clone()?);
                return Ok(());
            }
            let table = match alias.and_then(|alias| routing.aliases.get(alias)) {
                Some(table) => table.clone(),
                None => routing
                    .resolve(table)
                    .map_err(|why| refuse(format!("the table's name, which the message gives, {why}")))?,
            };
            // The others are looked for all the same: they are wanted as well, or at fault.
            if wanted.len() < WANTS_MAX && !wanted_texts.contains(text) {
                let text: Arc<str> = text.into();
                wanted_texts.insert(Arc::clone(&text));
                wanted.push(Want { rule, text, table, form, columns: Vec::new(), makes_table: false });
            }
            Ok(())
        };
        match names {
            Names::Convention(convention) if convention.is_of_queries(message.topic) => plans.is_one = false,
            Names::Convention(convention) => {
                let address = convention.address(message.topic, |name| message.properties.user(name));
                let alias = routing.aliases.contains_key(message.topic).then_some(message.topic);
                // What a user property names is no topic's alias. A topic with another name need not be one of the
                // convention's.
                let (address, alias) = match (address, alias) {
                    (Ok(address), alias) => (address.clone(), alias.filter(|_| !address.is_by_property)),
                    (Err(_), Some(topic)) => (Address::default(), Some(topic)),
                    (Err(why), None) => return Err(refuse(format!("the message {why}")).into()),
                };
                // No table's name has a NUL.
                let table = alias.map_or_else(|| address.table.clone(), |topic| format!("{topic}\0"));
                let text = match &address.form {
                    Some(form) => Descriptor { table, form: form.clone() }.to_string(),
                    None => table,
                };
                look_up(&text, alias, &address.table, address.form)?;
            }
            Names::Plan(names) => {
                let mut name = Vec::new();
                let mut read = |row: &mut super::plan::Reading<'_>| {
                    let text = encode_name(row, &mut name)?;
                    look_up(text, None, text, None)
                };
                match &names.payload {
                    PayloadForm::Staged(stages) => {
                        names.read_rows(stages, message, matched, memory, None, &mut read)?
                    }
                    _ => read(&mut names.read(message, matched, memory)?)?,
                }
                plans.is_one = !matches!(names.payload, PayloadForm::Staged(_));
            }
        }
        match wanted.is_empty() {
            true => Ok(()),
            false => Err(NoPlans::Wanted(wanted)),
        }
    }

    pub(super) fn bind(&mut self, text: &Arc<str>, plan: Result<usize, String>, is_absent: bool, batch: u64) {
        let on_error = self.on_error;
        let plan = plan.map_err(|message| ValueFault { reason: "no_table", column: None, message, on_error });
        self.bound.insert(Arc::clone(text), Bound { plan, used: batch, is_met: false, is_absent });
    }

    /// The tables of these plans take no rows.
    pub(super) fn refuse(&mut self, is_it: impl Fn(usize) -> bool, why: &str) {
        for bound in self.bound.values_mut().filter(|bound| bound.plan.as_ref().is_ok_and(|plan| is_it(*plan))) {
            let (on_error, message) = (self.on_error, why.to_owned());
            bound.plan = Err(ValueFault { reason: "no_table", column: None, message, on_error });
            bound.is_met = true;
        }
    }

    /// The text that the template gave for a plan.
    pub(super) fn text_of(&self, plan: usize) -> Option<Arc<str>> {
        self.bound.iter().find(|(_, bound)| bound.plan.as_ref() == Ok(&plan)).map(|(text, _)| Arc::clone(text))
    }

    /// Forgets the names without a plan, or without a table, so that they are looked up again. A name that no message
    /// has used yet stays. Otherwise, if the message that asked for it comes back later than such names are kept, it
    /// would ask for ever.
    pub(super) fn forget_bad(&mut self) {
        self.bound.retain(|_, bound| bound.plan.is_ok() && !bound.is_absent || !bound.is_met);
    }

    /// The plans of these rows, each once.
    pub(super) fn distinct(plans: &Plans) -> Vec<usize> {
        let mut distinct = plans.of_rows.clone();
        distinct.sort_unstable();
        distinct.dedup();
        distinct
    }

    /// The plans that it has, with the batch that last took each, and whether any message did.
    pub(super) fn uses(&self) -> impl Iterator<Item = (usize, u64, bool)> {
        self.bound.values().filter_map(|bound| bound.plan.as_ref().ok().map(|plan| (*plan, bound.used, bound.is_met)))
    }

    /// Renumbers its plans; those without a new number are forgotten.
    pub(super) fn renumber(&mut self, number: &HashMap<usize, usize>) {
        self.bound.retain(|_, bound| match &mut bound.plan {
            Ok(plan) => number.get(plan).map(|new| *plan = *new).is_some(),
            Err(_) => true,
        });
    }
}
