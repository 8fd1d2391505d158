//! Finds the row that ends the session which writes it: a trigger that ends its own backend, or a value at which an
//! extension crashes the server.
//!
//! The server names no row then, and the transaction is gone. So each trial has a session of its own and is rolled back. The
//! batch is halved until one unit is left. That unit is at fault if it ends every session, and other rows of its tables go
//! in between: a link that breaks or a server that is stopped keeps no such order. If no other row goes in, the table is
//! closed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::doubt::spread;
use super::{DOING, Walk, write};
use crate::batch::Batch;
use crate::sink::postgres::failure::own;
use crate::sink::postgres::session::Session;
use crate::sink::postgres::transaction::{BOUND_LOCK_WAIT, Sql};
use crate::sink::{Class, ClosedTable, Refusal, Refusals, SinkError};

/// So many times other rows of its tables must go in while the unit ends its session each time.
const ROUNDS: usize = 2;

/// Trials of other rows, some of which may be refused themselves.
const TRIALS_MAX: usize = 6;

/// How long a server that crashed is given to take connections again. It syncs all of its files first: a search that ended
/// before that would begin again with another crash.
const RECOVERY: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);

const ADVICE: &str = "look at the table's triggers, and in the server's log for a crash";

/// What came of some units on a session of their own.
enum Trial {
    Taken,
    Refused,
    Ended(SinkError),
}

/// As [`super::refused_units`], after the session was ended; `open` makes another one. Nothing is found if no unit does it
/// by itself.
pub(in crate::sink::postgres) async fn refused_units(
    open: impl AsyncFn() -> Result<Session, SinkError>,
    sql: &Sql,
    batch: &Batch,
) -> Result<Refusals, SinkError> {
    let units: Vec<usize> = (0..batch.units.len()).filter(|&unit| !batch.is_excluded(unit)).collect();
    let trial = async |units: &[usize]| trial(&open, sql, batch, units).await;
    let mut suspects = &units[..];
    while suspects.len() > 1 {
        let (first, second) = suspects.split_at(suspects.len() / 2);
        suspects = if let Trial::Ended(_) = trial(first).await? { first } else { second };
    }
    let &[unit] = suspects else { return Ok(Refusals::default()) };
    let Trial::Ended(mut ended) = trial(&[unit]).await? else { return Ok(Refusals::default()) };

    let fills_all = |other: usize| {
        let mut needed = batch.tables_of(unit);
        needed.all(|table| batch.tables_of(other).any(|filled| filled.name == table.name))
    };
    let others: Vec<usize> = units.iter().copied().filter(|&other| other != unit && fills_all(other)).collect();
    let sample: Vec<usize> = spread(others.len()).map(|index| others[index]).collect();
    let mut passed = 0;
    for &other in sample.iter().cycle().take(TRIALS_MAX) {
        if let Trial::Taken = trial(&[other]).await? {
            passed += 1;
        }
        let Trial::Ended(again) = trial(&[unit]).await? else { return Ok(Refusals::default()) };
        ended = again;
        if passed == ROUNDS {
            let message =
                format!("the server ends the session whenever this row is written ({}); {ADVICE}", ended.code);
            return Ok(Refusals { units: vec![Refusal { unit, reason: "constraint", message }], closed: Vec::new() });
        }
    }
    let Some(table) = batch.tables_of(unit).next() else { return Ok(Refusals::default()) };
    let message = format!("{}; the server ends the session whenever a row is written", ended.message);
    let error = own(Class::Table, &ended.code, message, ADVICE);
    let closed = ClosedTable { unit, table: Arc::clone(table), error, at_start: false, is_its_own: true };
    Ok(Refusals { units: Vec::new(), closed: vec![closed] })
}

async fn trial(
    open: &impl AsyncFn() -> Result<Session, SinkError>,
    sql: &Sql,
    batch: &Batch,
    units: &[usize],
) -> Result<Trial, SinkError> {
    // A server that has not noticed yet that a session crashed takes another one, and ends it.
    let session = patiently(async || begin(open, sql, batch).await).await?;
    let mut walk = Walk::of(&session, batch, units.to_vec());
    // Boxed: it is large, and this is no hot path.
    let walked = Box::pin(walk.run()).await;
    let is_taken = walk.refused.is_empty() && walk.closed.is_empty();
    let ended = match walked {
        Ok(()) => None,
        Err(error) if error.class == Class::SessionEnded || session.client().is_closed() => Some(error),
        Err(error) => return Err(error),
    };
    session.close().await;
    Ok(match ended {
        Some(error) => Trial::Ended(error),
        None if is_taken => Trial::Taken,
        None => Trial::Refused,
    })
}

/// Tries again while the server recovers.
pub(in crate::sink::postgres) async fn patiently(
    open: impl AsyncFn() -> Result<Session, SinkError>,
) -> Result<Session, SinkError> {
    let begun = Instant::now();
    loop {
        match open().await {
            Err(error) if error.class.is_connection_lost() && begun.elapsed() < RECOVERY => {
                tokio::time::sleep(PAUSE).await;
            }
            opened => return opened,
        }
    }
}

async fn begin(
    open: &impl AsyncFn() -> Result<Session, SinkError>,
    sql: &Sql,
    batch: &Batch,
) -> Result<Session, SinkError> {
    let session = open().await?;
    session.settle_bridge(&batch.offset.bridge).await?;
    write::begin(&session, sql, batch, &[], false).await?;
    session.wait(1, DOING, session.client().batch_execute(BOUND_LOCK_WAIT)).await?;
    Ok(session)
}
