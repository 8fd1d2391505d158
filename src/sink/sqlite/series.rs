//! Several batches in one transaction, written by a second thread while this one makes the next batch. With two
//! processors, catching up takes as long as the slower of the two.
//!
//! The offset at the end of the transaction is not known at its begin. So the write lock is taken first and the offset
//! compared under it, and nobody can move the offset before the compare-and-swap at the end.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Transaction;

use super::codes::{Moment, sink_error};
use super::connect::OpenDatabase;
use super::write::{InsertError, Inserter, begin};
use super::{ledger, retained, witness};
use crate::batch::{self, Batch, DeadLetter, OffsetMove, Remembered, last_of};
use crate::schema::TableSchema;
use crate::sink::{Class, Series, SinkError, Written};

/// A transaction ends after this time, or with this many bytes of rows. Other processes use the file between
/// transactions. Each row may touch a separate page of an index on random keys, which is slow in itself: at 10 µs for a
/// page, 10,000 of them are 40 MiB of log. A commit costs some 10 ms, including its share of a checkpoint.
const SERIES_TIME_MAX: Duration = Duration::from_millis(100);
const SERIES_BYTES_MAX: usize = 8 << 20;

/// Rows for many tables that are collected before the writing thread gets them. With 1,000 tables and rows of 130 bytes,
/// each gets 30 rows at a time, in two statements.
const POOL_BYTES: usize = 4 << 20;

/// Portions that wait for the writing thread.
const AHEAD: usize = 1;

/// What the writing thread is given.
enum Portion {
    Rows(Vec<batch::Portion>),
    /// Nothing more comes: the rest of the transaction.
    End {
        letters: Vec<DeadLetter>,
        remembered: Vec<Remembered>,
        judged: Vec<Arc<TableSchema>>,
        offset: OffsetMove,
    },
}

/// Writes as many batches as there are; `Ok` only after COMMIT.
pub(super) fn write(open: &mut OpenDatabase, series: &mut impl Series) -> Result<Written, SinkError> {
    let from = OffsetMove { to: series.offset().from, ..series.offset() };
    thread::scope(|scope| {
        let (portions, given) = sync_channel(AHEAD);
        let writer = thread::Builder::new()
            .name("sqlite".to_owned())
            .spawn_scoped(scope, move || transact(open, &from, &given))
            .map_err(|error| no_thread(&error))?;
        let begun = Instant::now();
        let mut bytes = 0;
        let mut pool = Batch::new(series.offset());
        loop {
            bytes += series.batch().byte_count();
            let mut rows = Vec::new();
            if series.batch().is_scattered() {
                pool.append_rows(series.batch());
            } else {
                rows = take_all(&mut pool);
                rows.extend(series.take_rows());
            }
            if pool.byte_count() >= POOL_BYTES {
                rows = take_all(&mut pool);
            }
            // The writer takes no more once it failed; why, it says itself.
            if !rows.is_empty() && portions.send(Portion::Rows(rows)).is_err() {
                break;
            }
            if begun.elapsed() >= SERIES_TIME_MAX || bytes >= SERIES_BYTES_MAX || !series.advance() {
                let _ = portions.send(Portion::Rows(take_all(&mut pool)));
                let letters = [series.earlier_dead_letters(), &series.batch().dead_letters].concat();
                let remembered = [series.earlier_remembered(), &series.batch().remembered].concat();
                let judged = series.batch().judged.clone();
                let _ = portions.send(Portion::End { letters, remembered, judged, offset: series.offset() });
                break;
            }
        }
        drop(portions);
        writer.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

fn take_all(pool: &mut Batch) -> Vec<batch::Portion> {
    let rows = pool.take_rows();
    pool.clear(pool.offset.from);
    rows
}

/// The writing thread. Whatever goes wrong, the transaction is rolled back as it goes out of scope.
fn transact(open: &mut OpenDatabase, from: &OffsetMove, given: &Receiver<Portion>) -> Result<Written, SinkError> {
    let mut written = Written::default();
    let transaction = begin(&mut open.connection)?;
    ledger::move_offset(&transaction, from)?;
    let version = witness::current(&transaction)?;
    open.foreign_keys.put_off(&transaction, version)?;
    crash_point!("sqlite.series.begun");
    while let Ok(portion) = given.recv() {
        match portion {
            Portion::Rows(rows) => {
                witness::check(version, rows.iter().map(|rows| &*rows.target.table))?;
                insert(&transaction, &rows, &mut written)?;
                crash_point!("sqlite.series.inserted");
            }
            Portion::End { letters, remembered, judged, offset } => {
                witness::check(version, judged.iter().map(|table| &**table))?;
                ledger::add_dead_letters(&transaction, &offset.bridge, &letters)?;
                retained::remember(&transaction, &offset.bridge, &last_of(remembered.iter()))?;
                ledger::move_offset(&transaction, &offset)?;
                transaction.commit().map_err(|error| sink_error("cannot commit the batch", &error, Moment::Commit))?;
                crash_point!("sqlite.series.committed");
                return Ok(written);
            }
        }
    }
    // Whoever gave the portions is gone, in a panic of its own.
    Ok(written)
}

fn insert(transaction: &Transaction<'_>, portions: &[batch::Portion], written: &mut Written) -> Result<(), SinkError> {
    for rows in portions {
        let all: Vec<usize> = (0..rows.ends.len()).collect();
        let taken = Inserter::new(transaction, rows).insert_all(&all).map_err(InsertError::into_sink_error)?;
        written.note(&rows.target, rows.owner.rule(), all.len() as u64, taken);
    }
    Ok(())
}

fn no_thread(error: &std::io::Error) -> SinkError {
    SinkError {
        class: Class::Transient,
        code: "thread".to_owned(),
        message: format!("cannot start a thread to write with: {error}"),
        advice: "raise the limit on threads or memory (ulimit, TasksMax=)",
    }
}
