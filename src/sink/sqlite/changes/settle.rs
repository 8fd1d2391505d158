//! Brings a publication and its table together, in one transaction if anything differs.

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use super::capture::{self, LiveColumn, SCHEMA};
use super::queue;
use crate::clock;
use crate::config::Events;
use crate::rule::quote;
use crate::sink::changes::{Capture, News, OFFSET_JUMP, Overflow, Settled, trigger_name};
use crate::sink::sqlite::time_text::own_timestamp;

/// The row in `rowbridge_publications`.
struct Stored {
    id: i64,
    had_table: bool,
    definition: String,
    settings: String,
    next_offset: i64,
    max_pending: i64,
    dropped: Option<(i64, i64)>,
}

impl Stored {
    /// Whether nothing of it needs a change or a report.
    fn is_settled(&self, capture: &Capture) -> bool {
        self.settings == capture.settings && self.max_pending == max_pending(capture) && self.dropped.is_none()
    }
}

fn max_pending(capture: &Capture) -> i64 {
    i64::try_from(capture.max_pending).unwrap_or(i64::MAX)
}

/// `xact` of the changes that a publication begins with, and of all others.
const START: i64 = 0;
const LATER: i64 = 1;

/// A trigger that is to be made or dropped.
struct Difference {
    event: &'static str,
    /// The statement that makes it; `None`: it goes.
    create: Option<String>,
    place: Place,
}

/// Where a trigger is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Nowhere,
    /// On the table, and another than it should be.
    Here,
    /// On another table, which had the name before, or which the entry named before.
    Elsewhere,
}

/// The publication's id, and how things stand.
pub(super) fn settle(
    connection: &mut Connection,
    capture: &Capture,
    is_first: bool,
) -> rusqlite::Result<(i64, Settled)> {
    // A look without the write lock: most of the time all is well.
    if let Some(stored) = stored(connection, capture)?
        && stored.is_settled(capture)
        && let Some(settled) = unchanged(connection, capture, &stored)?
    {
        return Ok((stored.id, settled));
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (stored, is_new) = match stored(&transaction, capture)? {
        Some(stored) => (stored, false),
        None => (insert(&transaction, capture)?, true),
    };
    let mut settled = Settled { next_offset: stored.next_offset.max(1).unsigned_abs(), ..Settled::default() };
    if is_first && stored.settings != capture.settings {
        transaction.execute(
            "UPDATE rowbridge_publications SET settings = ?2, next_offset = next_offset + ?3 WHERE id = ?1",
            params![stored.id, capture.settings, OFFSET_JUMP as i64],
        )?;
        settled.next_offset += OFFSET_JUMP;
        settled.news.push(News::OffsetJumped);
    }
    transaction.execute(
        "UPDATE rowbridge_publications SET max_pending = ?2, dropped_first = NULL, dropped_last = NULL WHERE id = ?1",
        params![stored.id, max_pending(capture)],
    )?;
    settled.news.extend(stored.dropped.map(|(first, last)| {
        let [first_offset, last_offset] = [first, last].map(|offset| offset.max(1).unsigned_abs());
        News::Overflown(Overflow { first_offset, last_offset })
    }));
    let news = match capture::columns(&transaction, &capture.table.name)? {
        None => {
            settled.is_missing = true;
            // It may have another name now.
            queue::drop_triggers(&transaction, stored.id)?;
            if stored.had_table {
                tell(&transaction, capture, &stored, ("drop", LATER), &stored.definition)?;
                adopt(&transaction, capture, &stored, None, "")?;
            }
            stored.had_table.then_some(News::Dropped)
        }
        Some(columns) => arrange(&transaction, capture, &stored, &columns, is_new)?,
    };
    settled.news.extend(news);
    crash_point!("sqlite.publish.settled");
    transaction.commit()?;
    Ok((stored.id, settled))
}

/// How things stand, if there is nothing to do.
fn unchanged(connection: &Connection, capture: &Capture, stored: &Stored) -> rusqlite::Result<Option<Settled>> {
    let columns = capture::columns(connection, &capture.table.name)?;
    let is_unchanged = match &columns {
        None => !stored.had_table && !has_triggers(connection, stored.id)?,
        Some(columns) => {
            stored.had_table
                && stored.definition == capture::definition(columns)
                && differences(connection, capture, columns, stored.id)?.is_empty()
        }
    };
    Ok(is_unchanged.then(|| Settled {
        next_offset: stored.next_offset.max(1).unsigned_abs(),
        is_missing: columns.is_none(),
        ..Settled::default()
    }))
}

/// Makes what the table lacks.
fn arrange(
    connection: &Connection,
    capture: &Capture,
    stored: &Stored,
    columns: &[LiveColumn],
    is_new: bool,
) -> rusqlite::Result<Option<News>> {
    let definition = capture::definition(columns);
    let differences = differences(connection, capture, columns, stored.id)?;
    // A table takes its triggers with it when it is dropped or renamed. Where none is left, not even one that is wanted no
    // longer, it is another one.
    let is_here = |difference: &Difference| difference.place == Place::Here;
    let is_lost = |difference: &Difference| difference.create.is_some() && difference.place != Place::Here;
    let has_lost_all = !differences.iter().any(is_here)
        && capture
            .events
            .wanted()
            .all(|event| differences.iter().any(|difference| difference.event == event && is_lost(difference)));
    let news = match () {
        () if is_new => Some(News::Begun),
        () if !stored.had_table => Some(News::Appeared),
        () if has_lost_all => Some(News::Recreated),
        () if stored.definition != definition => Some(News::Altered),
        () if differences.iter().any(is_lost) => Some(News::TriggersPutBack),
        () => None,
    };
    for difference in &differences {
        if difference.place != Place::Nowhere {
            let name = quote(&trigger_name(SCHEMA, stored.id, difference.event));
            connection.execute_batch(&format!("DROP TRIGGER {name}"))?;
        }
        if let Some(create) = &difference.create {
            connection.execute_batch(create)?;
        }
    }
    match news {
        Some(News::Begun | News::Appeared | News::Recreated) => {
            let xact = if is_new { START } else { LATER };
            tell(connection, capture, stored, ("create", xact), &definition)?;
            if capture.with_existing || !is_new {
                connection.execute_batch(&capture::copy(connection, capture, columns, stored.id, xact)?)?;
            }
        }
        Some(News::Altered) => tell(connection, capture, stored, ("alter", LATER), &definition)?,
        _ => {}
    }
    adopt(connection, capture, stored, Some(1), &definition)?;
    Ok(news)
}

fn stored(connection: &Connection, capture: &Capture) -> rusqlite::Result<Option<Stored>> {
    connection
        .prepare_cached(
            "SELECT id, table_id IS NOT NULL, definition, settings, next_offset, max_pending, dropped_first, dropped_last \
             FROM rowbridge_publications WHERE bridge = ?1 AND name = ?2",
        )?
        .query_row([&*capture.bridge, &*capture.name], |row| {
            Ok(Stored {
                id: row.get(0)?,
                had_table: row.get(1)?,
                definition: row.get(2)?,
                settings: row.get(3)?,
                next_offset: row.get(4)?,
                max_pending: row.get(5)?,
                dropped: row.get::<_, Option<i64>>(6)?.zip(row.get(7)?),
            })
        })
        .optional()
}

fn insert(connection: &Connection, capture: &Capture) -> rusqlite::Result<Stored> {
    connection.execute(
        "INSERT INTO rowbridge_publications (bridge, name, table_name, settings, updated_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            &*capture.bridge,
            &*capture.name,
            capture.table.name,
            capture.settings,
            own_timestamp(clock::now())
        ],
    )?;
    Ok(Stored {
        id: connection.last_insert_rowid(),
        had_table: false,
        definition: String::new(),
        settings: capture.settings.clone(),
        next_offset: 1,
        max_pending: max_pending(capture),
        dropped: None,
    })
}

/// The triggers that are not as they should be.
fn differences(
    connection: &Connection,
    capture: &Capture,
    columns: &[LiveColumn],
    id: i64,
) -> rusqlite::Result<Vec<Difference>> {
    let mut differences = Vec::new();
    for event in Events::NAMES {
        let name = trigger_name(SCHEMA, id, event);
        let is_wanted = capture.events.wanted().any(|wanted| wanted == event);
        let create = is_wanted.then(|| capture::create_trigger(capture, columns, id, event));
        let present: Option<(String, String)> = connection
            .prepare_cached("SELECT sql, tbl_name FROM sqlite_schema WHERE type = 'trigger' AND name = ?1")?
            .query_row([&name], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        if present.as_ref().map(|(sql, _)| sql) != create.as_ref() {
            let place = match present {
                None => Place::Nowhere,
                Some((_, table)) if table.eq_ignore_ascii_case(&capture.table.name) => Place::Here,
                Some(_) => Place::Elsewhere,
            };
            differences.push(Difference { event, create, place });
        }
    }
    Ok(differences)
}

fn has_triggers(connection: &Connection, id: i64) -> rusqlite::Result<bool> {
    let names = Events::NAMES.map(|event| trigger_name(SCHEMA, id, event));
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'trigger' AND name IN (?1, ?2, ?3))")?
        .query_row(names, |row| row.get(0))
}

/// Puts a change of the definition among the changes.
fn tell(
    connection: &Connection,
    capture: &Capture,
    stored: &Stored,
    (event, xact): (&str, i64),
    definition: &str,
) -> rusqlite::Result<()> {
    if capture.tells_definition {
        connection.execute(
            "INSERT INTO rowbridge_changes (publication, xact, event, new_row) VALUES (?1, ?2, ?3, ?4)",
            params![stored.id, xact, event, definition],
        )?;
    }
    Ok(())
}

/// Remembers the table as it is now.
fn adopt(
    connection: &Connection,
    capture: &Capture,
    stored: &Stored,
    table_id: Option<i64>,
    definition: &str,
) -> rusqlite::Result<()> {
    connection.execute(
        "UPDATE rowbridge_publications SET table_id = ?2, definition = ?3, table_name = ?4 WHERE id = ?1",
        params![stored.id, table_id, definition, capture.table.name],
    )?;
    Ok(())
}
