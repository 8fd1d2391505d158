//! The compiled rules of one database: message in, encoded rows out.

use std::collections::HashMap;
use std::sync::Arc;

use super::adjust::Nulled;
use super::compile::compile;
use super::destination::{Destination, NoPlans, Plans, Want};
use super::growth::{Growing, NO_COLUMN, Refused, add_wants};
use super::outcome::{CompileFault, NEW_COLUMNS, Outcome, ValueFault};
use super::plan::{Memory, PayloadForm, Plan, Reading};
use super::route::{Match, Router};
use super::shape::Targets;
use super::sharing::{Known, Likeness, Parts};
use crate::batch::{Batch, RowEncoder, Unit};
use crate::config::{Retained, Rule, rule_of_convention};
use crate::message::{Message, Properties, Property};
use crate::rule::{Naming, TableName};
use crate::schema::TableSchema;

const NO_PLAN: usize = usize::MAX;
/// Each message says by its table's name which plan is its.
const BY_MESSAGE: usize = usize::MAX - 1;

/// Tables that rules with a template have plans for at most, between two batches; those that were least recently used go.
/// Weighed against memory: a plan takes some kilobytes where the rule's columns are `auto`.
const BOUND_MAX: usize = 1_000;
/// How many stay then.
const BOUND_KEPT: usize = 750;
/// Tables that are looked up together.
const WANTS_MAX: usize = 1_000;

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
    /// Rules that are passed over for the message at hand.
    passed_over: Vec<usize>,
    /// Those of rules with one table, then those of tables that messages named.
    plans: Vec<Plan>,
    /// How many of the first kind.
    fixed_plans: usize,
    parts: Parts,
    /// By rule; empty while no rule's table is a template.
    destinations: Vec<Option<Destination>>,
    wants: Vec<Want>,
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
        let mut destinations = Vec::new();
        for (index, (rule, schema)) in rules.iter().zip(schemas).enumerate() {
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
            destinations,
            wants: Vec::new(),
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
        self.subscriptions.retired = identifiers.to_vec();
        self.subscriptions.retired.sort_unstable();
    }

    /// The tables and columns that messages wanted since the last call; the batch ended before the first of them. Columns
    /// are not bound: with them the table is another, and the rules are to be compiled again.
    pub fn take_wants(&mut self) -> Vec<Want> {
        std::mem::take(&mut self.wants)
    }

    pub fn has_wants(&self) -> bool {
        !self.wants.is_empty()
    }

    /// What a want came to: the live table, or why there is none. No batch may hold rows of this mapper.
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

    /// The tables of rules that are to be made of their first payload, as the rules name them.
    pub fn absent_tables(&self) -> impl Iterator<Item = &TableName> {
        let is_absent = |rule: &usize| self.table_of(*rule).is_some_and(|table| table.is_absent());
        (0..self.rules.len()).filter(is_absent).map(|rule| &self.rules[rule].table)
    }

    /// Forgets which tables were not there, so that the next message looks again.
    pub fn forget_missing(&mut self) {
        self.destinations.iter_mut().flatten().for_each(Destination::forget_bad);
    }

    /// Forgets the tables that were least recently used, if there are too many.
    fn forget_unused(&mut self) {
        let mut uses: Vec<(usize, u64)> = self.destinations.iter().flatten().flat_map(Destination::uses).collect();
        uses.sort_by_key(|(_, used)| std::cmp::Reverse(*used));
        uses.truncate(BOUND_KEPT);
        let mut kept: Vec<usize> = (0..self.fixed_plans).chain(uses.into_iter().map(|(plan, _)| plan)).collect();
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

    /// The rules that take a message by its topic, for one that can only become a dead letter.
    pub fn takers(&mut self, message: &Message<'_>) -> Vec<usize> {
        self.subscriptions.read(message.properties);
        let matches = self.router.route(message.topic).iter();
        matches.filter(|matched| self.subscriptions.take(matched)).map(|matched| matched.rule).collect()
    }

    /// Maps one message under every rule that takes it, appending a unit per written rule to `batch`, to which no other mapper
    /// has added, and the tables that a refusal rests on to those it was judged by. `outcomes` is cleared, then holds (index into `rules`, outcome) for each rule that took it. A refused
    /// message leaves the batch as it was.
    ///
    /// `false` if a table has to be looked up first ([`Mapper::take_wants`]): then the batch is as it was, and nothing else
    /// counts.
    pub fn map(&mut self, message: &Message<'_>, batch: &mut Batch, outcomes: &mut Vec<(usize, Outcome)>) -> bool {
        self.subscriptions.read(message.properties);
        self.map_under(None, message, batch, outcomes)
    }

    /// Looks which tables a message will want, so that they can be looked up together with others. `false` if there are
    /// enough.
    pub fn scan(&mut self, message: &Message<'_>) -> bool {
        if message.fault.is_some() {
            return true;
        }
        self.subscriptions.read(message.properties);
        let Mapper { router, subscriptions, destinations, memory, row_plans, wants, batch_number, .. } = self;
        let growing =
            Growing { rules: &self.rules, plans: &self.plans, targets: &self.targets, refused: &self.refused };
        for matched in router.route(message.topic) {
            let destination = destinations.get_mut(matched.rule).and_then(Option::as_mut);
            let plan = self.plan_of_rule[matched.rule];
            let is_looked_at = destination.is_some() || self.plans.get(plan).is_some_and(|plan| plan.others.is_some());
            let is_parked = self.parked.get(matched.rule) == Some(&true);
            if !is_looked_at || is_parked || !subscriptions.take(matched) {
                continue;
            }
            let found = match destination {
                Some(destination) => {
                    match destination.plans(matched.rule, message, matched, memory, *batch_number, row_plans) {
                        Ok(()) => growing.wants((message, matched), Some((destination, row_plans)), plan, memory),
                        Err(NoPlans::Wanted(want)) => Ok(vec![*want]),
                        Err(NoPlans::Refused(_)) => continue,
                    }
                }
                None => growing.wants((message, matched), None, plan, memory),
            };
            add_wants(wants, found.unwrap_or_default());
        }
        wants.len() < WANTS_MAX
    }

    /// Maps a message that was parked, under the rule that it was parked for. `outcomes` stays empty if the rule's pattern
    /// does not take it any more.
    pub fn map_parked(
        &mut self,
        rule: usize,
        message: &Message<'_>,
        batch: &mut Batch,
        outcomes: &mut Vec<(usize, Outcome)>,
    ) -> bool {
        // Which subscription brought it was settled when it was parked.
        self.subscriptions.present.clear();
        self.subscriptions.successors.clear();
        self.map_under(Some(rule), message, batch, outcomes)
    }

    /// What the last message's rows under a rule have NULL for, as `on_error: null` of a column says.
    pub fn nulled(&self, rule: usize) -> Option<&Nulled> {
        self.nulled.iter().find(|(of, _)| *of == rule).map(|(_, nulled)| nulled)
    }

    #[inline]
    fn map_under(
        &mut self,
        only: Option<usize>,
        message: &Message<'_>,
        batch: &mut Batch,
        outcomes: &mut Vec<(usize, Outcome)>,
    ) -> bool {
        outcomes.clear();
        self.nulled.clear();
        // Its topic or payload is not what the broker sent; only a dead letter can come of it.
        if message.fault.is_some() {
            return true;
        }
        let units_before = batch.units.len();
        for matched in self.router.route(message.topic) {
            if !self.subscriptions.take(matched) || only.is_some_and(|only| only != matched.rule) {
                continue;
            }
            if only.is_none() && message.retain && self.passed_over.contains(&matched.rule) {
                outcomes.push((matched.rule, Outcome::Filtered));
                continue;
            }
            if only.is_none() && self.parked.get(matched.rule) == Some(&true) {
                outcomes.push((matched.rule, Outcome::Parked));
                continue;
            }
            if message.retain && self.rules[matched.rule].retained == Retained::Skip {
                outcomes.push((matched.rule, Outcome::Filtered));
                continue;
            }
            let first_run = batch.runs.len();
            let mut writing = Writing {
                encoder: &self.encoder,
                plans: &self.plans,
                targets: &mut self.targets,
                memory: &mut self.memory,
                message,
                matched,
                batch,
                first_run,
            };
            let plan = self.plan_of_rule[matched.rule];
            let mut written = match plan {
                BY_MESSAGE => {
                    let destination = self.destinations[matched.rule].as_mut().expect("it is compiled");
                    match writing.by_message(destination, self.batch_number, &mut self.row_plans) {
                        Ok(()) => Ok(()),
                        Err(NoPlans::Refused(fault)) => Err(fault),
                        Err(NoPlans::Wanted(want)) => {
                            add_wants(&mut self.wants, vec![*want]);
                            batch.truncate_units(units_before);
                            batch.truncate_runs(first_run.min(batch.runs.len()));
                            outcomes.clear();
                            return false;
                        }
                    }
                }
                plan => writing.rows(plan, None),
            };
            if written.as_ref().is_err_and(|fault| fault.reason == NEW_COLUMNS) {
                batch.truncate_runs(first_run.min(batch.runs.len()));
                let growing =
                    Growing { rules: &self.rules, plans: &self.plans, targets: &self.targets, refused: &self.refused };
                let destination = self.destinations.get(matched.rule).and_then(Option::as_ref);
                let destination = destination.map(|destination| (destination, &self.row_plans));
                match growing.wants((message, matched), destination, plan, &mut self.memory) {
                    // A program gave another value this time.
                    Ok(wants) if wants.is_empty() => {
                        let message = "its fields could not be told twice".to_owned();
                        written = written.map_err(|fault| ValueFault { reason: NO_COLUMN, message, ..fault });
                    }
                    Ok(wants) => {
                        add_wants(&mut self.wants, wants);
                        batch.truncate_units(units_before);
                        outcomes.clear();
                        return false;
                    }
                    Err(fault) => written = Err(fault),
                }
            }
            let nulled = self.memory.take_nulled();
            let outcome = match written {
                Ok(()) if batch.runs.len() == first_run => Outcome::Filtered,
                Ok(()) => {
                    let runs = first_run..batch.runs.len();
                    batch.units.push(Unit { rule: matched.rule, seq: message.seq, runs });
                    self.nulled.extend(nulled.map(|nulled| (matched.rule, nulled)));
                    Outcome::Written
                }
                Err(fault) => {
                    batch.truncate_runs(first_run);
                    if fault.rests_on_table() {
                        match self.plan_of_rule[matched.rule] {
                            BY_MESSAGE => Destination::distinct(&self.row_plans)
                                .into_iter()
                                .for_each(|plan| batch.judge(self.targets.table(plan))),
                            plan => batch.judge(self.targets.table(plan)),
                        }
                    }
                    Outcome::Refused(fault)
                }
            };
            outcomes.push((matched.rule, outcome));
        }
        true
    }
}

/// The rows of one message under one rule, on their way into a batch.
struct Writing<'w, 'm, R> {
    encoder: &'w R,
    plans: &'w [Plan],
    targets: &'w mut Targets,
    memory: &'w mut Memory,
    message: &'w Message<'m>,
    matched: &'w Match,
    batch: &'w mut Batch,
    /// Where the unit's runs begin.
    first_run: usize,
}

impl<R: RowEncoder> Writing<'_, '_, R> {
    /// Adds the rows of a plan; of `only`, which names a plan for each row, those that are its.
    #[inline(always)]
    fn rows(&mut self, plan: usize, only: Option<&[usize]>) -> Result<(), ValueFault> {
        let Writing { encoder, plans, targets, memory, message, matched, batch, first_run } = self;
        let mut write = |reading: &mut Reading<'_>| {
            let portion = batch.open(targets.of(plan, reading.left_out()));
            let rows = &mut batch.portions[portion];
            let start = rows.bytes.len();
            let encoded = reading.encode(*encoder, &mut rows.bytes);
            match &encoded {
                Ok(()) => batch.add_row(portion, *first_run, matched.rule),
                Err(_) => rows.bytes.truncate(start),
            }
            encoded
        };
        match &plans[plan].payload {
            PayloadForm::Staged(stages) => {
                let only = only.map(|only| (only, plan));
                plans[plan].read_rows(stages, message, matched, memory, only, &mut write)
            }
            _ => {
                // By reference, here and in the journal's reader: moving a struct of small parts makes whoever reads it wait.
                let mut read = plans[plan].read(message, matched, memory);
                match &mut read {
                    Ok(reading) => write(reading),
                    Err(fault) => Err(fault.clone()),
                }
            }
        }
    }

    /// Adds the rows of the plans that the message asks for, table by table where each row names its own.
    fn by_message(
        &mut self,
        destination: &mut Destination,
        batch_number: u64,
        plans: &mut Plans,
    ) -> Result<(), NoPlans> {
        destination.plans(self.matched.rule, self.message, self.matched, self.memory, batch_number, plans)?;
        if plans.is_one {
            return Ok(self.rows(plans.of_rows[0], None)?);
        }
        let mut done: Vec<usize> = Vec::new();
        for plan in &plans.of_rows {
            if !done.contains(plan) {
                done.push(*plan);
                self.rows(*plan, Some(&plans.of_rows))?;
            }
        }
        Ok(())
    }
}

/// MQTT 5 subscription identifiers: a broker may send a message once per overlapping subscription, each copy with its
/// own identifier; a rule takes the copy of its own filter and leaves the others.
#[derive(Debug)]
struct Subscriptions {
    /// By rule and pattern; `None` where the filter was not subscribed to by itself. Empty if no identifiers are used.
    ids: Vec<Box<[Option<u32>]>>,
    /// Sorted. Others are ignored: they may be of filters that an earlier configuration left in the session.
    known: Vec<u32>,
    /// See [`Mapper::retire`]; sorted.
    retired: Vec<(u32, u32)>,
    /// Those of the message at hand.
    present: Vec<u32>,
    /// Those of filters that are gone: for each, the first identifier that was given after.
    successors: Vec<u32>,
}

impl Subscriptions {
    fn new(rules: &[Arc<Rule>], by_filter: &HashMap<String, u32>) -> Subscriptions {
        let id = |filter: &str| by_filter.get(filter).copied();
        let ids = match by_filter.is_empty() {
            true => Vec::new(),
            false => rules.iter().map(|rule| rule.topics.iter().map(|topic| id(topic.filter())).collect()).collect(),
        };
        let mut known: Vec<u32> = by_filter.values().copied().collect();
        known.sort_unstable();
        Subscriptions { ids, known, retired: Vec::new(), present: Vec::new(), successors: Vec::new() }
    }

    /// Remembers the identifiers of a message.
    fn read(&mut self, properties: Properties<'_>) {
        self.present.clear();
        self.successors.clear();
        if self.known.is_empty() {
            return;
        }
        for property in properties.iter() {
            let Property::SubscriptionId(id) = property else { continue };
            if self.known.binary_search(&id).is_ok() {
                self.present.push(id);
            } else if let Ok(at) = self.retired.binary_search_by_key(&id, |retired| retired.0) {
                self.successors.push(self.retired[at].1);
            }
        }
    }

    /// Whether a rule takes the message that was read.
    fn take(&self, matched: &Match) -> bool {
        // Most messages carry none: no look at the rule is needed then.
        (self.present.is_empty() && self.successors.is_empty())
            || self.ids[matched.rule][matched.pattern]
                .is_none_or(|id| self.present.contains(&id) || self.successors.iter().any(|successor| id >= *successor))
    }
}
