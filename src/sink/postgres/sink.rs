//! The calls of delivery and the commands on a Postgres database. Each delegates to the file that implements it, on the
//! session that [`PostgresSink`] keeps, in a transaction that ends within the call.

use std::collections::HashMap;
use std::sync::Arc;

use super::failure::{MISSING_RIGHT, own};
use super::server::Repertoire;
use super::transaction::{CATALOGUE_FIRST, around};
use super::{
    PostgresEncoder, PostgresSink, Rights, absent, changes, connect, created, dead_letters, letters, migrate, offsets,
    parked, retained, schema, series, server, statements, walk, witness, write,
};
use crate::batch::Batch;
use crate::clock::Timestamp;
use crate::journal_id::JournalId;
use crate::message::Seq;
use crate::rule::{DeclaredType, NewIndex, NewTable, Statement, TableName, quote};
use crate::schema::{Dialect, PostgresDialect, TableSchema};
use crate::sink::{
    Class, DeadLetterExtent, DeadLetterFilter, DeadLetterStore, IN_USE, LetterPlace, LiveIndex, ParkedLetter,
    ParkedRule, Refusals, RetainedPlace, Series, Sink, SinkError, StoredDeadLetter, StoredOffset, Unfit, Written,
    rename_bridge_sql,
};

/// Postgres cuts longer identifiers off, and would then look for another table than it made.
const IDENTIFIER_BYTES_MAX: usize = 63;

/// Tables whose columns are asked for in one statement.
const DESCRIBED_AT_ONCE: usize = 200;

/// Codes of a CREATE TABLE that lost the race against another: the table, its type or a catalogue row is there already.
const ALREADY_THERE: [&str; 3] = ["42P07", "42710", "23505"];

const LOCK_NOT_AVAILABLE: &str = "55P03";

/// How long an ALTER TABLE waits for other users of the table: all later users wait behind it.
const ALTER_LOCK_MILLIS: u64 = 2_000;

impl Sink for PostgresSink {
    type Encoder = PostgresEncoder;

    fn encoder(&self) -> PostgresEncoder {
        PostgresEncoder
    }

    async fn connect(&mut self) -> Result<(), SinkError> {
        self.session = None;
        self.stored_bridge = None;
        self.was_ended_by_rows = false;
        let session = connect::open(&self.url, self.statement_timeout).await?;
        let encoding = &session.server().encoding;
        if session.server().repertoire != Repertoire::All && self.told_encoding != *encoding {
            server::warn_of_encoding(&self.name, encoding);
            self.told_encoding.clone_from(encoding);
        }
        self.session = Some(session);
        let migrated = self.run(migrate::migrate).await;
        if migrated.is_err() {
            self.session = None;
        }
        migrated
    }

    async fn is_reachable(&mut self) -> bool {
        connect::is_reachable(&self.url).await
    }

    async fn offsets(&mut self, bridge: &str) -> Result<Vec<StoredOffset>, SinkError> {
        let read = self.run(async |session, sql| offsets::read(session, sql, bridge).await).await;
        let Err(refused) = read else { return read };
        Err(self.with_rights(refused, Rights::new(&self.sql.schema)).await)
    }

    async fn offsets_of_others(
        &mut self,
        bridge: &str,
        journals: &[JournalId],
    ) -> Result<Vec<(String, StoredOffset)>, SinkError> {
        self.run(async |session, sql| offsets::read_of_others(session, sql, bridge, journals).await).await
    }

    fn rename_bridge_sql(&self, from: &str, to: &str, journals: &[JournalId]) -> String {
        rename_bridge_sql(&self.sql.offsets, &self.sql.dead_letters, from, to, journals)
    }

    async fn last_stored(
        &mut self,
        bridge: &str,
        places: &[RetainedPlace],
    ) -> Result<HashMap<RetainedPlace, i64>, SinkError> {
        let found = self.run(async |session, sql| retained::last_stored(session, sql, bridge, places).await).await;
        match found {
            Err(refused) => Err(self.with_rights(refused, Rights::new(&self.sql.schema)).await),
            found => found,
        }
    }

    async fn succeed_offset(
        &mut self,
        bridge: &str,
        gone: JournalId,
        journal: JournalId,
        next_seq: Seq,
    ) -> Result<(), SinkError> {
        let succeeded =
            self.run(async |session, sql| offsets::succeed(session, sql, bridge, gone, journal, next_seq).await).await;
        let Err(refused) = succeeded else { return succeeded };
        Err(self.with_rights(refused, Rights::new(&self.sql.schema)).await)
    }

    async fn start_offset(&mut self, bridge: &str, journal: JournalId, next_seq: Seq) -> Result<(), SinkError> {
        let started =
            self.run(async |session, sql| offsets::start(session, sql, bridge, journal, next_seq).await).await;
        let Err(refused) = started else { return started };
        Err(self.with_rights(refused, Rights::new(&self.sql.schema)).await)
    }

    async fn describe(&mut self, table: &TableName) -> Result<Option<TableSchema>, SinkError> {
        Ok(self.describe_all(&[table]).await?.pop().flatten())
    }

    async fn describe_all(&mut self, tables: &[&TableName]) -> Result<Vec<Option<TableSchema>>, SinkError> {
        let mut names = Vec::with_capacity(tables.len());
        for table in tables {
            let (schema, name) = self.qualified(table);
            if let Some(long) = [schema, name].into_iter().find(|part| part.len() > IDENTIFIER_BYTES_MAX) {
                return Err(own(
                    Class::Table,
                    "42622",
                    format!("the name {long} is {} bytes long, Postgres holds {IDENTIFIER_BYTES_MAX}", long.len()),
                    "choose a shorter name",
                ));
            }
            names.push((schema.to_owned(), name.to_owned()));
        }
        let described = self.run(async |session, sql| {
            // Messages may name many tables that are not there: one question for all of them.
            let names = match names.len() {
                0 | 1 => names.into_iter().map(Some).collect(),
                _ => {
                    let work = around(session.client(), &sql.begin_read, absent::present(session.client(), names));
                    session.wait(3, "looking for tables", work).await?
                }
            };
            let there: Vec<(String, String)> = names.iter().flatten().cloned().collect();
            let mut found = Vec::with_capacity(there.len());
            for tables in there.chunks(DESCRIBED_AT_ONCE) {
                let doing = match tables {
                    [(schema, name)] => format!("reading the columns of {schema}.{name}"),
                    _ => "reading the columns of tables".to_owned(),
                };
                // Boxed: four queries' futures together are large, and this is not a hot path.
                let work =
                    around(session.client(), &sql.begin_read, Box::pin(schema::describe(session.client(), tables)));
                // However many tables: the catalogue answers quickly, and a server that is gone is to be noticed.
                found.extend(session.wait(6, &doing, work).await?);
            }
            let mut found = found.into_iter();
            let described = names.iter().map(|name| name.as_ref().and_then(|_| found.next().flatten())).collect();
            Ok(described)
        });
        described.await.map_err(of_the_name)
    }

    async fn holds_name(&mut self, name: &str) -> Result<bool, SinkError> {
        self.run(async |session, _| server::holds(session, name).await).await
    }

    async fn describe_statement(
        &mut self,
        name: &TableName,
        statement: &Arc<Statement>,
        _: &[Option<DeclaredType>],
    ) -> Result<TableSchema, SinkError> {
        self.run(async |session, sql| statements::describe(session, sql, name, statement).await).await
    }

    async fn instead_of(&mut self, table: &TableName) -> Result<Option<String>, SinkError> {
        let (schema, name) = self.qualified(table);
        let (schema, name) = (schema.to_owned(), name.to_owned());
        self.run(async |session, sql| {
            let client = session.client();
            let asking = around(client, &sql.begin_read, Box::pin(absent::instead(client, &schema, &name)));
            session.wait(3, "looking for a table's name", asking).await
        })
        .await
    }

    async fn unfit_to_publish(&mut self, table: &TableName) -> Result<Option<Unfit>, SinkError> {
        let (schema, name) = self.qualified(table);
        let (schema, name) = (schema.to_owned(), name.to_owned());
        self.run(async |session, sql| {
            let client = session.client();
            let asking = around(client, &sql.begin_read, Box::pin(changes::unfit(client, &schema, &name)));
            session.wait(3, "looking at a table to publish", asking).await
        })
        .await
    }

    fn create_table_sql(&self, table: &TableName, new: &NewTable<'_>) -> String {
        let (schema, name) = self.qualified(table);
        created::table_sql(schema, name, new)
    }

    async fn create_table(&mut self, table: &TableName, new: &NewTable<'_>) -> Result<String, SinkError> {
        let sql_text = self.create_table_sql(table, new);
        let result = self
            .run(async |session, sql| {
                let client = session.client();
                let begin = format!("{}; {CATALOGUE_FIRST}", sql.begin);
                let work = around(client, &begin, client.batch_execute(&sql_text));
                session.wait(3, "creating a table", work).await
            })
            .await;
        match result {
            Err(mut error) if error.code == MISSING_RIGHT => {
                error.message = format!("{}\n{sql_text}", error.message);
                error.advice = "this role may not make the table: let another role run this SQL and GRANT this one INSERT, or GRANT CREATE \
                                ON SCHEMA to this one";
                Err(error)
            }
            Err(error) if !ALREADY_THERE.contains(&error.code.as_str()) => Err(error),
            _ => Ok(sql_text),
        }
    }

    fn add_index_sql(&self, table: &TableName, index: &NewIndex<'_>) -> String {
        let (schema, name) = self.qualified(table);
        created::add_index_sql(schema, name, index)
    }

    async fn indexes(&mut self, table: &TableName) -> Result<Vec<LiveIndex>, SinkError> {
        let (schema, name) = self.qualified(table);
        let (schema, name) = (schema.to_owned(), name.to_owned());
        self.run(async |session, sql| {
            let client = session.client();
            let asking = around(client, &sql.begin_read, Box::pin(created::indexes(client, &schema, &name)));
            session.wait(3, "reading a table's indexes", asking).await
        })
        .await
    }

    fn add_columns_sql(&self, table: &TableName, columns: &[(&str, DeclaredType)]) -> String {
        let (schema, name) = self.qualified(table);
        let add = |(name, declared): &(&str, DeclaredType)| {
            format!("ADD COLUMN IF NOT EXISTS {} {}", quote(name), PostgresDialect::type_sql(declared))
        };
        let columns: Vec<String> = columns.iter().map(add).collect();
        format!("ALTER TABLE {}.{} {}", quote(schema), quote(name), columns.join(", "))
    }

    async fn add_columns(&mut self, table: &TableName, columns: &[(&str, DeclaredType)]) -> Result<(), SinkError> {
        let altering = self.add_columns_sql(table, columns);
        self.run(async |session, sql| {
            let client = session.client();
            let begin = format!("{}; SET LOCAL lock_timeout = {ALTER_LOCK_MILLIS}; {CATALOGUE_FIRST}", sql.begin);
            let work = around(client, &begin, client.batch_execute(&altering));
            let added = session.wait(3, "adding columns to a table", work).await;
            added.map_err(|error| match error.code.as_str() {
                LOCK_NOT_AVAILABLE => SinkError {
                    class: Class::Table,
                    code: IN_USE.to_owned(),
                    advice: "nothing, once the other users of the table are done; pg_stat_activity and pg_locks name \
                             them",
                    ..error
                },
                _ => error,
            })
        })
        .await
    }

    async fn verify(&mut self, tables: &[&TableSchema]) -> Result<(), SinkError> {
        // Outside a transaction there is nothing to roll back after it.
        let verified = self.run(async |session, _| match witness::verify(session, tables).await {
            Err(error) if error.class == Class::Transient => Err(error),
            verified => Ok(verified),
        });
        verified.await?
    }

    async fn write(&mut self, batch: &Batch) -> Result<Written, SinkError> {
        let written = self.run(async |session, sql| write::write(session, sql, batch).await).await;
        self.was_ended_by_rows = written.as_ref().is_err_and(|error| error.class == Class::SessionEnded);
        let Err(refused) = written else { return written };
        let tables: Vec<_> = batch.tables_at_stake().collect();
        Err(self.with_rights(refused, self.rights(batch, &tables)).await)
    }

    async fn write_series<T: Series>(&mut self, series: &mut T) -> Result<Written, SinkError> {
        if !series.may_advance() {
            return self.write(series.batch()).await;
        }
        self.run(async |session, sql| series::write(session, sql, series).await).await
    }

    async fn refused_units(&mut self, batch: &Batch) -> Result<Refusals, SinkError> {
        let walked = match self.was_ended_by_rows {
            true => None,
            false => Some(self.run(async |session, sql| walk::refused_units(session, sql, batch).await).await),
        };
        let (mut refusals, session_lives) = match walked {
            // Behind the row that `write` met, another one ends the session.
            None | Some(Err(SinkError { class: Class::SessionEnded, .. })) => {
                let open = async || self.reopen().await;
                let refusals = Box::pin(walk::ender::refused_units(&open, &self.sql, batch)).await?;
                self.session = Some(walk::ender::patiently(open).await?);
                return Ok(refusals);
            }
            Some(walked) => walked?,
        };
        if !session_lives {
            self.session = self.reopen().await.ok();
        }
        for closed in &mut refusals.closed {
            let needed = self.rights(batch, &[&closed.table]);
            closed.error = self.with_rights(closed.error.clone(), needed).await;
        }
        Ok(refusals)
    }

    async fn write_in_order(&mut self, batch: &Batch) -> Result<Written, SinkError> {
        self.run(async |session, sql| walk::write_in_order(session, sql, batch).await).await
    }

    async fn purge_dead_letters(&mut self, bridge: &str, before: Timestamp) -> Result<u64, SinkError> {
        self.run(async |session, sql| dead_letters::purge(session, sql, bridge, before).await).await
    }

    async fn parked(&mut self, bridge: &str) -> Result<Vec<ParkedRule>, SinkError> {
        self.run(async |session, sql| parked::rules(session, sql, bridge).await).await
    }

    async fn parked_letters(
        &mut self,
        bridge: &str,
        rules: &[&str],
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<ParkedLetter>, SinkError> {
        self.run(async |session, sql| parked::letters(session, sql, bridge, rules, limit, bytes_max).await).await
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        if let Some(session) = self.session.take() {
            session.close().await;
        }
        Ok(())
    }
}

/// No row is at fault where none was sent. A name with a character that the database's encoding lacks is refused like a value.
fn of_the_name(error: SinkError) -> SinkError {
    if error.class != Class::Row {
        return error;
    }
    SinkError { class: Class::Table, advice: "name a table with characters that the database's encoding has", ..error }
}

impl DeadLetterStore for PostgresSink {
    async fn dead_letters(
        &mut self,
        filter: &DeadLetterFilter,
        limit: u32,
    ) -> Result<Vec<StoredDeadLetter>, SinkError> {
        self.run(async |session, sql| letters::page(session, sql, filter, limit).await).await
    }

    async fn dead_letter_extent(&mut self, filter: &DeadLetterFilter) -> Result<DeadLetterExtent, SinkError> {
        self.run(async |session, sql| letters::extent(session, sql, filter).await).await
    }

    async fn dead_letters_by_rule(&mut self, filter: &DeadLetterFilter) -> Result<Vec<(String, u64)>, SinkError> {
        self.run(async |session, sql| letters::by_rule(session, sql, filter).await).await
    }

    async fn whole_letters(
        &mut self,
        filter: &DeadLetterFilter,
        after: LetterPlace,
        limit: u32,
        bytes_max: usize,
    ) -> Result<Vec<ParkedLetter>, SinkError> {
        self.run(async |session, sql| letters::whole(session, sql, filter, after, limit, bytes_max).await).await
    }

    async fn delete_dead_letters(&mut self, filter: &DeadLetterFilter, limit: u32) -> Result<u64, SinkError> {
        self.run(async |session, sql| letters::delete(session, sql, filter, limit).await).await
    }
}
