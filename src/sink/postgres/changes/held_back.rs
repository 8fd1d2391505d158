//! The transaction that the changes wait for, if it stays open for long.

use tokio_postgres::{Error, Row};

use crate::rule::quote;
use crate::sink::SinkError;
use crate::sink::postgres::session::Session;
use crate::sink::postgres::transaction::{Sql, around};

/// Whether a change has been waiting for a minute, so that it should be reported. The number of a change is the time at
/// which its transaction wrote its first change, in microseconds; the first version used small numbers.
pub(super) const IS_OLD: &str = "c.number BETWEEN 1000000000000000 \
    AND ((pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) - 60) * 1000000)::pg_catalog.int8";

/// The oldest transaction that is open in the whole server, by the lock that each has on its own id: everybody may read that, but
/// who it is and since when only with `pg_read_all_stats`.
const OLDEST: &str = "SELECT l.pid, a.usename::text, a.datname::text, \
    to_char(a.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), p.gid \
    FROM (SELECT (txid_snapshot_xmin(txid_current_snapshot()) & 4294967295)::text AS id) o \
    LEFT JOIN pg_locks l ON l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted \
         AND l.transactionid::text = o.id \
    LEFT JOIN pg_stat_activity a ON a.pid = l.pid \
    LEFT JOIN pg_prepared_xacts p ON p.transaction::text = o.id";

/// In words.
pub(super) async fn oldest(session: &Session, sql: &Sql) -> Result<String, SinkError> {
    const DOING: &str = "looking for the oldest transaction";
    let client = session.client();
    let rows = session.wait(3, DOING, around(client, &sql.begin_read, client.query_typed(OLDEST, &[]))).await?;
    let named = rows.first().map_or(Ok(None), named).map_err(|error| session.explain(&error, DOING))?;
    let who = named.unwrap_or_else(|| "which this role cannot see".to_owned());
    Ok(format!("changes wait until an older transaction of the server ends: {who}"))
}

fn named(row: &Row) -> Result<Option<String>, Error> {
    if let Some(name) = row.try_get::<_, Option<String>>(4)? {
        return Ok(Some(format!("the prepared transaction {name:?}")));
    }
    let Some(pid) = row.try_get::<_, Option<i32>>(0)? else { return Ok(None) };
    let text = |index, word: &str| {
        let value: Option<String> = row.try_get(index)?;
        Ok::<_, Error>(value.map_or_else(String::new, |value| format!(", {word} {value}")))
    };
    Ok(Some(format!("process {pid}{}{}{}", text(1, "user")?, text(2, "database")?, text(3, "open since")?)))
}

/// Whether a publication `p` has changes that have been waiting for so long.
pub(super) fn is_held_back(schema: &str) -> String {
    format!(
        "EXISTS (SELECT 1 FROM {}.rowbridge_changes c WHERE c.publication = p.id \
         AND c.xact >= pg_catalog.txid_snapshot_xmin(pg_catalog.txid_current_snapshot()) AND {IS_OLD})",
        quote(schema)
    )
}
