//! Writes parked messages.
//!
//! A batch of parked messages is like any other: mapped by the same rules, written without the units that the database
//! refuses, in one transaction. But its messages come from the dead-letter table, and the batch deletes their letters
//! there instead of moving the offset. All of the letters must still exist, and the offset must be where this
//! connection left it. So each message is written once, at whatever point a process dies, and even if another instance
//! delivers for this bridge.

use tokio::time::Instant;

use super::commit::Repeated;
use super::gather::Gatherer;
use super::named;
use super::parking::PROGRESS;
use super::stop::{Defect, Hold, Stop, in_one_line};
use super::worker::Worker;
use crate::delivery::events;
use crate::journal::Fs;
use crate::sink::{Class, ParkedLetter, Refusal, Refusals, Sink, SinkError, Written};

/// Batches of parked messages between two of the journal: more than one, or a backlog would be parked as fast as it is
/// taken out.
const BATCHES_IN_A_ROW: usize = 4;

/// The result of a batch of parked messages.
enum Attempt {
    Written(Written),
    /// The table does not take the first of them: why.
    NotMended(Defect),
    /// The first so many may go in.
    Fewer(usize),
    /// The session ended, so they may be in.
    Ended(SinkError),
}

impl<S: Sink, F: Fs> Worker<S, F> {
    /// Writes some of the messages that are parked for a table that takes rows, as far as is known.
    pub(super) async fn replay_some(&mut self, gatherer: &mut Gatherer<S::Encoder>, index: usize) -> Result<(), Stop> {
        for _ in 0..BATCHES_IN_A_ROW {
            if !self.replay(gatherer, index).await? {
                break;
            }
        }
        Ok(())
    }

    /// Writes the oldest messages that are parked for the table; `false` if there is no going on for now.
    async fn replay(&mut self, gatherer: &mut Gatherer<S::Encoder>, index: usize) -> Result<bool, Stop> {
        let table = &self.parking.tables[index];
        let name = table.name.clone();
        let rules: Vec<&str> = table.rules.iter().map(|&rule| &*self.rules[rule].name).collect();
        let batch = &self.setup.database.batch;
        let limit = table.limit.min(batch.max_rows.max(super::commit::COMPANY_ROWS));
        let letters = self.setup.sink.parked_letters(&self.setup.bridge, &rules, limit, batch.max_bytes).await?;
        self.account.settle_replay(&name, letters.first().map(|letter| letter.id));
        let Some(first) = letters.first() else {
            self.unpark(gatherer, index);
            return Ok(false);
        };
        gatherer.clear(self.reader.position());
        self.account.clear();
        // By unit: which letter it comes from.
        let mut sources = Vec::new();
        let mut halted = None;
        for (at, letter) in letters.iter().enumerate() {
            match gatherer.add_parked(letter, &mut self.account) {
                Ok(Some(units)) => sources.extend(std::iter::repeat_n(at, units)),
                // First those before it, if there are any.
                Ok(None) => break,
                Err(halt) => {
                    halted = Some(halt);
                    break;
                }
            }
            if gatherer.is_full(usize::MAX, batch.max_bytes) {
                break;
            }
        }
        if gatherer.batch.released.is_empty() && gatherer.has_wants() {
            return match self.look_up_wanted(gatherer).await {
                Ok(()) => Ok(!self.is_outdated),
                Err(Stop::Hold(Hold { reason, mend, .. })) => {
                    self.not_mended(index, &Defect { reason, mend });
                    self.tell_parked();
                    Ok(false)
                }
                Err(stop) => Err(stop),
            };
        }
        if gatherer.batch.released.is_empty() {
            self.not_mended(index, &halted.as_ref().map(Defect::from).unwrap_or_default());
            self.tell_parked();
            return Ok(false);
        }
        crash_point!("delivery.replay.gathered");
        match self.write_parked(gatherer, index, &letters, &sources).await {
            Ok(Attempt::Written(written)) => {
                crash_point!("delivery.replay.committed");
                self.account.swallow(&written.swallowed);
                self.account.commit_replay();
                self.setup.state.update(|state| {
                    state.unwritten = self.account.unwritten();
                    state.rows_swallowed += written.rows_swallowed();
                });
                self.swallow_log.tell(&self.setup.database.name, &written.swallowed);
                let count = gatherer.batch.released.len();
                let left = self.parked_messages(index);
                let table = &mut self.parking.tables[index];
                table.repeated = None;
                table.replayed += count as u64;
                table.limit = table.limit.saturating_mul(2);
                if Instant::now() >= table.progress_due {
                    table.progress_due = Instant::now() + PROGRESS;
                    events::parked_progress(&self.setup.database.name, &table.name, table.replayed, left);
                }
                Ok(true)
            }
            Ok(Attempt::Fewer(count)) => {
                self.parking.tables[index].limit = count.max(1);
                Ok(true)
            }
            Ok(Attempt::NotMended(defect)) => {
                self.not_mended(index, &defect);
                self.tell_parked();
                Ok(false)
            }
            Ok(Attempt::Ended(error)) => {
                self.account.doubt_replay(&name, first.id);
                // Once is the network's or the server's affair.
                if self.parking.tables[index].repeated.as_ref().is_some_and(Repeated::is_again) {
                    self.not_mended(index, &Defect::from(&error));
                    self.tell_parked();
                }
                Err(error.into())
            }
            Err(stop) => {
                if let Stop::Retry(_) = stop {
                    self.account.doubt_replay(&name, first.id);
                }
                Err(stop)
            }
        }
    }

    async fn write_parked(
        &mut self,
        gatherer: &mut Gatherer<S::Encoder>,
        index: usize,
        letters: &[ParkedLetter],
        sources: &[usize],
    ) -> Result<Attempt, Stop> {
        let begun = Instant::now();
        let mut written = self.setup.sink.write(&gatherer.batch).await;
        // Each round takes at least one unit out, so the rounds end.
        for attempts in 1.. {
            let error = match written {
                Ok(written) => return Ok(Attempt::Written(written)),
                Err(error) => error,
            };
            self.look_again(gatherer, &error).await?;
            // Batches of the journal, which come in between, count their own errors.
            let (repeated, database) = (&mut self.parking.tables[index].repeated, &self.setup.database);
            let first = letters[0].seq;
            if error.class != Class::Table && !Repeated::calls_for_a_search(repeated, database, &error, first, begun) {
                return match error.class {
                    Class::SessionEnded => Ok(Attempt::Ended(error)),
                    Class::RowOrTransient => Ok(Attempt::NotMended(Defect::from(&error))),
                    _ => Err(error.into()),
                };
            }
            let Refusals { units: mut refusals, closed } = match self.setup.sink.refused_units(&gatherer.batch).await {
                Err(error) if error.class == Class::SessionEnded => return Ok(Attempt::Ended(error)),
                found => found?,
            };
            let named = named::refused(gatherer, &closed, &self.rules);
            if !named.is_empty() {
                refusals = named;
            } else if let Some(first) = closed.into_iter().min_by_key(|closed| closed.unit) {
                return Ok(match sources[first.unit] {
                    0 => Attempt::NotMended(Defect::from(&first.error)),
                    before => Attempt::Fewer(before),
                });
            }
            if refusals.is_empty() {
                match self.setup.sink.write_in_order(&gatherer.batch).await {
                    Err(again) if again.class.may_be_a_row() && sources.len() > 1 => {
                        return Ok(Attempt::Fewer(sources[sources.len() / 2]));
                    }
                    Err(again) if again.class == Class::SessionEnded => {
                        self.parking.tables[index].limit = sources[sources.len() / 2].max(1);
                        return Ok(Attempt::Ended(again));
                    }
                    Err(again) if again.class == Class::Row => refusals = all_refused(gatherer, &again),
                    Err(again) if again.class.may_be_a_row() || again.class == Class::Table => {
                        return Ok(Attempt::NotMended(Defect::from(&again)));
                    }
                    written => return Ok(Attempt::Written(written?)),
                }
            }
            for refusal in &refusals {
                let at = sources[refusal.unit];
                // It was read to be mapped.
                let Ok(message) = letters[at].message() else { continue };
                if let Err(halt) = gatherer.refuse(refusal, &message, attempts, &mut self.account) {
                    return Ok(if at > 0 { Attempt::Fewer(at) } else { Attempt::NotMended(Defect::from(&halt)) });
                }
            }
            crash_point!("delivery.replay.refusing");
            written = self.setup.sink.write(&gatherer.batch).await;
        }
        unreachable!("there are fewer units than attempts to count")
    }
}

/// Of a message that goes alone, all rows are refused.
fn all_refused<R: crate::batch::RowEncoder>(gatherer: &Gatherer<R>, error: &SinkError) -> Vec<Refusal> {
    let message = in_one_line(error);
    let refusal = |unit| Refusal { unit, reason: "constraint", message: message.clone() };
    (0..gatherer.batch.units.len()).map(refusal).collect()
}
