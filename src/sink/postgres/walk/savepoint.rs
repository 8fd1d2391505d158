//! Writes the rows of some units under a savepoint, which is kept if all of them went in and the session still reads texts as
//! before.

use tokio_postgres::Error;

use crate::sink::Written;
use crate::sink::postgres::copy::{self, CopyError, Rows, Start};
use crate::sink::postgres::session::Session;
use crate::sink::postgres::statements::{self, Failed};
use crate::sink::postgres::transaction::encoding_kept;

pub(super) const BACK: &str = "ROLLBACK TO SAVEPOINT attempt; RELEASE SAVEPOINT attempt";

const KEEP: &str = concat!("SELECT ", encoding_kept!(), "; RELEASE SAVEPOINT attempt");

/// The outer error is a COPY's, the inner one that of the savepoint around it.
pub(super) async fn write_under_savepoint(
    session: &Session,
    tables: &[Rows<'_>],
    written: &mut Written,
) -> Result<Result<(), Error>, CopyError> {
    let client = session.client();
    let (tables, own) = statements::split(tables);
    let (saved, prepared) = tokio::join!(
        biased;
        client.batch_execute("SAVEPOINT attempt"),
        futures_util::future::join_all(tables.iter().map(|rows| rows.prepare(client))),
    );
    if let Err(error) = saved {
        return Ok(Err(error));
    }
    let mut copies = Vec::with_capacity(tables.len());
    for (table, prepared) in prepared.into_iter().enumerate() {
        copies.push(prepared.map_err(|error| CopyError { table, error, at_start: true, line: None })?);
    }
    let last = Box::pin(statements::run(session, own, client.batch_execute(KEEP)));
    let failed = |Failed { portion, line, error }| CopyError {
        table: tables.len() + portion,
        error,
        at_start: false,
        line: Some(line),
    };
    copy::run(session, tables, copies, Start::InTurn, last, written).await?.map_err(failed)
}
