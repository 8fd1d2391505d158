//! The begin and end of every transaction.
//!
//! All settings are the transaction's own (SET LOCAL), but for a `client_encoding` that somebody changed: it is put back for
//! good. Nothing of ours remains in the server's session, so a pooler may hand it to another client afterwards (PgBouncer's
//! transaction mode). For the same reason no prepared statement outlives its transaction: queries use the unnamed one, and a
//! COPY's is closed before COMMIT is queued.
//!
//! Triggers, defaults and functions of the tables run in our transactions and use the role's own `search_path`, which
//! is therefore not changed. A schema before `pg_catalog` in it must not affect our statements. So they name the schema
//! of every table, function, type and operator; statements that only read the catalogue set `pg_catalog` first instead.
//! They may also leave the session with another `client_encoding`: each transaction sets ours, and [`encoding_kept`] fails
//! where it was changed within one.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use futures_util::future::maybe_done;
use tokio_postgres::{Client, Error, SimpleQueryMessage};

use crate::rule::quote;

/// COMMIT without `statement_timeout`: cancelling the wait for a synchronous standby would let the server answer
/// "committed" (with a mere warning) before the standby has it.
pub(super) const COMMIT: &str = "SET LOCAL statement_timeout = 0; COMMIT";

/// Bounds the wait for a lock where many statements may wait for one, as when refused rows are looked for.
pub(super) const BOUND_LOCK_WAIT: &str = "SET LOCAL lock_timeout = '3s'";

/// An integer, or [`ENCODING_CHANGED`] if texts that were sent may have been taken for another encoding's.
macro_rules! encoding_kept {
    () => {
        "(CASE WHEN pg_catalog.current_setting('client_encoding') \
         OPERATOR(pg_catalog.=) ANY ('{UTF8,UNICODE}'::pg_catalog.text[]) THEN '1' ELSE 'client_encoding' END)::pg_catalog.int4"
    };
}
pub(super) use encoding_kept;

/// What follows the first schema of a `search_path`: those that the session has, if any.
macro_rules! rest_of_search_path {
    () => {
        "CASE WHEN pg_catalog.current_setting('search_path') OPERATOR(pg_catalog.=) '' THEN '' \
         ELSE ', ' OPERATOR(pg_catalog.||) pg_catalog.current_setting('search_path') END"
    };
}
pub(super) use rest_of_search_path;

/// The text of [`encoding_kept`] that is no integer.
pub(super) const ENCODING_CHANGED: &str = "22P02";

/// So many statements are in [`Sql::begin`].
pub(super) const BEGIN_STATEMENTS: usize = 3;

/// For transactions in which nobody's code but ours runs.
pub(super) const CATALOGUE_FIRST: &str = concat!(
    "SELECT pg_catalog.set_config('search_path', 'pg_catalog' OPERATOR(pg_catalog.||) ",
    rest_of_search_path!(),
    ", true)"
);

/// How long the server waits for our next word within a transaction, on top of `statement_timeout`: as long as we wait
/// for its.
const IDLE_PATIENCE: Duration = Duration::from_secs(15);

/// `statement_timeout: 0` removes the limit of statements, but not that of an abandoned transaction.
const IDLE_WITHOUT_LIMIT: Duration = Duration::from_secs(60);

/// After so many seconds of silence within a transaction the server asks whether we are there, nine times by Linux'
/// default, every [`PROBE_SECONDS`]: a dead peer is let go within two minutes.
const PROBE_AFTER_SECONDS: u32 = 30;
const PROBE_SECONDS: u32 = 10;
/// The same two minutes for an answer that nobody takes.
const UNTAKEN_MILLIS: u32 = 120_000;

/// Postgres holds `statement_timeout` in an `int` of milliseconds.
const TIMEOUT_MILLIS_MAX: u128 = i32::MAX as u128;

/// SQL that depends on the configuration, put together once.
#[derive(Debug, Clone)]
pub(super) struct Sql {
    /// Begins a transaction that writes.
    pub(super) begin: String,
    /// Begins one that reads the catalogue at one moment.
    pub(super) begin_read: String,
    /// Rowbridge's own tables, quoted.
    pub(super) offsets: String,
    pub(super) dead_letters: String,
    pub(super) retained: String,
    /// The configured schema as it is.
    pub(super) schema: String,
    /// The role of the URL, for the SQL that an administrator is shown.
    pub(super) role: String,
}

impl Sql {
    pub(super) fn new(schema: &str, role: &str, statement_timeout: Duration) -> Sql {
        let millis = statement_timeout.as_millis().min(TIMEOUT_MILLIS_MAX);
        let table = |name: &str| format!("{}.{}", quote(schema), quote(name));
        Sql {
            // READ COMMITTED whatever the role's default: the compare-and-swap counts on it to see a rival's commit.
            begin: format!(
                "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = {millis}; {}",
                settings(statement_timeout),
            ),
            begin_read: format!(
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {millis}; {CATALOGUE_FIRST}"
            ),
            offsets: table("rowbridge_offsets"),
            dead_letters: table("rowbridge_dead_letters"),
            retained: table("rowbridge_retained"),
            schema: schema.to_owned(),
            role: role.to_owned(),
        }
    }
}

/// The settings of a transaction besides `statement_timeout`, in one statement without a table, which takes the server
/// the least time to plan.
///
/// `synchronous_commit` is at least `on`; a role with a stricter setting (`remote_apply`) keeps it. The others bound
/// how long an abandoned transaction outlives us: after a power cut, or after the network path was silently removed. It
/// holds the offset row, so every later batch waits until the server gives it up; with the usual defaults that takes
/// more than two hours. Lower limits stay; a setting that the server does not know is left out. While a COPY waits for
/// its data only TCP's keep-alive helps.
fn settings(statement_timeout: Duration) -> String {
    let statement = if statement_timeout.is_zero() { IDLE_WITHOUT_LIMIT } else { statement_timeout };
    let idle = statement.saturating_add(IDLE_PATIENCE).as_millis().min(TIMEOUT_MILLIS_MAX);
    let now = |name: &str| format!("pg_catalog.current_setting('{name}', true)");
    let set = |name: &str, value: &str, applies: &str| {
        format!("CASE WHEN {applies} THEN pg_catalog.set_config('{name}', '{value}', true) END")
    };
    let at_most = |name: &str, value: u32| {
        set(name, &value.to_string(), &format!("{}::pg_catalog.int4 OPERATOR(pg_catalog.>) {value}", now(name)))
    };
    let (commit, waiting, untaken) = ("synchronous_commit", "idle_in_transaction_session_timeout", "tcp_user_timeout");
    let waited = format!("{}::pg_catalog.interval", now(waiting));
    let all = [
        // What the session began with, and is to have again.
        "CASE WHEN pg_catalog.current_setting('client_encoding') OPERATOR(pg_catalog.<>) 'UTF8' \
         THEN pg_catalog.set_config('client_encoding', 'UTF8', false) END"
            .to_owned(),
        set(
            commit,
            "on",
            &format!("{} OPERATOR(pg_catalog.<>) ALL ('{{on,remote_apply}}'::pg_catalog.text[])", now(commit)),
        ),
        set(
            waiting,
            &idle.to_string(),
            &format!("{waited} OPERATOR(pg_catalog.<) '1 ms' OR {waited} OPERATOR(pg_catalog.>) '{idle} ms'"),
        ),
        at_most("tcp_keepalives_idle", PROBE_AFTER_SECONDS),
        at_most("tcp_keepalives_interval", PROBE_SECONDS),
        set(
            untaken,
            &UNTAKEN_MILLIS.to_string(),
            &format!(
                "{} OPERATOR(pg_catalog.=) '0' AND pg_catalog.version() OPERATOR(pg_catalog.~~) '%linux%'",
                now(untaken)
            ),
        ),
    ];
    format!("SELECT {}", all.join(", "))
}

/// Commits.
///
/// The server answers a COMMIT of a failed transaction with ROLLBACK and reports success, and the driver does not
/// distinguish the two. Callers therefore check the answers of ALL earlier statements, also of those that they sent
/// without waiting, before they trust this one.
pub(super) async fn commit(client: &Client) -> Result<(), Error> {
    client.batch_execute(COMMIT).await
}

/// Sends statements as one message, which spares the server an answer to each, and us a wake-up. Returns how many were
/// carried out, and the error of the one behind them; nothing that follows an error is carried out.
pub(super) async fn in_one_message(client: &Client, statements: &str) -> (usize, Result<(), Error>) {
    let mut carried_out = 0;
    let answered = async {
        let mut answers = pin!(client.simple_query_raw(statements).await?);
        while let Some(answer) = answers.try_next().await? {
            carried_out += usize::from(matches!(answer, SimpleQueryMessage::CommandComplete(_)));
        }
        Ok(())
    };
    let answered = answered.await;
    (carried_out, answered)
}

/// Sends requests in their order, all of them before the first answer, and waits for the answers. What is polled next, as in
/// `join!`, is sent behind them.
pub(super) async fn pipelined<F: Future>(requests: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = requests.into_iter().map(|request| Box::pin(maybe_done(request))).collect();
    for request in &mut waiting {
        send(request.as_mut()).await;
    }
    let mut answers = Vec::with_capacity(waiting.len());
    for mut request in waiting {
        request.as_mut().await;
        answers.extend(request.as_mut().take_output());
    }
    answers
}

/// The first poll of a request puts it on the wire; the order of the first polls is the order there.
pub(super) async fn send(mut request: Pin<&mut impl Future>) {
    poll_fn(|context| {
        let _ = request.as_mut().poll(context);
        Poll::Ready(())
    })
    .await;
}

/// A string in SQL, whatever `standard_conforming_strings` says.
pub(super) fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// Runs `work` between BEGIN and COMMIT, all sent at once: one round trip if `work` needs but one.
pub(super) async fn around<T>(
    client: &Client,
    begin: &str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    // The order of the first polls is the order on the wire.
    let (begun, worked, committed) = tokio::join!(biased; client.batch_execute(begin), work, commit(client));
    begun?;
    let worked = worked?;
    committed?;
    Ok(worked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statements_that_begin_a_transaction_are_counted() {
        let sql = Sql::new("public", "u", Duration::from_secs(60));
        assert_eq!(sql.begin.split(';').count(), BEGIN_STATEMENTS);
    }

    #[test]
    fn quotes_and_backslashes_stay_within_a_literal() {
        assert_eq!(literal(r"a'b\' ; -- "), r"E'a''b\\'' ; -- '");
    }
}
