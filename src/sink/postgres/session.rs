//! One connection and the patience to have with it.
//!
//! A [`Session`] that is dropped cuts its connection at once: whatever it had open is rolled back by the server. What
//! was sent to COMMIT may or may not be applied, which is why the offset is read again after every reconnect.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::tls::TlsStream;
use tokio_postgres::{Client, Connection, Error, Socket};

use super::failure::{explain, own};
use crate::sink::{Class, SinkError};

/// What the network may take on top of `statement_timeout`, which the server itself keeps. When even this passes, the
/// server or the way to it is dead though the connection is not closed. 15 s: above any retransmission worth waiting for.
const NETWORK_PATIENCE: Duration = Duration::from_secs(15);

/// How long a polite goodbye may take.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// An open connection.
pub(super) struct Session {
    client: Client,
    /// Drives the socket.
    task: OwnedTask,
    /// Why the task ended, if by an error: requests that it leaves behind only see "connection closed".
    end: Arc<OnceLock<Error>>,
    /// Host, port and database, for messages.
    at: String,
    /// Zero means without limit, as in Postgres.
    statement_timeout: Duration,
}

impl Session {
    /// Takes over a connection; must be called on the runtime that is to drive it.
    pub(super) fn start<S>(
        client: Client,
        connection: Connection<Socket, S>,
        at: String,
        statement_timeout: Duration,
    ) -> Session
    where
        S: TlsStream + Unpin + Send + 'static,
    {
        let end = Arc::new(OnceLock::new());
        let slot = Arc::clone(&end);
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                // Set once, here alone.
                let _ = slot.set(error);
            }
        });
        Session { client, task: OwnedTask(task), end, at, statement_timeout }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Host, port and database.
    pub(super) fn at(&self) -> &str {
        &self.at
    }

    /// What an error of the driver means.
    pub(super) fn explain(&self, error: &Error, doing: &str) -> SinkError {
        let is_verdict = error.as_db_error().is_some();
        // The connection's own end says more than "connection closed".
        let error = if error.is_closed() { self.end.get().unwrap_or(error) } else { error };
        let mut explained = explain(error, doing, &self.at);
        // This session is over, whatever it was; only what the server had said of the statement itself still stands.
        if self.end.get().is_some() && !is_verdict {
            explained.class = Class::Transient;
        }
        explained
    }

    /// Waits for `work`, in which the server runs `statements` statements one after the other.
    pub(super) async fn wait<T>(
        &self,
        statements: u32,
        doing: &str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, SinkError> {
        self.patience(statements, doing, work).await?.map_err(|error| self.explain(&error, doing))
    }

    /// As [`Session::wait`], for work that has several results.
    pub(super) async fn patience<T>(
        &self,
        statements: u32,
        doing: &str,
        work: impl Future<Output = T>,
    ) -> Result<T, SinkError> {
        if self.statement_timeout.is_zero() {
            return Ok(work.await);
        }
        let patience = self.statement_timeout.saturating_mul(statements).saturating_add(NETWORK_PATIENCE);
        tokio::time::timeout(patience, work).await.map_err(|_| {
            own(
                Class::Transient,
                "timeout",
                format!("{doing} ({}): no answer within {} s", self.at, patience.as_secs()),
                "the server or the network does not answer; Rowbridge reconnects by itself",
            )
        })
    }

    /// Rolls back whatever is open; the error tells that the session is of no more use.
    pub(super) async fn rollback(&self) -> Result<(), SinkError> {
        self.wait(1, "rolling back", self.client.batch_execute("ROLLBACK")).await
    }

    /// Says goodbye, so that the server's log shows no broken connection.
    pub(super) async fn close(self) {
        let Session { client, mut task, .. } = self;
        // Dropping the client makes the task send Terminate and end; one that does not end in time is aborted.
        drop(client);
        let _ = tokio::time::timeout(CLOSE_PATIENCE, &mut task.0).await;
    }
}

/// A task that ends with its owner.
struct OwnedTask(JoinHandle<()>);

impl Drop for OwnedTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}
