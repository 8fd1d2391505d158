//! Several batches in one transaction, so that a database that lags behind catches up over a long round trip.
//!
//! ```text
//! round trip 1   BEGIN · lock of the offset's row · PREPARE of every COPY of the first batch
//!            2   start of the first COPY
//!            –   rows, batch after batch, while the server processes the previous ones; two more for each change to a
//!                table that was not prepared yet, one for each other change: so rows for several tables are collected first
//!            3   dead letters · compare-and-swap · comparison of the tables · COMMIT
//! ```
//!
//! The offset at the end of the transaction is not known at its begin. So the offset's row is locked first, under the
//! condition that the compare-and-swap repeats at the end. The lock then has every property that
//! [`write`](super::write) describes for the compare-and-swap at the beginning.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio_postgres::{CopyInSink, Error, Statement};

use super::copy::{self, Rows};
use super::retained::REMEMBERING;
use super::session::Session;
use super::transaction::Sql;
use super::witness::Expected;
use super::write::{BEGINNING, DEAD_LETTERS};
use super::{dead_letters, offsets, retained, statements};
use crate::batch::{Batch, Owner, Target, last_of};
use crate::sink::{Series, SinkError, Written};

/// Rows for several tables that are collected in memory. With 1,000 tables and rows of 130 bytes, each gets 130 rows at a time:
/// a change of table takes as long as some 200 rows.
const POOL_BYTES: usize = 16 << 20;

/// Writes as many batches as there are; `Ok` only after COMMIT was confirmed.
pub(super) async fn write(session: &Session, sql: &Sql, series: &mut impl Series) -> Result<Written, SinkError> {
    let mut lane =
        Lane { session, prepared: Vec::new(), uncopied: Vec::new(), open: None, written: Written::default() };
    let mut pool = Batch::new(series.offset());
    lane.begin(sql, series.batch()).await?;
    crash_point!("postgres.series.begun");
    loop {
        let batch = series.batch();
        if batch.has_several_targets() {
            pool.append_rows(batch);
            if pool.byte_count() >= POOL_BYTES {
                lane.send_pool(&mut pool).await?;
            }
        } else {
            lane.send_pool(&mut pool).await?;
            lane.send(batch).await?;
        }
        crash_point!("postgres.series.sent");
        // The connection's task writes only while this one waits, and mapping the next batch does not wait.
        tokio::task::yield_now().await;
        if !series.advance() {
            lane.send_pool(&mut pool).await?;
            let written = lane.commit(sql, series).await?;
            crash_point!("postgres.series.committed");
            return Ok(written);
        }
    }
}

/// The transaction under way.
struct Lane<'a> {
    session: &'a Session,
    prepared: Vec<Prepared>,
    /// What took rows otherwise than by COPY, each once: tables by INSERT, and rules' own statements.
    uncopied: Vec<Arc<Target>>,
    open: Option<OpenCopy>,
    written: Written,
}

/// The COPY that is prepared for a target.
struct Prepared {
    target: Arc<Target>,
    statement: Statement,
}

/// The COPY that takes rows now.
struct OpenCopy {
    target: Arc<Target>,
    /// For messages.
    doing: String,
    copy: Pin<Box<CopyInSink<Bytes>>>,
    /// Rows sent into it so far, and whose they are.
    sent: u64,
    owner: Owner,
}

impl Lane<'_> {
    /// The first round trip.
    async fn begin(&mut self, sql: &Sql, batch: &Batch) -> Result<(), SinkError> {
        let (session, client) = (self.session, self.session.client());
        let rows = Rows::all_of(batch);
        let (tables, _) = statements::split(&rows);
        let all = async {
            tokio::join!(
                biased;
                client.batch_execute(&sql.begin),
                offsets::lock(session, sql, &batch.offset),
                join_all(tables.iter().map(|rows| rows.prepare(client))),
            )
        };
        let (begun, locked, prepared) = session.patience(3, BEGINNING, all).await?;
        begun.map_err(|error| session.explain(&error, BEGINNING))?;
        locked.map_err(|error| offsets::moved_or_failed(session, &batch.offset, &error))?;
        self.keep(tables, prepared)
    }

    /// Sends what was collected.
    async fn send_pool(&mut self, pool: &mut Batch) -> Result<(), SinkError> {
        if pool.row_count_of_all() > 0 {
            self.send(pool).await?;
            pool.clear(pool.offset.from);
        }
        Ok(())
    }

    /// Sends the rows of a batch, table after table, then runs rules' own statements.
    async fn send(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let rows = Rows::all_of(batch);
        let (tables, own) = statements::split(&rows);
        self.prepare(tables).await?;
        for rows in tables {
            let session = self.session;
            if rows.by_insert() {
                self.insert(rows).await?;
                continue;
            }
            let open = self.open(rows).await?;
            open.sent += rows.count();
            open.owner = open.owner.and(rows.owner());
            session.wait(1, &open.doing, rows.feed(open.copy.as_mut())).await?;
        }
        if own.is_empty() {
            return Ok(());
        }
        own.iter().for_each(|rows| self.note_uncopied(rows));
        let session = self.session;
        let running = Box::pin(statements::run(session, own, async {}));
        self.behind_the_open_copy(2, running).await?.map_err(|failed| failed.explain(session, own))
    }

    /// Its definition is compared before COMMIT, as those of the COPYs are.
    fn note_uncopied(&mut self, rows: &Rows<'_>) {
        if !self.uncopied.iter().any(|known| known.is_like(rows.target())) {
            self.uncopied.push(Arc::clone(rows.target()));
        }
    }

    /// Sends the rows of a table that takes them by INSERT only, after those of the open COPY.
    async fn insert(&mut self, rows: &Rows<'_>) -> Result<(), SinkError> {
        self.note_uncopied(rows);
        let inserting = rows.insert(self.session.client());
        let taken = self.behind_the_open_copy(rows.statement_count(), inserting).await?;
        let taken = taken.map_err(|error| self.session.explain(&error, &rows.doing()))?;
        rows.note(taken, &mut self.written);
        Ok(())
    }

    /// Prepares the COPYs that are not prepared yet, which the server does only when the open one has ended.
    async fn prepare(&mut self, tables: &[Rows<'_>]) -> Result<(), SinkError> {
        let new: Vec<&Rows<'_>> =
            tables.iter().filter(|rows| !rows.by_insert() && self.statement(rows).is_none()).collect();
        if new.is_empty() {
            return Ok(());
        }
        let client = self.session.client();
        let preparing = join_all(new.iter().map(|rows| rows.prepare(client)));
        let prepared = self.behind_the_open_copy(2, preparing).await?;
        self.keep(new, prepared)
    }

    fn keep<'r, 'b: 'r>(
        &mut self,
        tables: impl IntoIterator<Item = &'r Rows<'b>>,
        prepared: Vec<Result<Option<Statement>, Error>>,
    ) -> Result<(), SinkError> {
        for (rows, statement) in tables.into_iter().zip(prepared) {
            let statement = statement.map_err(|error| self.session.explain(&error, &rows.doing()))?;
            let Some(statement) = statement else { continue };
            self.prepared.push(Prepared { target: Arc::clone(rows.target()), statement });
        }
        Ok(())
    }

    fn statement(&self, rows: &Rows<'_>) -> Option<Statement> {
        let mut all = self.prepared.iter();
        all.find(|prepared| prepared.target.is_like(rows.target())).map(|prepared| prepared.statement.clone())
    }

    /// The open COPY into the rows' target; another one ends, and its end travels with the start of this one.
    async fn open(&mut self, rows: &Rows<'_>) -> Result<&mut OpenCopy, SinkError> {
        if self.open.as_ref().is_none_or(|open| !open.target.is_like(rows.target())) {
            let statement = self.statement(rows).expect("every COPY of a batch is prepared before its rows are sent");
            let client = self.session.client();
            let starting = async { client.copy_in(&statement).await };
            let started = self.behind_the_open_copy(2, starting).await?;
            let doing = rows.doing();
            let copy = started.map_err(|error| copy::explain_start(self.session, &error, &doing))?;
            let mut copy = Box::pin(copy);
            self.session.wait(1, &doing, copy::begin(copy.as_mut())).await?;
            let target = Arc::clone(rows.target());
            self.open = Some(OpenCopy { target, doing, copy, sent: 0, owner: Owner::Nobody });
        }
        Ok(self.open.as_mut().expect("it was opened where it was not"))
    }

    /// Ends the COPY that is open, with `next`, so many statements, sent right behind its rows.
    async fn behind_the_open_copy<T>(
        &mut self,
        statements: u32,
        next: impl Future<Output = T>,
    ) -> Result<T, SinkError> {
        let Some(mut open) = self.open.take() else {
            return self.session.patience(statements, BEGINNING, next).await;
        };
        let both = async { tokio::join!(biased; copy::end(open.copy.as_mut()), next) };
        let (taken, next) = self.session.patience(statements.saturating_add(1), &open.doing, both).await?;
        let taken = taken.map_err(|error| self.session.explain(&error, &open.doing))?;
        self.written.note(&open.target, open.owner.rule(), open.sent, taken);
        Ok(next)
    }

    /// The last round trip.
    async fn commit(mut self, sql: &Sql, series: &impl Series) -> Result<Written, SinkError> {
        let (session, client) = (self.session, self.session.client());
        let (batch, offset) = (series.batch(), series.offset());
        // A table of an earlier batch is among the targets, those that earlier batches were judged by are with this one.
        let written = self.prepared.iter().map(|prepared| &*prepared.target.table);
        let written = written.chain(self.uncopied.iter().map(|target| &*target.table));
        let expected = Expected::of(written.chain(batch.tables_at_stake()));
        // Closes the statements, ahead of COMMIT.
        self.prepared.clear();
        let bridge = &offset.bridge;
        let remembered = last_of(series.earlier_remembered().iter().chain(&batch.remembered));
        let all = async {
            tokio::join!(
                biased;
                dead_letters::insert(session, sql, bridge, series.earlier_dead_letters()),
                dead_letters::insert(session, sql, bridge, &batch.dead_letters),
                retained::remember(session, sql, bridge, &remembered),
                offsets::compare_and_swap(session, sql, &offset),
                expected.commit(client),
            )
        };
        // Boxed: all of this together is large, and a series is a second's work.
        let ending = Box::pin(self.behind_the_open_copy(6, all));
        let (earlier, inserted, kept, moved, closing) = session.committing(6, ending).await??;
        earlier.and(inserted).map_err(|error| offsets::ours(session.explain(&error, DEAD_LETTERS)))?;
        kept.map_err(|error| offsets::ours(session.explain(&error, REMEMBERING)))?;
        moved.map_err(|error| offsets::moved_or_failed(session, &offset, &error))?;
        closing.explain(session)?;
        Ok(self.written)
    }
}
