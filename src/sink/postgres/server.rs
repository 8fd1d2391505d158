//! Queries that run once per connection: what the server is, and the encoding of its database.

use std::borrow::Cow;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::failure::own;
use super::session::Session;
use crate::sink::{Class, SinkError, escape};

/// Servers that speak Postgres' protocol and are something else, by a word of their version.
const STRANGERS: [&str; 6] = ["QuestDB", "CockroachDB", "Redshift", "CrateDB", "Materialize", "RisingWave"];

const NOT_POSTGRES: &str = "Rowbridge needs PostgreSQL 12 or later (or what is built from it, as TimescaleDB and Citus are): \
                            its row locks, COPY and transactions are what keeps messages from being lost or doubled";

/// For a COMMIT that nobody answers because of a standby.
pub(super) const STANDBY: &str = "start the standby, or remove its name from synchronous_standby_names and reload the \
                                  server; nothing is lost meanwhile";

/// SQLSTATEs: a character that the database's encoding lacks, or bytes that it does not allow.
const NOT_HELD: [&str; 2] = ["22P05", "22021"];

/// The characters that a database of a given encoding holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Repertoire {
    /// UTF8.
    #[default]
    All,
    Latin1,
    /// ASCII alone, as far as is known here: every encoding holds that.
    Ascii,
}

impl Repertoire {
    fn of(encoding: &str) -> Repertoire {
        match encoding {
            "UTF8" => Repertoire::All,
            "LATIN1" => Repertoire::Latin1,
            _ => Repertoire::Ascii,
        }
    }

    /// Text holds NUL in no encoding.
    fn holds(self, character: char) -> bool {
        character != '\0'
            && match self {
                Repertoire::All => true,
                Repertoire::Latin1 => u32::from(character) <= 0xff,
                Repertoire::Ascii => character.is_ascii(),
            }
    }

    /// Text as it is stored: as it is, or in the form of [`escape`].
    pub(super) fn storable(self, text: &str) -> Cow<'_, str> {
        escape::encode(text, |character| self.holds(character))
    }
}

/// What the server said of itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Server {
    /// `server_encoding`.
    pub(super) encoding: String,
    pub(super) repertoire: Repertoire,
    /// `synchronous_standby_names`; empty where COMMIT waits for nobody.
    pub(super) standbys: String,
}

/// Asks the server; a server that is not Postgres is an error.
pub(super) async fn learn(session: &Session) -> Result<Server, SinkError> {
    const DOING: &str = "asking the server what it is";
    const QUERY: &str = "SELECT pg_catalog.version(), pg_catalog.current_setting('server_encoding'), \
                         pg_catalog.current_setting('synchronous_standby_names'), (\
                         SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity \
                         WHERE usename OPERATOR(pg_catalog.=) CURRENT_USER \
                         AND wait_event OPERATOR(pg_catalog.=) 'SyncRep' AND query_start \
                         OPERATOR(pg_catalog.<) (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) '10 s'::pg_catalog.interval))";
    let answer = session.wait(1, DOING, session.client().query_typed(QUERY, &[])).await;
    let rows = match answer {
        Ok(rows) => rows,
        Err(error) if error.class == Class::Transient => return Err(error),
        Err(error) => return Err(explain(session, error).await),
    };
    let Some((version, encoding, standbys, waiting)) = rows.first().and_then(told) else {
        return Err(not_postgres(session, "does not answer as PostgreSQL does"));
    };
    if let Some(stranger) = stranger(&version) {
        return Err(not_postgres(session, stranger));
    }
    if waiting > 0 {
        // Of this role: among them may be a COMMIT of ours, which holds the offset's row until then.
        let message = format!("{DOING} ({}): transactions wait for a standby: {}", session.at(), named(&standbys));
        return Err(own(Class::Transient, "standby", message, STANDBY));
    }
    Ok(Server { repertoire: Repertoire::of(&encoding), encoding, standbys })
}

/// The columns of the answer.
fn told(row: &Row) -> Option<(String, String, String, i64)> {
    Some((row.try_get(0).ok()?, row.try_get(1).ok()?, row.try_get(2).ok()?, row.try_get(3).ok()?))
}

/// What COMMIT waits for, for messages.
pub(super) fn named(standbys: &str) -> String {
    format!("COMMIT is answered once a synchronous standby has it (synchronous_standby_names = '{standbys}')")
}

/// For people, once: what the encoding means for their messages.
pub(super) fn warn_of_encoding(database: &str, encoding: &str) {
    tracing::warn!(
        database,
        encoding,
        "the database's encoding is not UTF8: a message with a character that it lacks becomes a dead letter, whose topic, \
         properties and error are kept in an escaped form; CREATE DATABASE … ENCODING 'UTF8' holds everything"
    );
}

/// An error of a server that does not know Postgres' own functions.
async fn explain(session: &Session, error: SinkError) -> SinkError {
    let asked = session.wait(1, "asking for the version", session.client().query_typed("SELECT version()", &[])).await;
    let version: String = asked.ok().and_then(|rows| rows.first()?.try_get(0).ok()).unwrap_or_default();
    match stranger(&version) {
        Some(stranger) => not_postgres(session, stranger),
        None if version.starts_with("PostgreSQL") => error,
        None => not_postgres(session, &error.message),
    }
}

fn stranger(version: &str) -> Option<&'static str> {
    STRANGERS.iter().copied().find(|name| version.contains(name))
}

fn not_postgres(session: &Session, what: &str) -> SinkError {
    let message = format!("the server at {} is not PostgreSQL: {what}", session.at());
    own(Class::Table, "not_postgres", message, NOT_POSTGRES)
}

/// Whether the database holds the text as it is. Not to be asked within a transaction, which a no would end.
pub(super) async fn holds(session: &Session, text: &str) -> Result<bool, SinkError> {
    let server = session.server();
    if server.repertoire != Repertoire::Ascii {
        return Ok(server.repertoire.storable(text) == text);
    }
    if text.is_ascii() {
        return Ok(true);
    }
    const DOING: &str = "asking whether the database's encoding holds a name";
    let parameters = [(&text as _, Type::TEXT)];
    match session.wait(1, DOING, session.client().query_typed("SELECT 1 WHERE $1 IS NULL", &parameters)).await {
        Ok(_) => Ok(true),
        Err(error) if NOT_HELD.contains(&error.code.as_str()) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_speaks_the_protocol_and_is_not_postgres_is_known_by_its_version() {
        let questdb = "PostgreSQL 12.3, compiled by Visual C++ build 1914, 64-bit, QuestDB";
        assert_eq!(stranger(questdb), Some("QuestDB"));
        assert_eq!(stranger("CockroachDB CCL v24.1.0 (x86_64-pc-linux-gnu)"), Some("CockroachDB"));
        assert_eq!(stranger("PostgreSQL 15.18 (Debian 15.18-0+deb12u1) on x86_64-pc-linux-gnu"), None);
        assert_eq!(stranger("PostgreSQL 15.2-YB-2.25.0.0 on x86_64-pc-linux-gnu"), None);
    }

    #[test]
    fn latin_1_holds_256_characters_and_others_ascii_as_far_as_is_known() {
        assert_eq!(Repertoire::of("LATIN1").storable("é🌡"), r"\u{}é\u{1f321}");
        assert_eq!(Repertoire::of("SQL_ASCII").storable("é"), r"\u{}\u{e9}");
        assert_eq!(Repertoire::of("UTF8").storable("é🌡"), "é🌡");
        assert_eq!(Repertoire::of("UTF8").storable("a\0"), r"\u{}a\u{0}");
    }
}
