//! Retries dead letters on request, with or without a running bridge.
//!
//! A batch of letters is mapped by the rule as it is now and written by the same sink as any other. Its guard is the
//! letters themselves: one transaction writes the rows, deletes their letters, and updates the letters that are refused
//! again. All of the letters must still exist. So each message is written once, at whatever point a process dies, and
//! even if another process deletes letters: a second retry, the purge, a person. The offset is not touched, because the
//! bridge moves it meanwhile.
//!
//! The messages of a rule are written in the order of their arrival. Newer messages are in the table already: if rows
//! replace others by key, older values replace newer ones.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::backoff::Backoff;
use super::columns::declared;
use super::gather::{Again, Gatherer};
use super::named;
use super::prepare;
use super::retried::{Retried, RetryFailure};
use super::schemas;
use super::stop::{Hold, Stop, in_one_line};
use crate::batch::{Amendment, Guard, OffsetMove};
use crate::config::{Bridge, Rule, new_table};
use crate::journal_id::JournalId;
use crate::mapping::Want;
use crate::message::Seq;
use crate::rule::TableName;
use crate::schema::TableSchema;
use crate::sink::{
    Class, DeadLetterFilter, DeadLetterStore, LetterPlace, ParkedLetter, Refusal, Refusals, Sink, SinkError, Written,
};

/// Letters in one transaction: some milliseconds, in which the bridge waits for its turn on SQLite.
const LETTERS_MAX: u32 = 1_000;

/// Transactions that fail in a row before the retry gives up; with the waits between them, some twenty seconds.
const FAILURES_MAX: u32 = 10;
const WAIT_MIN: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(5);

/// So many times in a row an error that may go away by itself is believed to, before rows are looked for that cause it.
const TIMES_BEFORE_A_WALK: u32 = 3;

/// The retry of one rule's letters.
pub struct Retry<'a, S> {
    sink: &'a mut S,
    bridge: Bridge,
    /// The only one.
    rules: Arc<[Arc<Rule>]>,
    bytes_max: usize,
    filter: DeadLetterFilter,
    /// The last letter that was dealt with.
    place: LetterPlace,
    /// Letters in the next transaction, fewer after one was refused as a whole.
    limit: u32,
    failures: u32,
    backoff: Backoff,
    /// The letter that a transaction began with which found letters missing.
    missed_at: Option<i64>,
    doubt: Option<Doubt>,
    retried: Retried,
}

/// A transaction that was sent and not answered: what it counts if its letters turn out to be gone.
struct Doubt {
    released: i64,
    place: LetterPlace,
    retried: Retried,
}

/// A batch, and where it comes from.
#[derive(Default)]
struct Gathered {
    /// By unit: the letter, by index.
    sources: Vec<usize>,
    /// How many letters it deals with.
    letters: usize,
    filtered: u64,
}

impl<'a, S: Sink + DeadLetterStore> Retry<'a, S> {
    /// Of the letters that `filter` selects, which must name the rule. The sink must be connected.
    pub fn new(
        sink: &'a mut S,
        bridge: &Bridge,
        rule: &Arc<Rule>,
        bytes_max: usize,
        filter: DeadLetterFilter,
    ) -> Retry<'a, S> {
        Retry {
            sink,
            bridge: Arc::clone(bridge),
            rules: [Arc::clone(rule)].into(),
            bytes_max,
            filter,
            place: LetterPlace::START,
            limit: LETTERS_MAX,
            failures: 0,
            backoff: Backoff::new(WAIT_MIN, WAIT_MAX),
            missed_at: None,
            doubt: None,
            retried: Retried::default(),
        }
    }

    /// Tries all letters of the selection again, and says after each transaction what came of them so far.
    pub async fn run(mut self, mut progress: impl FnMut(&Retried)) -> (Retried, Result<(), RetryFailure>) {
        loop {
            let stop = match self.deliver(&mut progress).await {
                Ok(()) => return (self.retried, Ok(())),
                Err(stop) => stop,
            };
            if let Err(failure) = self.take_stop(stop).await {
                return (self.retried, Err(failure));
            }
        }
    }

    /// Waits until there is sense in going on; an error says that there is none.
    async fn take_stop(&mut self, stop: Stop) -> Result<(), RetryFailure> {
        let error = match stop {
            Stop::Narrow(_) => return Ok(()),
            Stop::Hold(Hold { reason, mend, .. }) => return Err(RetryFailure::Table { reason, mend }),
            Stop::Journal(error) => unreachable!("letters are not read from the journal: {error}"),
            Stop::Relocate(message) => SinkError {
                class: Class::OffsetMoved,
                code: "letters".to_owned(),
                message,
                advice: "check whether another retry is running",
            },
            Stop::Retry(error) | Stop::Changed(error) => error,
        };
        self.failures += 1;
        if self.failures > FAILURES_MAX {
            return Err(RetryFailure::Database(error));
        }
        tokio::time::sleep(self.backoff.next_wait()).await;
        if error.class == Class::RowOrTransient || error.class.is_connection_lost() {
            // The next use meets a failure again.
            let _ = self.sink.connect().await;
        }
        Ok(())
    }

    /// Compiles the rule and writes batch after batch.
    async fn deliver(&mut self, progress: &mut impl FnMut(&Retried)) -> Result<(), Stop> {
        let none = HashMap::new();
        let (mapper, _) = prepare::compile(self.sink, &self.bridge, &self.rules, &none, |_| false).await?;
        // Only the name is used.
        let offset = OffsetMove {
            bridge: Arc::clone(&self.bridge),
            journal: JournalId([0; 16]),
            from: Seq::FIRST,
            to: Seq::FIRST,
        };
        let mut gatherer = Gatherer::new(mapper, Arc::clone(&self.rules), None, offset);
        gatherer.batch.guard = Guard::Letters;
        loop {
            self.settle_doubt().await?;
            let letters = self.sink.whole_letters(&self.filter, self.place, self.limit, self.bytes_max).await?;
            if letters.is_empty() {
                return Ok(());
            }
            let gathered = self.gather(&mut gatherer, &letters);
            if gathered.letters == 0 {
                self.look_up_wanted(&mut gatherer).await?;
                continue;
            }
            match self.write(&mut gatherer, &letters, &gathered).await {
                Ok(written) => self.commit(&gatherer, &letters, &gathered, &written),
                Err(stop) => return Err(self.not_committed(stop, &gatherer, &letters, &gathered)),
            }
            progress(&self.retried);
        }
    }

    /// Looks up the tables that messages name. Tables grow by what comes in, not by what is tried again.
    async fn look_up_wanted(&mut self, gatherer: &mut Gatherer<S::Encoder>) -> Result<(), Stop> {
        let (wants, growing): (Vec<Want>, Vec<Want>) =
            gatherer.take_wants().into_iter().partition(|want| want.columns.is_empty());
        for want in growing {
            let live = self.sink.describe(&want.table).await?;
            let is_there = |name: &str| live.iter().flat_map(|live| &live.columns).any(|column| *column.name == *name);
            if live.is_some() == want.makes_table || want.columns.iter().any(|column| is_there(&column.name)) {
                // It came or went meanwhile: the rule is compiled again.
                return Err(Stop::Changed(outdated(&want.table)));
            }
            if !want.makes_table {
                for column in &want.columns {
                    let sql = self.sink.add_columns_sql(&want.table, &declared(std::slice::from_ref(column)));
                    let why =
                        format!("a retry adds no columns; publish a new message of this form first, or run: {sql}");
                    gatherer.refuse_column(&want.table, &column.name, &why.into());
                }
                continue;
            }
            let reason = format!(
                "there is no table {}, and a retry creates none from a payload; publish a new message of this form \
                 first, or create the table by hand",
                want.table
            );
            let new = new_table(&want.table, &[&*self.rules[0]], declared(&want.columns));
            let sql = self.sink.create_table_sql(&want.table, &new);
            if self.rules[0].routing.is_none() {
                return Err(Stop::Hold(Hold { reason, mend: Some(sql), ..Hold::default() }));
            }
            let reason = format!("{reason}: {sql}");
            gatherer.bind(vec![(want, Err(reason))], Seq::FIRST);
        }
        if wants.is_empty() {
            return Ok(());
        }
        schemas::look_up(self.sink, &self.rules, gatherer, wants, Seq::FIRST).await
    }

    /// As many of the letters as go into a batch; none if a table has to be looked up first.
    fn gather(&mut self, gatherer: &mut Gatherer<S::Encoder>, letters: &[ParkedLetter]) -> Gathered {
        let mut gathered = Gathered::default();
        gatherer.clear(Seq::FIRST);
        for (at, letter) in letters.iter().enumerate() {
            let again = match letter.message() {
                Ok(message) => gatherer.add_again(&message),
                Err(error) => Some(Again::Refused("parse", format!("the letter cannot be read back: {error}"))),
            };
            match again {
                Some(Again::Written) => {
                    gathered.sources.push(at);
                    gatherer.batch.released.push(letter.id);
                }
                Some(Again::Filtered) => {
                    gathered.filtered += 1;
                    gatherer.batch.released.push(letter.id);
                }
                Some(Again::Refused(reason, error)) => {
                    gatherer.batch.amended.push(Amendment { id: letter.id, reason, error });
                }
                // First those before it, if there are any.
                None => break,
            }
            gathered.letters += 1;
            if gatherer.is_full(usize::MAX, self.bytes_max) {
                break;
            }
        }
        gathered
    }

    async fn write(
        &mut self,
        gatherer: &mut Gatherer<S::Encoder>,
        letters: &[ParkedLetter],
        gathered: &Gathered,
    ) -> Result<Written, Stop> {
        let mut written = self.sink.write(&gatherer.batch).await;
        // Each round takes at least one unit out, so the rounds end.
        loop {
            let error = match written {
                Ok(written) => return Ok(written),
                Err(error) => error,
            };
            self.look_again(gatherer, &error).await?;
            let may_pass = matches!(error.class, Class::RowOrTransient | Class::SessionEnded);
            let is_passing = may_pass && self.failures < TIMES_BEFORE_A_WALK;
            if is_passing || (!may_pass && error.class != Class::Table && !error.class.may_be_a_row()) {
                return Err(error.into());
            }
            let Refusals { units: mut refusals, closed } = self.sink.refused_units(&gatherer.batch).await?;
            let named = named::refused(gatherer, &closed, &self.rules);
            if !named.is_empty() {
                refusals = named;
            } else if let Some(first) = closed.into_iter().min_by_key(|closed| closed.unit) {
                // First those before it, if there are any.
                return Err(match gathered.sources[first.unit] {
                    0 => Stop::from(first.error),
                    before => self.narrow(before, first.error),
                });
            }
            if refusals.is_empty() {
                match self.sink.write_in_order(&gatherer.batch).await {
                    Err(again) if again.class.may_be_a_row() && gathered.sources.len() > 1 => {
                        let half = gathered.sources[gathered.sources.len() / 2];
                        return Err(self.narrow(half, again));
                    }
                    Err(again) if again.class == Class::Row => refusals = all_refused(gatherer, &again),
                    written => return Ok(written?),
                }
            }
            for Refusal { unit, reason, message } in refusals {
                gatherer.exclude(unit);
                let id = letters[gathered.sources[unit]].id;
                gatherer.batch.released.retain(|released| *released != id);
                gatherer.batch.amended.push(Amendment { id, reason, error: message });
            }
            written = self.sink.write(&gatherer.batch).await;
        }
    }

    /// An error that an altered table may cause is accepted only after the table was read again.
    async fn look_again(&mut self, gatherer: &Gatherer<S::Encoder>, error: &SinkError) -> Result<(), Stop> {
        if error.class != Class::Table && !error.class.may_be_a_row() {
            return Ok(());
        }
        let tables: Vec<&TableSchema> = gatherer.batch.tables_at_stake().collect();
        match self.sink.verify(&tables).await {
            Err(error) if matches!(error.class, Class::TableChanged | Class::Transient) => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Fewer letters at a time, at once.
    fn narrow(&mut self, letters: usize, error: SinkError) -> Stop {
        self.limit = u32::try_from(letters).unwrap_or(LETTERS_MAX).max(1);
        Stop::Narrow(error)
    }

    fn commit(
        &mut self,
        gatherer: &Gatherer<S::Encoder>,
        letters: &[ParkedLetter],
        gathered: &Gathered,
        written: &Written,
    ) {
        let mut retried = tally(gatherer, gathered);
        retried.rows_swallowed = written.rows_swallowed();
        retried.rows = retried.rows.saturating_sub(retried.rows_swallowed);
        self.retried.add(retried);
        self.place = LetterPlace::of(&letters[gathered.letters - 1]);
        self.limit = self.limit.saturating_mul(2).min(LETTERS_MAX);
        self.failures = 0;
        self.backoff.reset();
        self.missed_at = None;
        self.doubt = None;
    }

    fn not_committed(
        &mut self,
        stop: Stop,
        gatherer: &Gatherer<S::Encoder>,
        letters: &[ParkedLetter],
        gathered: &Gathered,
    ) -> Stop {
        match stop {
            Stop::Retry(_) => {
                if let Some(&released) = gatherer.batch.released.first() {
                    let place = LetterPlace::of(&letters[gathered.letters - 1]);
                    self.doubt = Some(Doubt { released, place, retried: tally(gatherer, gathered) });
                }
            }
            // Somebody else comes on with them: that is no failure.
            Stop::Relocate(_) if self.missed_at.replace(letters[0].id) != Some(letters[0].id) => self.failures = 0,
            _ => {}
        }
        stop
    }

    /// A transaction without an answer counts if its letters are gone. If they are not, it may yet be applied, but only one
    /// of it and the next.
    async fn settle_doubt(&mut self) -> Result<(), Stop> {
        let Some(doubt) = &self.doubt else { return Ok(()) };
        let filter = DeadLetterFilter {
            bridge: self.filter.bridge.clone(),
            ids: Some(vec![doubt.released]),
            ..DeadLetterFilter::default()
        };
        if self.sink.dead_letter_extent(&filter).await?.letters == 0
            && let Some(doubt) = self.doubt.take()
        {
            self.retried.add(doubt.retried);
            self.place = doubt.place;
        }
        Ok(())
    }
}

fn outdated(table: &TableName) -> SinkError {
    SinkError {
        class: Class::TableChanged,
        code: "changed".to_owned(),
        message: format!("table {table} was changed meanwhile"),
        advice: "nothing: the rule is compiled again",
    }
}

/// The counts of the batch once it is committed.
fn tally<R: crate::batch::RowEncoder>(gatherer: &Gatherer<R>, gathered: &Gathered) -> Retried {
    let batch = &gatherer.batch;
    Retried {
        written: (gathered.sources.len() - batch.excluded.len()) as u64,
        rows: batch.row_count() as u64,
        rows_swallowed: 0,
        filtered: gathered.filtered,
        refused: batch.amended.len() as u64,
        first_refused: batch.amended.first().map(|letter| (letter.id, letter.error.clone())),
    }
}

/// Of a message that goes alone, all rows are refused.
fn all_refused<R: crate::batch::RowEncoder>(gatherer: &Gatherer<R>, error: &SinkError) -> Vec<Refusal> {
    let message = in_one_line(error);
    let kept = (0..gatherer.batch.units.len()).filter(|&unit| !gatherer.batch.is_excluded(unit));
    kept.map(|unit| Refusal { unit, reason: "constraint", message: message.clone() }).collect()
}
