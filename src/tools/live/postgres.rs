//! A Postgres database, read-only: the server is asked for `default_transaction_read_only`.

use tokio_postgres::config::TargetSessionAttrs;

use crate::config::{Database, DatabaseUrl, PostgresUrl};

const READ_ONLY: &str = "-c default_transaction_read_only=on";

/// The same database, over connections whose transactions cannot write.
pub(in crate::tools) fn read_only(database: &Database, url: &PostgresUrl) -> Database {
    let mut url = url.clone();
    let options = url.config.get_options().map_or(READ_ONLY.to_owned(), |given| format!("{given} {READ_ONLY}"));
    url.config.options(options);
    // The driver would take our own wish for that of a standby.
    url.config.target_session_attrs(TargetSessionAttrs::Any);
    Database { url: DatabaseUrl::Postgres(Box::new(url)), ..database.clone() }
}
