//! The outcome of a message under each rule: counted, reported to followers, and kept as a dead letter if the message
//! gives no row. A rule with `on_error: halt` stops before any part of the message is in the batch.

use std::sync::Arc;

use super::{Gatherer, Halt, UnmatchedPolicy};
use crate::batch::{DeadLetter, RowEncoder};
use crate::config::{OnError, Unmatched};
use crate::delivery::account::Account;
use crate::delivery::dead_letter::{self, Reason};
use crate::delivery::named::place_of;
use crate::delivery::refusals::Fate;
use crate::journal::Lost;
use crate::mapping::Outcome;
use crate::message::{Message, Seq};
use crate::sink::Refusal;
use crate::telemetry::tap;

impl<R: RowEncoder> Gatherer<R> {
    /// Counts what became of a message under a rule, and keeps its dead letter. `unit` is the next one that was added.
    pub(super) fn settle(
        &mut self,
        rule: usize,
        outcome: Outcome,
        message: &Message<'_>,
        unit: &mut usize,
        account: &mut Account,
    ) {
        let tally = account.rule(rule);
        match outcome {
            Outcome::Written => {
                let rows = self.batch.rows_of(*unit);
                tally.written += 1;
                tally.rows += rows as u64;
                let tables = self.batch.tables_of(*unit).map(|table| &table.name);
                account.tap.written(&self.rules[rule].name, message, tables, rows);
                account.answers.note(rule, message, rows, None);
                *unit += 1;
                if let Some(nulled) = self.mapper.nulled(rule) {
                    account.rule(rule).nulled += nulled.count;
                    account.refuse(Some(&self.rules[rule].name), "value", Fate::Nulled, message, &nulled.why);
                }
            }
            Outcome::Filtered => {
                tally.filtered += 1;
                account.tap.passed(Some(&self.rules[rule].name), tap::Fate::Filtered, message);
                account.answers.note(rule, message, 0, None);
            }
            Outcome::Parked => {
                tally.parked += 1;
                let why = self.parked.get(&rule).map_or("the table takes no rows", |why| why);
                account.tap.refused(Some(&self.rules[rule].name), tap::Fate::Parked, message, "table", why);
                account.answers.note(rule, message, 0, Some(why));
                let letter = dead_letter::parked(&self.rules[rule].name, message, why);
                self.keep(letter);
            }
            Outcome::Refused(fault) if fault.on_error == OnError::Drop => {
                tally.dropped += 1;
                let name = Some(&self.rules[rule].name);
                account.refuse(name, fault.reason, Fate::Dropped, message, &fault.message);
                account.answers.note(rule, message, 0, Some(&fault.message));
            }
            Outcome::Refused(fault) => {
                tally.dead_lettered += 1;
                let name = Some(&self.rules[rule].name);
                account.refuse(name, fault.reason, Fate::DeadLetter, message, &fault.message);
                account.answers.note(rule, message, 0, Some(&fault.message));
                let reason = Reason { code: fault.reason, error: fault.message, attempts: 0 };
                let letter = dead_letter::of_message(name, message, reason);
                self.keep(letter);
            }
        }
    }

    /// Takes a unit that the database refused out of the rows. `message` is what it was made of.
    pub(in crate::delivery) fn refuse(
        &mut self,
        refusal: &Refusal,
        message: &Message<'_>,
        attempts: u32,
        account: &mut Account,
    ) -> Result<(), Halt> {
        let unit = self.batch.units[refusal.unit].clone();
        let rule = Arc::clone(&self.rules[unit.rule]);
        let tally = account.rule(unit.rule);
        match rule.on_error {
            OnError::Halt => {
                let error = refusal.message.clone();
                let (name, target) = (Arc::clone(&rule.name), place_of(&rule).into_owned());
                let table = self.batch.tables_of(refusal.unit).next().cloned();
                return Err(Halt { seq: unit.seq, rule: name, target, error, table });
            }
            OnError::Drop => {
                tally.dropped += 1;
                account.refuse(Some(&rule.name), refusal.reason, Fate::Dropped, message, &refusal.message);
            }
            OnError::DeadLetter => {
                tally.dead_lettered += 1;
                account.refuse(Some(&rule.name), refusal.reason, Fate::DeadLetter, message, &refusal.message);
                let reason = Reason { code: refusal.reason, error: refusal.message.clone(), attempts };
                let letter = dead_letter::of_message(Some(&rule.name), message, reason);
                self.keep(letter);
            }
        }
        let tally = account.rule(unit.rule);
        tally.written -= 1;
        tally.rows -= self.batch.rows_of(refusal.unit) as u64;
        account.tap.withdraw(&rule.name, unit.seq);
        account.answers.withdraw(unit.rule, unit.seq, self.batch.rows_of(refusal.unit), &refusal.message);
        self.exclude(refusal.unit);
        Ok(())
    }

    /// Takes a unit out of the rows.
    pub(in crate::delivery) fn exclude(&mut self, unit: usize) {
        if let Err(place) = self.batch.excluded.binary_search(&unit) {
            self.batch.excluded.insert(place, unit);
        }
    }

    /// Adds the record of messages that are gone.
    pub(in crate::delivery) fn add_lost(&mut self, lost: &Lost, account: &mut Account) {
        let letter = dead_letter::of_lost_range(lost);
        account.tap.lost(lost.from, &letter.error);
        self.keep(letter);
        self.batch.offset.to = lost.to;
    }

    /// A message that can never become a row is a dead letter of every rule that would have taken it, or of none.
    pub(super) fn add_faulty(&mut self, message: &Message<'_>, reason: Reason, account: &mut Account) {
        let takers = self.mapper.takers_at_fault(message);
        for &rule in &takers {
            account.rule(rule).dead_lettered += 1;
            account.refuse(Some(&self.rules[rule].name), reason.code, Fate::DeadLetter, message, &reason.error);
            account.answers.note(rule, message, 0, Some(&reason.error));
            let letter = dead_letter::of_message(Some(&self.rules[rule].name), message, reason.clone());
            self.keep(letter);
        }
        if takers.is_empty() && self.is_unmatched_everywhere(message) {
            account.unmatched += 1;
            account.refuse(None, reason.code, Fate::DeadLetter, message, &reason.error);
            self.keep(dead_letter::of_message(None, message, reason));
        }
        self.batch.offset.to = message.seq.next();
    }

    pub(super) fn add_unmatched(&mut self, message: &Message<'_>, account: &mut Account) {
        if !self.is_unmatched_everywhere(message) {
            return;
        }
        account.unmatched += 1;
        if self.unmatched.as_ref().is_some_and(|policy| policy.unmatched == Unmatched::DeadLetter) {
            let error = "no rule's topic pattern fits; add a rule, or set unmatched: ignore".to_owned();
            let reason = Reason { code: "unmatched", error, attempts: 0 };
            account.refuse(None, reason.code, Fate::DeadLetter, message, &reason.error);
            self.keep(dead_letter::of_message(None, message, reason));
        } else {
            account.tap.passed(None, tap::Fate::Unmatched, message);
        }
    }

    pub(super) fn halting_outcome(&self, seq: Seq) -> Option<Halt> {
        self.outcomes.iter().find_map(|(rule, outcome)| match outcome {
            Outcome::Refused(fault) if fault.on_error == OnError::Halt => {
                let table = self.mapper.table_of(*rule).cloned();
                let rule = &self.rules[*rule];
                let (name, target) = (Arc::clone(&rule.name), place_of(rule).into_owned());
                Some(Halt { seq, rule: name, target, error: fault.message.clone(), table })
            }
            _ => None,
        })
    }

    /// Each dead letter holds the message again, which counts against `batch.max_bytes` like the message itself.
    pub(super) fn keep(&mut self, letter: DeadLetter) {
        self.bytes += letter.payload.len() + letter.envelope.as_ref().map_or(0, Vec::len);
        self.batch.dead_letters.push(letter);
    }

    fn is_unmatched_everywhere(&mut self, message: &Message<'_>) -> bool {
        let is_elsewhere = |policy: &mut UnmatchedPolicy| policy.elsewhere.takes(message.topic);
        self.unmatched.as_mut().is_some_and(|policy| !is_elsewhere(policy)) && !self.mapper.routes(message.topic)
    }
}
