//! One message under the compiled rules.

use super::writing::Writing;
use super::{BOUND_MAX, BY_MESSAGE, Mapper};
use crate::batch::{Batch, RowEncoder, Unit};
use crate::config::{Retained, Rule};
use crate::mapping::adjust::Nulled;
use crate::mapping::choice::Chosen;
use crate::mapping::destination::{Destination, NoPlans, WANTS_MAX};
use crate::mapping::growth::{Growing, NO_COLUMN, add_wants};
use crate::mapping::outcome::{NEW_COLUMNS, Outcome, ValueFault};
use crate::mapping::served::SERVED_MAX;
use crate::message::Message;
use crate::rule::TableName;

impl<R: RowEncoder> Mapper<R> {
    /// The rules that take a message by its topic.
    pub fn takers(&mut self, message: &Message<'_>) -> Vec<usize> {
        self.subscriptions.read(message.properties);
        let matches = self.router.route(message.topic).iter();
        matches.filter(|matched| self.subscriptions.take(matched)).map(|matched| matched.rule).collect()
    }

    /// Whether the pattern of some rule fits, though the rule may leave this copy of the message for another one.
    pub fn routes(&mut self, topic: &str) -> bool {
        self.router.takes(topic)
    }

    /// The rules under which a message that can only become a dead letter is one. A message that may belong to another
    /// database is a dead letter in the first one.
    pub fn takers_at_fault(&mut self, message: &Message<'_>) -> Vec<usize> {
        let mut takers = self.takers(message);
        takers.retain(|rule| !matches!(self.choices.get(*rule), Some(Some(choice)) if !choice.is_first()));
        takers
    }

    /// Maps one message under every rule that takes it. Appends a unit for each written rule to `batch`, which only
    /// this mapper may fill, and the tables of a refusal to those by which messages were judged. `outcomes` is cleared,
    /// then holds (index into `rules`, outcome) for each rule that took the message, except rules that leave it to
    /// another database. A refused message leaves the batch unchanged.
    ///
    /// Returns `false` if a table must be looked up first ([`Mapper::take_wants`]): then the batch is unchanged, and
    /// the outcomes are invalid.
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
        let Mapper { router, subscriptions, choices, destinations, memory, row_plans, wants, batch_number, .. } = self;
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
            if let Some(Some(choice)) = choices.get_mut(matched.rule)
                && !matches!(choice.choose(message, matched, memory), Chosen::Ours)
            {
                continue;
            }
            let found = match destination {
                Some(destination) => {
                    match destination.plans(matched.rule, message, matched, memory, *batch_number, row_plans) {
                        Ok(()) => growing.wants((message, matched), Some((destination, row_plans)), plan, memory),
                        Err(NoPlans::Wanted(wants)) => Ok(wants),
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
            if let Some(Some(choice)) = self.choices.get_mut(matched.rule) {
                match choice.choose(message, matched, &mut self.memory) {
                    Chosen::Ours => {}
                    Chosen::Others if only.is_none() => continue,
                    // It lies here, as a dead letter.
                    Chosen::Others => {
                        outcomes.push((matched.rule, Outcome::Refused(choice.strayed())));
                        continue;
                    }
                    Chosen::Nobodys(fault) => {
                        outcomes.push((matched.rule, Outcome::Refused(fault)));
                        continue;
                    }
                }
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
                bytes: 0,
            };
            let plan = self.plan_of_rule[matched.rule];
            let mut written = match plan {
                BY_MESSAGE => {
                    let destination = self.destinations[matched.rule].as_mut().expect("it is compiled");
                    match writing.by_message(destination, self.batch_number, &mut self.row_plans) {
                        Ok(()) => Ok(()),
                        Err(NoPlans::Refused(fault)) => Err(fault),
                        Err(NoPlans::Wanted(wants)) => {
                            batch.truncate_runs(first_run.min(batch.runs.len()));
                            match self.served.ask(message.seq, &wants) {
                                Err(table) => Err(asked_too_often(&self.rules[matched.rule], "no_table", table)),
                                Ok(()) => {
                                    add_wants(&mut self.wants, wants);
                                    batch.truncate_units(units_before);
                                    outcomes.clear();
                                    return false;
                                }
                            }
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
                    Ok(wants) => match self.served.ask(message.seq, &wants) {
                        Err(table) => written = Err(asked_too_often(&self.rules[matched.rule], NO_COLUMN, table)),
                        Ok(()) => {
                            add_wants(&mut self.wants, wants);
                            batch.truncate_units(units_before);
                            outcomes.clear();
                            return false;
                        }
                    },
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
        self.served.settle(message.seq);
        true
    }
}

/// The refusal of a message whose wants change nothing.
#[cold]
fn asked_too_often(rule: &Rule, reason: &'static str, table: &TableName) -> ValueFault {
    let message = match reason {
        NO_COLUMN => format!(
            "table {table} was changed {SERVED_MAX} times for this message and still lacks columns for its fields: something \
             else removes or refuses them, such as a trigger; make the columns by hand, then retry"
        ),
        _ => format!(
            "table {table} was looked up {SERVED_MAX} times for this message and is needed again: the message names more than \
             the {BOUND_MAX} tables that are kept at a time"
        ),
    };
    ValueFault { reason, column: None, message, on_error: rule.on_error }
}
