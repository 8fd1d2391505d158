//! The compiled rules of one database: message in, encoded rows out.

mod copies;
mod message;
mod takers;
mod writing;

use std::collections::HashMap;
use std::sync::Arc;

use self::copies::Subscriptions;
pub use self::takers::Takers;
use super::adjust::Nulled;
use super::choice::Choice;
use super::compile::compile;
use super::destination::{Destination, Plans, Want};
use super::growth::Refused;
use super::outcome::CompileFault;
use super::plan::{Memory, Plan};
use super::route::Router;
use super::served::Served;
use super::shape::Targets;
use super::sharing::{Known, Likeness, Parts};
use crate::batch::{Batch, RowEncoder, Target};
use crate::config::{Rule, rule_of_convention};
use crate::rule::{Naming, TableName};
use crate::schema::TableSchema;

const NO_PLAN: usize = usize::MAX;
/// Each message says by its table's name which plan is its.
const BY_MESSAGE: usize = usize::MAX - 1;

/// Tables that rules with a template have plans for at most, between two batches; those that were least recently used go.
/// Weighed against memory: a plan takes some kilobytes where the rule's columns are `auto`.
const BOUND_MAX: usize = 1_000;
/// How many of those that messages have used stay then.
const BOUND_KEPT: usize = 750;

/// All rules of one database, compiled against its live tables.
///
/// `R` is the sink's row encoder: values go from the payload into the sink's wire form without a tree in between.
pub struct Mapper<R: RowEncoder> {
    encoder: R,
    bridge: Box<str>,
    rules: Vec<Arc<Rule>>,
    /// The plan of each rule: an index into `plans`; [`NO_PLAN`] for one without a table, [`BY_MESSAGE`] for one with many.
    plan_of_rule: Vec<usize>,
    /// By rule: whether its messages are put aside. Empty while none is.
    parked: Vec<bool>,
    /// Rules that are skipped for the current message.
    passed_over: Vec<usize>,
    /// Those of rules with one table, then those of tables that messages named.
    plans: Vec<Plan>,
    /// How many of the first kind.
    fixed_plans: usize,
    parts: Parts,
    /// By rule; empty while no rule's messages name their database.
    choices: Vec<Option<Choice>>,
    /// By rule; empty while no rule's table is a template.
    destinations: Vec<Option<Destination>>,
    wants: Vec<Want>,
    served: Served,
    /// Columns that could not be added.
    refused: Refused,
    row_plans: Plans,
    batch_number: u64,
    /// By plan.
    targets: Targets,
    router: Router,
    subscriptions: Subscriptions,
    memory: Memory,
    /// Of the last message, by rule.
    nulled: Vec<(usize, Nulled)>,
}

impl<R: RowEncoder> Mapper<R> {
    /// As [`Mapper::compile_some`], with a table for every rule.
    pub fn compile(
        bridge: &str,
        rules: &[Arc<Rule>],
        schemas: &[Arc<TableSchema>],
        subscriptions: &HashMap<String, u32>,
        encoder: R,
    ) -> Result<Mapper<R>, Vec<CompileFault>> {
        let schemas: Vec<_> = schemas.iter().cloned().map(Some).collect();
        Mapper::compile_some(bridge, rules, &schemas, subscriptions, encoder)
    }

    /// Compiles `rules` (all of one database). `schemas` holds the live table of each rule, in the order of `rules`: a rule
    /// without one is parked, see [`Mapper::park`].
    /// `subscriptions` the MQTT 5 subscription identifier of each subscribed filter, empty when none were asked for.
    /// `bridge` is the value of the source `bridge`.
    pub fn compile_some(
        bridge: &str,
        rules: &[Arc<Rule>],
        schemas: &[Option<Arc<TableSchema>>],
        subscriptions: &HashMap<String, u32>,
        encoder: R,
    ) -> Result<Mapper<R>, Vec<CompileFault>> {
        assert_eq!(rules.len(), schemas.len(), "each rule has its live table");
        let mut faults = Vec::new();
        let (mut known, mut parts) = (Known::new(), Parts::default());
        let mut plan_of_rule = Vec::with_capacity(rules.len());
        let mut plans = Vec::new();
        let mut targets = Targets::default();
        let (mut choices, mut destinations) = (Vec::new(), Vec::new());
        for (index, (rule, schema)) in rules.iter().zip(schemas).enumerate() {
            if let Some(chooser) = &rule.chooser {
                choices.resize_with(rules.len(), || None);
                match Choice::compile(bridge, rule, chooser, &mut parts) {
                    Ok(choice) => choices[index] = Some(choice),
                    Err(more) => faults.extend(more),
                }
            }
            if let Some(routing) = &rule.routing {
                plan_of_rule.push(BY_MESSAGE);
                destinations.resize_with(rules.len(), || None);
                match Destination::compile(bridge, rule, routing, &mut parts) {
                    Ok(destination) => destinations[index] = Some(destination),
                    Err(more) => faults.extend(more),
                }
                continue;
            }
            let Some(schema) = schema else {
                plan_of_rule.push(NO_PLAN);
                continue;
            };
            let likeness = Likeness::of(rule, schema);
            if let Some(&plan) = known.get(&likeness) {
                plan_of_rule.push(plan);
                continue;
            }
            match compile(bridge, rule, schema, &encoder, &mut parts) {
                Ok((plan, columns, verb)) => {
                    targets.add_plan(schema, columns, verb);
                    known.insert(likeness, plans.len());
                    plan_of_rule.push(plans.len());
                    plans.push(plan);
                }
                Err(more) => faults.extend(more),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let router = Router::of_rules(rules);
        let subscriptions = Subscriptions::new(rules, subscriptions);
        plans.shrink_to_fit();
        let parked = match plan_of_rule.contains(&NO_PLAN) {
            true => plan_of_rule.iter().map(|plan| *plan == NO_PLAN).collect(),
            false => Vec::new(),
        };
        Ok(Mapper {
            encoder,
            bridge: bridge.into(),
            rules: rules.to_vec(),
            plan_of_rule,
            parked,
            passed_over: Vec::new(),
            fixed_plans: plans.len(),
            plans,
            parts,
            choices,
            destinations,
            wants: Vec::new(),
            served: Served::default(),
            refused: Refused::default(),
            row_plans: Plans::default(),
            batch_number: 0,
            targets,
            router,
            subscriptions,
            memory: Memory::default(),
            nulled: Vec::new(),
        })
    }

    /// Takes note of identifiers whose filters are gone: each with the first identifier that was given to a filter
    /// after it had gone. A rule whose filter was subscribed to beside such a filter has a copy of its own of every message
    /// that came through it; one whose filter came later has not, and takes the copy.
    pub fn retire(&mut self, identifiers: &[(u32, u32)]) {
        self.subscriptions.retire(identifiers);
    }

    /// The tables and columns that messages wanted since the last call; the batch ended before the first of them. Columns
    /// are not bound: with them the table is another, and the rules are to be compiled again.
    pub fn take_wants(&mut self) -> Vec<Want> {
        self.served.serve();
        std::mem::take(&mut self.wants)
    }

    /// How often wants were served, for the next mapper's [`Mapper::recall_served`].
    pub fn take_served(&mut self) -> Served {
        std::mem::take(&mut self.served)
    }

    /// Takes over what an earlier mapper counted.
    pub fn recall_served(&mut self, served: Served) {
        self.served = served.compiled_again();
    }

    pub fn has_wants(&self) -> bool {
        !self.wants.is_empty()
    }

    /// The result of a want: the live table, or why there is none. No batch may hold rows of this mapper.
    pub fn bind(&mut self, want: &Want, live: Result<Arc<TableSchema>, String>) {
        let Some(Some(destination)) = self.destinations.get_mut(want.rule) else { return };
        let rule = &self.rules[want.rule];
        let written = match rule.routing.as_ref().map(|routing| &routing.naming) {
            Some(Naming::Convention(convention)) => {
                rule_of_convention(rule, *convention, want.form.as_ref()).map(Arc::new)
            }
            _ => Ok(Arc::clone(rule)),
        };
        let is_absent = live.as_ref().is_ok_and(|schema| schema.is_absent());
        let plan = live.and_then(|schema| {
            let rule = written?;
            let compiled = compile(&self.bridge, &rule, &schema, &self.encoder, &mut self.parts);
            let (plan, columns, verb) = compiled.map_err(|faults| {
                let whys: Vec<String> = faults.into_iter().map(|fault| fault.message).collect();
                format!("table {}: {}", schema.name, whys.join("; "))
            })?;
            self.targets.drop_parts();
            self.targets.add_plan(&schema, columns, verb);
            self.plans.push(plan);
            Ok(self.plans.len() - 1)
        });
        destination.bind(&want.text, plan, is_absent, self.batch_number);
    }

    /// A column that was wanted is not added: messages with such a field are refused until [`Mapper::forget_refused`].
    pub fn refuse_column(&mut self, table: &TableName, column: &str, why: &Arc<str>) {
        self.refused.add(table, column, why);
    }

    pub fn forget_refused(&mut self) {
        self.refused.forget();
    }

    /// A table takes no rows: messages that name it are refused until [`Mapper::forget_missing`].
    pub fn refuse_table(&mut self, table: &TableName, why: &str) {
        let Mapper { destinations, targets, .. } = self;
        let is_it = |plan| targets.table(plan).name == *table;
        destinations.iter_mut().flatten().for_each(|destination| destination.refuse(is_it, why));
    }

    /// The tables of rules that are to be made of their first payload, as the rules name them.
    pub fn absent_tables(&self) -> impl Iterator<Item = &TableName> {
        let is_absent = |rule: &usize| self.table_of(*rule).is_some_and(|table| table.is_absent());
        (0..self.rules.len()).filter(is_absent).map(|rule| &self.rules[rule].table)
    }

    /// Forgets which tables were not there or took no rows, so that the next message looks again.
    pub fn forget_missing(&mut self) {
        self.destinations.iter_mut().flatten().for_each(Destination::forget_bad);
    }

    /// Forgets the tables that were least recently used, if there are too many. Those that were only just looked up stay: the
    /// messages that want them are yet to come.
    fn forget_unused(&mut self) {
        let last_batch = self.batch_number - 1;
        let is_awaited = |&(_, used, is_met): &(usize, u64, bool)| !is_met && used >= last_batch;
        let uses = self.destinations.iter().flatten().flat_map(Destination::uses);
        let (awaited, mut others): (Vec<_>, Vec<_>) = uses.partition(is_awaited);
        others.sort_by_key(|(_, used, _)| std::cmp::Reverse(*used));
        others.truncate(BOUND_KEPT);
        let bound = awaited.into_iter().chain(others).map(|(plan, ..)| plan);
        let mut kept: Vec<usize> = (0..self.fixed_plans).chain(bound).collect();
        kept[self.fixed_plans..].sort_unstable();
        let number: HashMap<usize, usize> = kept.iter().enumerate().map(|(new, old)| (*old, new)).collect();
        self.destinations.iter_mut().flatten().for_each(|destination| destination.renumber(&number));
        let mut old: Vec<Option<Plan>> = std::mem::take(&mut self.plans).into_iter().map(Some).collect();
        self.plans = kept.iter().filter_map(|plan| old[*plan].take()).collect();
        self.targets = self.targets.of_plans(&kept);
        self.parts.forget_unused();
    }

    #[cfg(test)]
    pub(super) fn plan_count(&self) -> usize {
        self.plans.len()
    }

    /// Columns and path trees, each counted once however many plans have it.
    #[cfg(test)]
    pub(super) fn part_count(&self) -> usize {
        let parts = self.plans.iter().flat_map(Plan::part_addresses);
        parts.collect::<std::collections::HashSet<_>>().len()
    }

    #[cfg(test)]
    pub(super) fn bound_count(&self) -> usize {
        self.plans.len() - self.fixed_plans
    }

    #[cfg(test)]
    pub(super) fn columns_of_targets(&self) -> Vec<Vec<usize>> {
        self.targets.columns()
    }

    /// The live table that a rule was compiled against; none for a rule whose messages name theirs.
    pub fn table_of(&self, rule: usize) -> Option<&Arc<TableSchema>> {
        self.plans.get(self.plan_of_rule[rule])?;
        Some(self.targets.table(self.plan_of_rule[rule]))
    }

    /// Where the rows of a rule go that fill all of its columns; none for a rule whose messages name their table.
    pub fn target_of(&self, rule: usize) -> Option<&Arc<Target>> {
        self.plans.get(self.plan_of_rule[rule])?;
        Some(self.targets.full(self.plan_of_rule[rule]))
    }

    /// The live tables, each once for every list of columns.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<TableSchema>> {
        self.targets.full_tables()
    }

    /// Whether the batch should end, because its rows fill too many different sets of columns.
    pub fn is_crowded(&self) -> bool {
        self.targets.is_crowded()
    }

    /// Puts the messages of a rule aside from now on ([`Outcome::Parked`]), or maps them again, which a rule without a table
    /// cannot have.
    pub fn park(&mut self, rule: usize, is_parked: bool) {
        self.parked.resize(self.plan_of_rule.len(), false);
        self.parked[rule] = is_parked || self.plan_of_rule[rule] == NO_PLAN;
    }

    /// Which rules filter the next message, if that is a retained one.
    pub fn pass_over(&mut self, rules: Vec<usize>) {
        self.passed_over = rules;
    }

    /// To be called with the cleared batch before the next one is filled. Makes room if the last one was crowded.
    pub fn begin_batch(&mut self, batch: &Batch) {
        self.targets.forget(batch);
        self.batch_number += 1;
        if self.plans.len() - self.fixed_plans > BOUND_MAX {
            assert!(batch.units.is_empty(), "no row lies in a target that goes");
            self.forget_unused();
        }
    }
}
