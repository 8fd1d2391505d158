//! Tables that are altered while the bridge runs.
//!
//! A batch is mapped for the tables as they were when the rules were compiled. The sink compares them in the
//! transaction that writes the batch, and returns [`Class::TableChanged`] instead of committing. Then nothing of the
//! batch is in the database: the offset is read again, the rules are compiled for the tables as they are now, and the
//! same messages are mapped again. A dead letter must not result from an outdated description. So the tables by which
//! messages were judged are compared as well, and an error of the database is accepted only after the table was read
//! again.

use std::collections::HashMap;
use std::sync::Arc;

use super::gather::{Gatherer, Halt};
use super::stop::Stop;
use super::worker::Worker;
use crate::batch::RowEncoder;
use crate::delivery::events;
use crate::journal::Fs;
use crate::mapping::Mapper;
use crate::rule::TableName;
use crate::schema::TableSchema;
use crate::sink::{Class, Sink, SinkError};

/// After this many changes without a commit in between, the backoff applies. A person alters a table a few times in
/// succession; a longer series comes from a program, or from a comparison that always fails.
const CHANGES_MAX: u32 = 20;

/// The tables as the rules were last compiled against them, and how often they changed since the last commit.
#[derive(Debug, Default)]
pub(super) struct KnownTables {
    known: HashMap<TableName, Arc<TableSchema>>,
    changes: u32,
}

impl KnownTables {
    /// Whether to compile again at once.
    pub(super) fn may_change_again(&mut self) -> bool {
        self.changes += 1;
        self.changes <= CHANGES_MAX
    }

    pub(super) fn committed(&mut self) {
        self.changes = 0;
    }

    /// We altered the table ourselves, which was logged already.
    pub(super) fn forget(&mut self, table: &TableName) {
        let schema = table.schema.as_ref();
        self.known
            .retain(|known, _| known.name != table.name || schema.is_some_and(|_| known.schema.as_ref() != schema));
    }

    /// Tells what is different from last time, and which tables are unlogged.
    pub(super) fn compiled<R: RowEncoder>(&mut self, database: &str, mapper: &Mapper<R>) {
        let mut now: HashMap<TableName, Arc<TableSchema>> = HashMap::new();
        for table in mapper.tables().filter(|table| !table.is_absent()) {
            if now.insert(table.name.clone(), Arc::clone(table)).is_some() {
                continue;
            }
            let before = self.known.get(&table.name);
            let changes = before.map_or(Vec::new(), |before| before.changes(table));
            if !changes.is_empty() {
                events::table_changed(database, &table.name, &changes.join("; "));
            }
            if table.unlogged && before.is_none_or(|before| !before.unlogged) {
                events::table_unlogged(database, &table.name);
            }
        }
        self.known = now;
    }
}

impl<S: Sink, F: Fs> Worker<S, F> {
    /// Must be called before `error` decides anything: returns [`Stop::Changed`] if an altered table may have caused
    /// it.
    pub(super) async fn look_again(&mut self, gatherer: &Gatherer<S::Encoder>, error: &SinkError) -> Result<(), Stop> {
        if error.class != Class::Table && !error.class.may_be_a_row() {
            return Ok(());
        }
        let tables: Vec<&TableSchema> = gatherer.batch.tables_at_stake().collect();
        self.verify(&tables).await
    }

    /// As [`Worker::look_again`], before a rule's `on_error: halt` holds the database.
    pub(super) async fn look_again_at(&mut self, halt: &Halt) -> Result<(), Stop> {
        let tables: Vec<&TableSchema> = halt.table.iter().map(|table| &**table).collect();
        self.verify(&tables).await
    }

    async fn verify(&mut self, tables: &[&TableSchema]) -> Result<(), Stop> {
        match self.setup.sink.verify(tables).await {
            Err(error) if matches!(error.class, Class::TableChanged | Class::Transient) => Err(error.into()),
            // If the table cannot be read, the known error is reported.
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
