//! One connection and its time limits.
//!
//! A [`Session`] that is dropped closes its connection at once, and the server rolls back an open transaction. A COMMIT
//! that was sent may or may not be applied, which is why the offset is read again after every reconnect.

use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_postgres::tls::TlsStream;
use tokio_postgres::{AsyncMessage, Client, Connection, Error, Socket};

use super::failure::{explain, explain_rows, own};
use super::server::{self, Repertoire, Server};
use super::write::COMMITTING;
use crate::sink::{Class, SinkError};

/// What the network may take on top of `statement_timeout`, which the server itself keeps. When even this passes, the
/// server or the way to it is dead though the connection is not closed. 15 s: above any retransmission worth waiting for.
const NETWORK_PATIENCE: Duration = Duration::from_secs(15);

/// After so long a COMMIT that waits for a standby is worth a line in the log.
const STANDBY_PATIENCE: Duration = Duration::from_secs(10);

/// How long a polite goodbye may take.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// An open connection.
pub(super) struct Session {
    client: Client,
    /// Drives the socket.
    task: OwnedTask,
    /// Why the task ended, if by an error: requests that it leaves behind only see "connection closed".
    end: Arc<OnceLock<Error>>,
    /// Of a NOTIFY.
    notified: Arc<Notify>,
    /// Host, port and database, for messages.
    at: String,
    server: Server,
    /// A bridge's name and how it is stored: see [`Session::bridge`].
    bridge: OnceLock<(String, String)>,
    /// Zero means without limit, as in Postgres.
    statement_timeout: Duration,
    /// Of statements of which many are under way at once.
    answers: AtomicU64,
}

impl Session {
    /// Takes over a connection; must be called on the runtime that is to drive it.
    pub(super) fn start<S>(
        client: Client,
        mut connection: Connection<Socket, S>,
        at: String,
        statement_timeout: Duration,
    ) -> Session
    where
        S: TlsStream + Unpin + Send + 'static,
    {
        let end = Arc::new(OnceLock::new());
        let notified = Arc::new(Notify::new());
        let (slot, notify) = (Arc::clone(&end), Arc::clone(&notified));
        let task = tokio::spawn(async move {
            while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
                match message {
                    Ok(AsyncMessage::Notification(_)) => notify.notify_one(),
                    Ok(_) => {}
                    Err(error) => {
                        // Set once, here alone.
                        let _ = slot.set(error);
                        break;
                    }
                }
            }
        });
        let (server, bridge, answers) = (Server::default(), OnceLock::new(), AtomicU64::new(0));
        Session { client, task: OwnedTask(task), end, notified, at, server, bridge, statement_timeout, answers }
    }

    /// Asks the server what it is; before anything else.
    pub(super) async fn learn(mut self) -> Result<Session, SinkError> {
        self.server = server::learn(&self).await?;
        Ok(self)
    }

    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    /// The bridge's name as stored in Rowbridge's tables. Unlike other text it is a key: a name that the database can
    /// hold is not escaped, because it may be stored in that form already.
    pub(super) fn bridge<'n>(&'n self, name: &'n str) -> Cow<'n, str> {
        match self.bridge.get() {
            Some((known, stored)) if known == name => Cow::Borrowed(stored),
            _ => self.server.repertoire.storable(name),
        }
    }

    /// How the bridge's name is stored, if that was found out.
    pub(super) fn stored_bridge(&self) -> Option<&(String, String)> {
        self.bridge.get()
    }

    /// Takes over what an earlier session found out about the bridge's name.
    pub(super) fn with_bridge(self, stored: Option<&(String, String)>) -> Session {
        if let Some(stored) = stored {
            let _ = self.bridge.set(stored.clone());
        }
        self
    }

    /// Finds out how the bridge's name is stored. Not to be called within a transaction.
    pub(super) async fn settle_bridge(&self, name: &str) -> Result<(), SinkError> {
        let is_plain = self.server.repertoire != Repertoire::Ascii || name.is_ascii();
        if !is_plain && self.bridge.get().is_none() && server::holds(self, name).await? {
            // Set by this call alone.
            let _ = self.bridge.set((name.to_owned(), name.to_owned()));
        }
        Ok(())
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Waits for a NOTIFY on a channel that was asked for.
    pub(super) async fn notified(&self) {
        self.notified.notified().await;
    }

    /// Host, port and database.
    pub(super) fn at(&self) -> &str {
        &self.at
    }

    /// What an error of the driver means.
    pub(super) fn explain(&self, error: &Error, doing: &str) -> SinkError {
        self.explain_by(explain, error, doing)
    }

    /// As [`Session::explain`], for one that came while rows were taken or at COMMIT.
    pub(super) fn explain_rows(&self, error: &Error, doing: &str) -> SinkError {
        let mut explained = self.explain_by(explain_rows, error, doing);
        if explained.class == Class::Transient {
            explained.class = Class::SessionEnded;
        }
        explained
    }

    fn explain_by(&self, explain: fn(&Error, &str, &str) -> SinkError, error: &Error, doing: &str) -> SinkError {
        let is_verdict = error.as_db_error().is_some();
        // The connection's own end says more than "connection closed".
        let error = if error.is_closed() { self.end.get().unwrap_or(error) } else { error };
        let mut explained = explain(error, doing, &self.at);
        // The session is over in any case; only the server's error about the statement itself still counts.
        if self.end.get().is_some() && !is_verdict {
            explained.class = Class::Transient;
        }
        explained
    }

    /// One of many statements was answered: the others are given as much time again, see [`Session::patience`].
    pub(super) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
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

    /// As [`Session::wait`], for work that has several results. The patience begins anew while statements are answered of
    /// which the work has too many to count the time of each.
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
        let mut work = pin!(work);
        loop {
            let before = self.answers.load(Ordering::Relaxed);
            if let Ok(done) = tokio::time::timeout(patience, &mut work).await {
                return Ok(done);
            }
            if self.answers.load(Ordering::Relaxed) == before {
                return Err(own(
                    Class::Transient,
                    "timeout",
                    format!("{doing} ({}): no answer within {} s", self.at, patience.as_secs()),
                    "the server or the network does not answer; Rowbridge reconnects by itself",
                ));
            }
        }
    }

    /// As [`Session::patience`], for work that ends with COMMIT. Where COMMIT waits for a standby, that is told soon.
    pub(super) async fn committing<T>(&self, statements: u32, work: impl Future<Output = T>) -> Result<T, SinkError> {
        let standbys = self.server.standbys.as_str();
        let mut work = pin!(self.patience(statements, COMMITTING, work));
        if standbys.is_empty() {
            return work.await;
        }
        let done = match tokio::time::timeout(STANDBY_PATIENCE, &mut work).await {
            Ok(done) => done,
            Err(_) => {
                let (at, what) = (&self.at, server::named(standbys));
                tracing::warn!(at, "a transaction is not answered for {} s: {what}", STANDBY_PATIENCE.as_secs());
                work.await
            }
        };
        done.map_err(|error| SinkError {
            message: format!("{}; {}", error.message, server::named(standbys)),
            advice: server::STANDBY,
            ..error
        })
    }

    /// Rolls back the open transaction; an error means that the session is unusable.
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
