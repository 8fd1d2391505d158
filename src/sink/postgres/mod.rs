//! PostgreSQL 12 and later, directly or through PgBouncer in session or transaction mode.
//!
//! | file | holds |
//! |---|---|
//! | `sink` | each call of the trait, handed to the file that does it |
//! | `connect`, `tls`, `session` | finding a server, `sslmode`, one connection and its time limits |
//! | `server` | what the server is, and the encoding of its database |
//! | `transaction` | begin and end of each transaction; nothing remains in the server's session |
//! | `offsets`, `dead_letters`, `parked`, `letters`, `migrate` | Rowbridge's own tables; `letters` serves commands |
//! | `schema`, `witness` | the live table, and whether it still matches its description |
//! | `absent`, `rights` | what exists in place of a missing table; which rights are missing |
//! | `encode`, `copy`, `insert`, `merge` | the encoding of rows, and the ways to write them |
//! | `query` | a read-only connection, for queries over MQTT |
//! | `write`, `series`, `walk` | the transaction of one batch or of several; unit by unit if refused, or if a row ends its session |
//! | `sqlstate`, `failure` | the class of an error and its report |
//!
//! While a call runs, it owns the session; the sink gets the session back only if the call has left no transaction
//! open. So a call that is dropped half-way, and every transient error, leaves a sink without a session, and `connect`
//! comes next.

mod absent;
mod changes;
mod connect;
mod copy;
mod created;
mod dead_letters;
mod encode;
mod failure;
mod insert;
mod letters;
mod merge;
mod migrate;
mod offsets;
mod parked;
mod preview;
mod query;
mod retained;
mod rights;
mod schema;
mod series;
mod server;
mod session;
mod sink;
mod sqlstate;
mod statements;
mod tls;
mod transaction;
mod walk;
mod witness;
mod write;

use std::sync::Arc;
use std::time::Duration;

pub use changes::PostgresChanges;
pub use encode::PostgresEncoder;
pub use query::{PostgresParameters, PostgresReader};
pub(crate) use rights::Rights;

use self::failure::own;
use self::session::Session;
use self::transaction::Sql;
use super::{Class, SinkError};
use crate::batch::Batch;
use crate::config::{Database, DatabaseUrl, PostgresUrl};
use crate::rule::TableName;
use crate::schema::TableSchema;

/// A Postgres database that takes batches.
pub struct PostgresSink {
    url: PostgresUrl,
    statement_timeout: Duration,
    sql: Sql,
    session: Option<Session>,
    /// The last rows ended it.
    was_ended_by_rows: bool,
    /// Of the database, in the configuration.
    name: Arc<str>,
    /// The encoding that was warned of.
    told_encoding: String,
    /// How the last session found the bridge's name to be stored.
    stored_bridge: Option<(String, String)>,
}

impl PostgresSink {
    /// For a database whose URL is a Postgres one. Connects to nothing yet.
    pub fn new(database: &Database) -> PostgresSink {
        let DatabaseUrl::Postgres(url) = &database.url else {
            unreachable!("a Postgres sink is only made for a Postgres URL")
        };
        PostgresSink {
            sql: Sql::new(&url.schema, url.config.get_user().unwrap_or_default(), database.statement_timeout),
            statement_timeout: database.statement_timeout,
            url: PostgresUrl::clone(url),
            session: None,
            was_ended_by_rows: false,
            name: Arc::clone(&database.name),
            told_encoding: String::new(),
            stored_bridge: None,
        }
    }

    /// The connection, if there is one, for `rowbridge check` and other commands that people type.
    pub fn client(&self) -> Option<&tokio_postgres::Client> {
        self.session.as_ref().map(Session::client)
    }

    /// Opens a connection and makes no tables, for commands that only look at those of the rules.
    pub async fn connect_to_read(&mut self) -> Result<(), SinkError> {
        self.session = None;
        self.session = Some(connect::open(&self.url, self.statement_timeout).await?);
        Ok(())
    }

    /// The steps that make Rowbridge's own tables, in order, to be run in the schema that the configuration names.
    pub fn migrations() -> &'static [&'static str] {
        migrate::STEPS
    }

    /// Runs `work` on the session, which is kept unless the connection is in doubt.
    async fn run<T>(&mut self, work: impl AsyncFnOnce(&Session, &Sql) -> Result<T, SinkError>) -> Result<T, SinkError> {
        let session = self.session.take().ok_or_else(|| {
            own(Class::Transient, "not_connected", "there is no connection".into(), "Rowbridge reconnects by itself")
        })?;
        let result = work(&session, &self.sql).await;
        if self.stored_bridge.as_ref() != session.stored_bridge() {
            self.stored_bridge = session.stored_bridge().cloned();
        }
        self.session = match &result {
            Ok(_) => Some(session),
            Err(error) if error.class.is_connection_lost() => None,
            Err(_) => match session.rollback().await {
                Ok(()) => Some(session),
                // The transaction is known to have failed, so nothing is in doubt: a new connection will do. This is
                // the rule when the server refuses a COPY at its start (no such table, no right): the driver then sends
                // a Sync too many and gives up on "unexpected message from server".
                Err(_) => self.reopen().await.ok(),
            },
        };
        result
    }

    /// A session in the place of one that was lost within a call. Its user reads no offset first, which would find out how the
    /// bridge's name is stored.
    async fn reopen(&self) -> Result<Session, SinkError> {
        let session = connect::open(&self.url, self.statement_timeout).await?;
        Ok(session.with_bridge(self.stored_bridge.as_ref()))
    }

    /// An error with the GRANTs that would mend it, if it is one of rights.
    async fn with_rights(&self, error: SinkError, needed: Rights) -> SinkError {
        match &self.session {
            Some(session) => Box::pin(rights::name_missing(session, &self.sql, needed, error)).await,
            None => error,
        }
    }

    fn rights(&self, batch: &Batch, tables: &[&TableSchema]) -> Rights {
        let mut rights = Rights::new(&self.sql.schema);
        tables.iter().for_each(|table| rights::add_needed(&mut rights, batch, table));
        rights
    }

    /// The schema and name to look for.
    fn qualified<'a>(&'a self, table: &'a TableName) -> (&'a str, &'a str) {
        (table.schema.as_deref().unwrap_or(&self.sql.schema), &table.name)
    }
}
