//! `rowbridge_retained`: the hash of the message that each rule stored last for each topic.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::codes::{Moment, sink_error};
use crate::batch::Remembered;
use crate::sink::{RetainedPlace, SinkError};

/// The content hash of each place that has one.
pub(super) fn last_stored(
    connection: &Connection,
    bridge: &str,
    places: &[RetainedPlace],
) -> Result<HashMap<RetainedPlace, i64>, SinkError> {
    let failed = |error: rusqlite::Error| sink_error("cannot read rowbridge_retained", &error, Moment::Elsewhere);
    let mut statement = connection
        .prepare_cached(
            "SELECT content_hash FROM rowbridge_retained WHERE bridge = ?1 AND rule = ?2 AND topic_hash = ?3",
        )
        .map_err(failed)?;
    let mut found = HashMap::new();
    for place in places {
        let (rule, topic_hash) = place;
        let content = statement.query_row(params![bridge, rule, topic_hash], |row| row.get(0)).optional();
        if let Some(content) = content.map_err(failed)? {
            found.insert(place.clone(), content);
        }
    }
    Ok(found)
}

/// Within the transaction of the rows.
pub(super) fn remember(connection: &Connection, bridge: &str, remembered: &[&Remembered]) -> Result<(), SinkError> {
    if remembered.is_empty() {
        return Ok(());
    }
    let failed = |error: rusqlite::Error| sink_error("cannot write rowbridge_retained", &error, Moment::Elsewhere);
    let mut statement = connection
        .prepare_cached(
            "INSERT INTO rowbridge_retained (bridge, rule, topic_hash, content_hash) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET content_hash = excluded.content_hash",
        )
        .map_err(failed)?;
    for Remembered { rule, topic_hash, content_hash, .. } in remembered {
        statement.execute(params![bridge, rule, topic_hash, content_hash]).map_err(failed)?;
    }
    Ok(())
}
