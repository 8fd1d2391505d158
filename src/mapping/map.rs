//! The compiled rules of one database: message in, encoded rows out.

use std::collections::HashMap;
use std::sync::Arc;

use super::compile::compile;
use super::outcome::{CompileFault, Outcome};
use super::plan::{Memory, PayloadForm, Plan, Reading};
use super::route::{Match, Router};
use super::shape::Targets;
use super::sharing::{Known, Likeness, Parts};
use crate::batch::{Batch, RowEncoder, Unit, Verb};
use crate::config::Rule;
use crate::message::{Message, Properties, Property};
use crate::schema::TableSchema;

const NO_PLAN: usize = usize::MAX;

/// All rules of one database, compiled against its live tables.
///
/// `R` is the sink's row encoder: values go from the payload into the sink's wire form without a tree in between.
pub struct Mapper<R: RowEncoder> {
    encoder: R,
    /// The plan of each rule: an index into `plans`; [`NO_PLAN`] for one without a table.
    plan_of_rule: Vec<usize>,
    /// By rule: whether its messages are put aside. Empty while none is.
    parked: Vec<bool>,
    plans: Vec<Plan>,
    /// By plan.
    targets: Targets,
    router: Router,
    subscriptions: Subscriptions,
    memory: Memory,
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
        for (rule, schema) in rules.iter().zip(schemas) {
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
                Ok((plan, columns)) => {
                    targets.add_plan(schema, columns, Verb::Insert);
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
        Ok(Mapper { encoder, plan_of_rule, parked, plans, targets, router, subscriptions, memory: Memory::default() })
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
    pub(super) fn columns_of_targets(&self) -> Vec<Vec<usize>> {
        self.targets.columns()
    }

    /// The live table that a rule was compiled against.
    pub fn table_of(&self, rule: usize) -> &Arc<TableSchema> {
        self.targets.table(self.plan_of_rule[rule])
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

    /// To be called with the cleared batch before the next one is filled. Makes room if the last one was crowded.
    pub fn begin_batch(&mut self, batch: &Batch) {
        self.targets.forget(batch);
    }

    /// The rules that take a message by its topic, for one that can only become a dead letter.
    pub fn takers(&mut self, message: &Message<'_>) -> Vec<usize> {
        self.subscriptions.read(message.properties);
        let matches = self.router.route(message.topic).iter();
        matches.filter(|matched| self.subscriptions.take(matched)).map(|matched| matched.rule).collect()
    }

    /// Maps one message under every rule that takes it, appending a unit per written rule to `batch`, to which no other mapper
    /// has added. `outcomes` is cleared, then holds (index into `rules`, outcome) for each rule that took it. A refused
    /// message leaves the batch as it was.
    pub fn map(&mut self, message: &Message<'_>, batch: &mut Batch, outcomes: &mut Vec<(usize, Outcome)>) {
        self.subscriptions.read(message.properties);
        self.map_under(None, message, batch, outcomes);
    }

    /// Maps a message that was parked, under the rule that it was parked for. `outcomes` stays empty if the rule's pattern
    /// does not take it any more.
    pub fn map_parked(
        &mut self,
        rule: usize,
        message: &Message<'_>,
        batch: &mut Batch,
        outcomes: &mut Vec<(usize, Outcome)>,
    ) {
        // Which subscription brought it was settled when it was parked.
        self.subscriptions.present.clear();
        self.map_under(Some(rule), message, batch, outcomes);
    }

    #[inline]
    fn map_under(
        &mut self,
        only: Option<usize>,
        message: &Message<'_>,
        batch: &mut Batch,
        outcomes: &mut Vec<(usize, Outcome)>,
    ) {
        outcomes.clear();
        // Its topic or payload is not what the broker sent; only a dead letter can come of it.
        if message.fault.is_some() {
            return;
        }
        for matched in self.router.route(message.topic) {
            if !self.subscriptions.take(matched) || only.is_some_and(|only| only != matched.rule) {
                continue;
            }
            if only.is_none() && self.parked.get(matched.rule) == Some(&true) {
                outcomes.push((matched.rule, Outcome::Parked));
                continue;
            }
            let plan_index = self.plan_of_rule[matched.rule];
            let plan = &self.plans[plan_index];
            if plan.skips_retained && message.retain {
                outcomes.push((matched.rule, Outcome::Filtered));
                continue;
            }
            let first_run = batch.runs.len();
            let mut write = |targets: &mut Targets, reading: &mut Reading<'_>| {
                let portion = batch.open(targets.of(plan_index, reading.left_out()));
                let rows = &mut batch.portions[portion];
                let start = rows.bytes.len();
                let encoded = reading.encode(&self.encoder, &mut rows.bytes);
                match &encoded {
                    Ok(()) => batch.add_row(portion, first_run, matched.rule),
                    Err(_) => rows.bytes.truncate(start),
                }
                encoded
            };
            let written = match &plan.payload {
                PayloadForm::Staged(stages) => {
                    let targets = &mut self.targets;
                    plan.read_rows(stages, message, matched, &mut self.memory, &mut |row| write(targets, row))
                }
                _ => {
                    // By reference, here and in the journal's reader: moving a struct of small parts makes whoever reads it
                    // wait.
                    let mut read = plan.read(message, matched, &mut self.memory);
                    match &mut read {
                        Ok(reading) => write(&mut self.targets, reading),
                        Err(fault) => Err(fault.clone()),
                    }
                }
            };
            let outcome = match written {
                Ok(()) if batch.runs.len() == first_run => Outcome::Filtered,
                Ok(()) => {
                    let runs = first_run..batch.runs.len();
                    batch.units.push(Unit { rule: matched.rule, seq: message.seq, runs });
                    Outcome::Written
                }
                Err(fault) => {
                    batch.truncate_runs(first_run);
                    Outcome::Refused(fault)
                }
            };
            outcomes.push((matched.rule, outcome));
        }
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
    /// Those of the message at hand.
    present: Vec<u32>,
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
        Subscriptions { ids, known, present: Vec::new() }
    }

    /// Remembers the identifiers of a message.
    fn read(&mut self, properties: Properties<'_>) {
        self.present.clear();
        if self.known.is_empty() {
            return;
        }
        for property in properties.iter() {
            if let Property::SubscriptionId(id) = property
                && self.known.binary_search(&id).is_ok()
            {
                self.present.push(id);
            }
        }
    }

    /// Whether a rule takes the message that was read.
    fn take(&self, matched: &Match) -> bool {
        // Most messages carry none: no look at the rule is needed then.
        self.present.is_empty() || self.ids[matched.rule][matched.pattern].is_none_or(|id| self.present.contains(&id))
    }
}
