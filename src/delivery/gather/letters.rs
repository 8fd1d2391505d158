//! Messages from dead letters, and rules whose messages become dead letters for now. Such messages are mapped like any
//! other; the letter is deleted in the transaction of the rows.

use std::sync::Arc;

use super::{Gatherer, Halt};
use crate::batch::{Remembered, RowEncoder};
use crate::config::Retained;
use crate::delivery::account::Account;
use crate::delivery::dead_letter::{self, Reason};
use crate::delivery::refusals::Fate;
use crate::delivery::retained::Hashes;
use crate::mapping::Outcome;
use crate::message::Message;
use crate::sink::ParkedLetter;

/// What a dead letter's message gives when it is mapped again.
pub(in crate::delivery) enum Again {
    Written,
    Filtered,
    /// A dead letter's short code, and the error.
    Refused(&'static str, String),
}

impl<R: RowEncoder> Gatherer<R> {
    /// Puts the messages of a rule aside from now on, with the reason; or no longer.
    pub(in crate::delivery) fn park(&mut self, rule: usize, why: Option<&Arc<str>>) {
        self.mapper.park(rule, why.is_some());
        match why {
            Some(why) => self.parked.insert(rule, Arc::clone(why)),
            None => self.parked.remove(&rule),
        };
    }

    /// Adds a message that was parked, which is taken out of the dead letters with this batch; how many units it gave, none
    /// if a table has to be looked up first. Then, and on `Err`, the batch is as it was before.
    pub(in crate::delivery) fn add_parked(
        &mut self,
        letter: &ParkedLetter,
        account: &mut Account,
    ) -> Result<Option<usize>, Halt> {
        let Some(rule) = self.rules.iter().position(|rule| *rule.name == *letter.rule) else { return Ok(Some(0)) };
        let name = Arc::clone(&self.rules[rule].name);
        let units_before = self.batch.units.len();
        match letter.message() {
            Ok(message) => {
                if !self.mapper.map_parked(rule, &message, &mut self.batch, &mut self.outcomes) {
                    return Ok(None);
                }
                self.bytes += message.encoded_len();
                if let Some(halt) = self.halting_outcome(message.seq) {
                    self.batch.truncate_units(units_before);
                    return Err(halt);
                }
                let mut unit = units_before;
                match self.outcomes.pop() {
                    Some((rule, outcome)) => self.settle(rule, outcome, &message, &mut unit, account),
                    None => {
                        account.rule(rule).dead_lettered += 1;
                        let error = "the rule's topic pattern does not take it any more".to_owned();
                        account.refuse(Some(&name), "unmatched", Fate::DeadLetter, &message, &error);
                        let reason = Reason { code: "unmatched", error, attempts: 0 };
                        self.keep(dead_letter::of_message(Some(&name), &message, reason));
                    }
                }
            }
            Err(error) => {
                account.rule(rule).dead_lettered += 1;
                self.keep(dead_letter::unreadable(&name, letter, &error));
            }
        }
        account.rule(rule).parked -= 1;
        self.batch.released.push(letter.id);
        Ok(Some(self.batch.units.len() - units_before))
    }

    /// Adds the rows of a dead letter's message, as the only rule has them now. `None` if a table has to be looked up first. Then, and
    /// where it gives no row, the batch is as it was before. What to do with the letter is left to the caller, whatever
    /// `on_error` says.
    pub(in crate::delivery) fn add_again(&mut self, message: &Message<'_>) -> Option<Again> {
        const RULE: usize = 0;
        let unit = self.batch.units.len();
        if !self.mapper.map_parked(RULE, message, &mut self.batch, &mut self.outcomes) {
            return None;
        }
        self.bytes += message.encoded_len();
        Some(match self.outcomes.pop() {
            Some((_, Outcome::Written)) => {
                if self.rules[RULE].retained == Retained::Changed {
                    let Hashes { topic: topic_hash, content: content_hash } = Hashes::of(message);
                    let rule = Arc::clone(&self.rules[RULE].name);
                    self.batch.remembered.push(Remembered { unit: Some(unit), rule, topic_hash, content_hash });
                }
                Again::Written
            }
            Some((_, Outcome::Filtered)) => Again::Filtered,
            Some((_, Outcome::Refused(fault))) => Again::Refused(fault.reason, fault.message),
            Some((_, Outcome::Parked)) => unreachable!("no rule of this gatherer is parked"),
            None => Again::Refused("unmatched", "the rule's topic pattern does not take it any more".to_owned()),
        })
    }
}
