//! The bridge's side of a simulated database: one connection of one process.

mod encoder;
mod transaction;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

pub(super) use self::encoder::SimEncoder;
use self::encoder::TURNED;
pub(super) use self::transaction::Transaction;
use super::database::{Fate, ParkedMessage, Server};
use crate::batch::Batch;
use crate::clock::Timestamp;
use crate::journal_id::JournalId;
use crate::message::Seq;
use crate::rule::{DeclaredType, NewIndex, NewTable, TableName};
use crate::schema::{Column, ColumnType, Keys, Parameter, TableSchema, Witness};
use crate::sink::{
    Class, ClosedTable, LiveIndex, ParkedLetter, ParkedRule, Refusal, Refusals, RetainedPlace, Series, Sink, SinkError,
    StoredOffset, Written,
};

/// The table of rules that name it themselves.
const FIXED: &str = "t";

pub(super) struct SimSink {
    server: Arc<Mutex<Server>>,
    /// The number of the process, over all worlds' lives.
    process: u64,
    /// The epoch in which it connected; `None` = no connection.
    epoch: Option<u64>,
    /// Whether messages name their tables.
    names_tables: bool,
}

fn error(class: Class, code: &str) -> SinkError {
    SinkError { class, code: code.to_owned(), message: "as the world wants it".to_owned(), advice: "none" }
}

impl SimSink {
    pub(super) fn new(server: &Arc<Mutex<Server>>, process: u64, names_tables: bool) -> SimSink {
        SimSink { server: Arc::clone(server), process, epoch: None, names_tables }
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap()
    }

    fn broken(&mut self) -> SinkError {
        self.epoch = None;
        error(Class::Transient, "broken")
    }

    /// A connection that the server still knows.
    fn check(&mut self) -> Result<(), SinkError> {
        let epoch = self.epoch.expect("after an error of class Transient, connect comes first");
        if epoch == self.server().epoch { Ok(()) } else { Err(self.broken()) }
    }

    /// A call that changes nothing.
    async fn ask(&mut self) -> Result<(), SinkError> {
        self.check()?;
        let fate = self.server().fate();
        match fate {
            Fate::Fine => Ok(()),
            Fate::Slow(ms) | Fate::SlowAnswer(ms) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                self.check()
            }
            Fate::Fails | Fate::AnswerLost | Fate::DoneLater => Err(self.broken()),
        }
    }

    async fn transact(&mut self, transaction: Transaction) -> Result<Written, SinkError> {
        let fate = self.server().fate();
        self.server().note("write", transaction.from, transaction.to);
        match fate {
            Fate::Fine => {}
            Fate::Slow(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            Fate::Fails => return Err(self.broken()),
            Fate::DoneLater => {
                let mut server = self.server();
                server.is_unsure_of(transaction.process);
                server.undecided.push(transaction);
                drop(server);
                return Err(self.broken());
            }
            Fate::AnswerLost | Fate::SlowAnswer(_) => {}
        }
        self.check()?;
        let applied = self.server().apply(&transaction);
        if applied.is_err() {
            return Err(error(Class::OffsetMoved, "moved"));
        }
        match fate {
            Fate::AnswerLost => Err(self.broken()),
            Fate::SlowAnswer(ms) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                self.check().map(|()| Written::default())
            }
            _ => Ok(Written::default()),
        }
    }

    /// The table may be closed; Rowbridge's own are not.
    fn check_right(&self, batch: &Batch) -> Result<(), SinkError> {
        if self.server().is_held && batch.row_count() > 0 { Err(error(Class::Table, "denied")) } else { Ok(()) }
    }

    /// As a database does that knows what its table is: by the number that it was described under.
    fn check_definition(&self, batch: &Batch) -> Result<(), SinkError> {
        let now = Witness::SchemaVersion(self.server().definition);
        let is_changed = batch.tables_at_stake().any(|table| table.witness != now);
        if is_changed { Err(error(Class::TableChanged, "changed")) } else { Ok(()) }
    }
}

impl Sink for SimSink {
    type Encoder = SimEncoder;

    fn encoder(&self) -> SimEncoder {
        SimEncoder
    }

    async fn connect(&mut self) -> Result<(), SinkError> {
        self.epoch = None;
        let fate = self.server().fate();
        let is_down = self.server().is_down;
        if let Fate::Slow(ms) | Fate::SlowAnswer(ms) = fate {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        if is_down || matches!(fate, Fate::Fails | Fate::AnswerLost | Fate::DoneLater) {
            return Err(error(Class::Transient, "connect"));
        }
        let epoch = self.server().epoch;
        self.epoch = Some(epoch);
        Ok(())
    }

    async fn is_reachable(&mut self) -> bool {
        !self.server().is_down
    }

    async fn offsets(&mut self, _: &str) -> Result<Vec<StoredOffset>, SinkError> {
        self.ask().await?;
        let is_zombie = self.server().zombie == self.process;
        if is_zombie {
            std::future::pending::<()>().await;
        }
        let server = self.server();
        let row = |(&journal, &next_seq): (&JournalId, &u64)| StoredOffset {
            journal,
            next_seq: Seq(next_seq),
            updated_at: Timestamp(0),
        };
        Ok(server.state.offsets.iter().map(row).collect())
    }

    async fn offsets_of_others(&mut self, _: &str, _: &[JournalId]) -> Result<Vec<(String, StoredOffset)>, SinkError> {
        Ok(Vec::new())
    }

    fn rename_bridge_sql(&self, _: &str, _: &str, _: &[JournalId]) -> String {
        unreachable!("there is one bridge")
    }

    async fn start_offset(&mut self, _: &str, journal: JournalId, next_seq: Seq) -> Result<(), SinkError> {
        self.check()?;
        let fate = self.server().fate();
        if fate == Fate::Fails {
            return Err(self.broken());
        }
        self.server().note("start offset", next_seq.0, 0);
        self.server().state.offsets.entry(journal).or_insert(next_seq.0);
        if fate == Fate::AnswerLost { Err(self.broken()) } else { Ok(()) }
    }

    async fn last_stored(&mut self, _: &str, _: &[RetainedPlace]) -> Result<HashMap<RetainedPlace, i64>, SinkError> {
        unreachable!("no message is retained")
    }

    async fn succeed_offset(
        &mut self,
        _: &str,
        gone: JournalId,
        journal: JournalId,
        next_seq: Seq,
    ) -> Result<(), SinkError> {
        self.check()?;
        let fate = self.server().fate();
        if fate == Fate::Fails {
            return Err(self.broken());
        }
        self.server().note("succeed offset", next_seq.0, 0);
        self.server().succeed(gone, journal, next_seq.0);
        if fate == Fate::AnswerLost { Err(self.broken()) } else { Ok(()) }
    }

    async fn describe(&mut self, table: &TableName) -> Result<Option<TableSchema>, SinkError> {
        self.ask().await?;
        // One that a message names, and that cannot be described, is no table to this message.
        if self.server().is_held && table.name == FIXED {
            return Err(error(Class::Table, "denied"));
        }
        let column = |name: &str, column_type| Column {
            name: name.to_owned(),
            column_type,
            type_name: String::new(),
            not_null: false,
            has_default: false,
            generated: false,
            parameter: Parameter::default(),
        };
        let text = || ColumnType::Text { max_chars: None };
        let definition = self.server().definition;
        let columns = vec![
            column("seq", ColumnType::Int8),
            column("n", if definition % 2 == 0 { ColumnType::Int8 } else { TURNED }),
            column("topic", text()),
            column("pad", text()),
            column("part", ColumnType::Int8),
            Column { has_default: true, ..column("extra", ColumnType::Int8) },
        ];
        let witness = Witness::SchemaVersion(definition);
        let keys = Keys::Known(vec![[0, 4].into()]);
        Ok(Some(TableSchema { witness, keys, ..TableSchema::new(table.clone(), columns) }))
    }

    fn create_table_sql(&self, _: &TableName, _: &NewTable<'_>) -> String {
        unreachable!("the table is there")
    }

    async fn create_table(&mut self, _: &TableName, _: &NewTable<'_>) -> Result<String, SinkError> {
        unreachable!("the table is there")
    }

    fn add_index_sql(&self, _: &TableName, _: &NewIndex<'_>) -> String {
        unreachable!("nobody checks")
    }

    async fn indexes(&mut self, _: &TableName) -> Result<Vec<LiveIndex>, SinkError> {
        unreachable!("nobody checks")
    }

    fn add_columns_sql(&self, _: &TableName, _: &[(&str, DeclaredType)]) -> String {
        unreachable!("no rule adds columns")
    }

    async fn add_columns(&mut self, _: &TableName, _: &[(&str, DeclaredType)]) -> Result<(), SinkError> {
        unreachable!("no rule adds columns")
    }

    async fn verify(&mut self, tables: &[&TableSchema]) -> Result<(), SinkError> {
        self.ask().await?;
        let now = Witness::SchemaVersion(self.server().definition);
        let is_changed = tables.iter().any(|table| table.witness != now);
        if is_changed { Err(error(Class::TableChanged, "changed")) } else { Ok(()) }
    }

    async fn write(&mut self, batch: &Batch) -> Result<Written, SinkError> {
        self.check()?;
        self.check_right(batch)?;
        self.check_definition(batch)?;
        let is_whole = batch.row_count() > 0 && self.server().refuses_whole();
        if is_whole || !self.refused(batch).is_empty() {
            return Err(error(Class::Row, "refused"));
        }
        self.transact(self.transaction(batch)).await
    }

    async fn write_series<T: Series>(&mut self, series: &mut T) -> Result<Written, SinkError> {
        if !series.may_advance() {
            return self.write(series.batch()).await;
        }
        self.check()?;
        self.check_right(series.batch())?;
        self.check_definition(series.batch())?;
        let mut is_refused = self.server().refuses_whole();
        let mut whole = self.transaction(series.batch());
        loop {
            is_refused |= !self.refused(series.batch()).is_empty();
            let reached = series.offset().to;
            if !series.advance() {
                break;
            }
            // Else a journal that cannot be read for a moment is asked for ever.
            assert!(series.offset().to > reached || !series.may_advance(), "a series goes on or ends");
            self.check_right(series.batch())?;
            self.check_definition(series.batch())?;
            let Transaction { to, held, lost, parked, .. } = self.transaction(series.batch());
            whole.to = to;
            whole.held.extend(held);
            whole.lost.extend(lost);
            whole.parked.extend(parked);
        }
        assert_eq!((whole.from, whole.to), (series.offset().from.0, series.offset().to.0));
        if is_refused {
            return Err(error(Class::Row, "refused"));
        }
        self.transact(whole).await
    }

    async fn refused_units(&mut self, batch: &Batch) -> Result<Refusals, SinkError> {
        self.ask().await?;
        self.check_definition(batch)?;
        let refusal = |unit| Refusal { unit, reason: "constraint", message: "refused".to_owned() };
        if let Err(error) = self.check_right(batch) {
            let unit = (0..batch.units.len()).find(|&unit| !batch.is_excluded(unit)).expect("it has rows");
            let table = Arc::clone(batch.tables_of(unit).next().expect("it has a row"));
            let is_its_own = error.class == Class::Table;
            let closed = ClosedTable { unit, table, error, at_start: true, is_its_own };
            return Ok(Refusals { units: Vec::new(), closed: vec![closed] });
        }
        let units = self.refused(batch).into_iter().map(refusal).collect();
        Ok(Refusals { units, closed: Vec::new() })
    }

    async fn write_in_order(&mut self, batch: &Batch) -> Result<Written, SinkError> {
        self.check()?;
        self.check_right(batch)?;
        self.check_definition(batch)?;
        if self.server().refuses_whole() || !self.refused(batch).is_empty() {
            return Err(error(Class::Row, "refused"));
        }
        self.transact(self.transaction(batch)).await
    }

    async fn purge_dead_letters(&mut self, _: &str, _: Timestamp) -> Result<u64, SinkError> {
        self.ask().await?;
        Ok(0)
    }

    async fn parked(&mut self, _: &str) -> Result<Vec<ParkedRule>, SinkError> {
        self.ask().await?;
        let server = self.server();
        let mut rules: Vec<ParkedRule> = Vec::new();
        for parked in server.state.parked.values() {
            match rules.iter_mut().find(|rule| rule.rule == parked.rule) {
                Some(rule) => rule.messages += 1,
                None => rules.push(ParkedRule { rule: parked.rule.clone(), messages: 1, since: Timestamp(0) }),
            }
        }
        Ok(rules)
    }

    async fn parked_letters(
        &mut self,
        _: &str,
        rules: &[&str],
        limit: usize,
        _: usize,
    ) -> Result<Vec<ParkedLetter>, SinkError> {
        self.ask().await?;
        let server = self.server();
        let of_rules = server.state.parked.iter().filter(|(_, parked)| rules.contains(&parked.rule.as_str()));
        let letter = |(&id, parked): (&i64, &ParkedMessage)| ParkedLetter {
            id,
            rule: parked.rule.clone(),
            seq: Seq(parked.seq),
            envelope: parked.envelope.clone(),
            payload: parked.payload.clone(),
        };
        Ok(of_rules.take(limit).map(letter).collect())
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        self.epoch = None;
        Ok(())
    }
}
