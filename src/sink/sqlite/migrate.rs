//! Migrates Rowbridge's own tables: numbered steps, each applied once, even if several bridges start together.
//!
//! The version is stored in a table of ours and not in `PRAGMA user_version`, which belongs to the database's owner.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::codes::{Moment, sink_error};
use super::time_text;
use crate::clock;
use crate::sink::{Class, SinkError};

/// Step `n` brings version `n` to `n + 1`. Released steps are never changed.
pub(super) const STEPS: &[&str] = &[
    include_str!("../../../migrations/sqlite/0001_offsets_and_dead_letters.sql"),
    include_str!("../../../migrations/sqlite/0002_parked_messages.sql"),
    include_str!("../../../migrations/sqlite/0003_retained.sql"),
];

/// Brings the database to this program's version.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), SinkError> {
    let failed = |error: rusqlite::Error| {
        sink_error("cannot create or update the tables rowbridge_*", &error, Moment::Elsewhere)
    };
    // A look without the write lock: a restart must not wait for another writer.
    if pending(version(connection).map_err(failed)?)?.is_empty() {
        return Ok(());
    }
    // The lock is taken before the version is read: of two bridges that start at once, one waits for the other.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    transaction
        .execute_batch(
            "CREATE TABLE IF NOT EXISTS rowbridge_schema_version
             (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL)",
        )
        .map_err(failed)?;
    crash_point!("sqlite.migration.begun");
    let current = version(&transaction).map_err(failed)?;
    for (step, number) in pending(current)?.iter().zip(current + 1..) {
        crash_point!(
            "sqlite.migration.half",
            step.split_once(");").map(|(half, _)| transaction.execute_batch(&format!("{half});")))
        );
        transaction.execute_batch(step).map_err(failed)?;
        crash_point!("sqlite.migration.stepped");
        transaction
            .execute(
                "INSERT INTO rowbridge_schema_version (version, applied_at) VALUES (?1, ?2)",
                (number as i64, time_text::own_timestamp(clock::now())),
            )
            .map_err(failed)?;
    }
    transaction.commit().map_err(failed)?;
    crash_point!("sqlite.migration.committed");
    Ok(())
}

/// The steps that a database of this version lacks.
fn pending(version: usize) -> Result<&'static [&'static str], SinkError> {
    STEPS.get(version..).ok_or_else(|| SinkError {
        class: Class::Table,
        code: "version".to_owned(),
        message: format!(
            "the tables rowbridge_* are of version {version}, made by a newer rowbridge; this one knows {}",
            STEPS.len()
        ),
        advice: "install the newer rowbridge again",
    })
}

/// 0 for a database that Rowbridge never saw.
fn version(connection: &Connection) -> rusqlite::Result<usize> {
    let exists = connection
        .query_row("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'rowbridge_schema_version'", [], |_| {
            Ok(())
        })
        .optional()?
        .is_some();
    if !exists {
        return Ok(0);
    }
    let version: i64 =
        connection.query_row("SELECT coalesce(max(version), 0) FROM rowbridge_schema_version", [], |row| row.get(0))?;
    // A version that is no count at all is as unknown as one from the future.
    Ok(usize::try_from(version).unwrap_or(usize::MAX))
}
