//! Log events of a publication.

use std::time::Duration;

use super::state::PublishState;
use crate::outbound::RefusedMessage;
use crate::sink::{Class, News, Overflow, SinkError};

/// The database did not answer, or said no. Logged when it is another trouble than before.
pub(super) fn stopped(state: &PublishState, error: &SinkError, wait: Duration) {
    let message = error.message.lines().next().unwrap_or_default();
    let text = if message.contains(&error.code) { message.to_owned() } else { format!("{message} ({})", error.code) };
    if !state.set_error(Some(text.clone())) {
        return;
    }
    let (name, retry_in_ms) = (&*state.name, wait.as_millis() as u64);
    if error.class == Class::Transient {
        tracing::warn!(
            publish = name,
            error = text,
            advice = error.advice,
            retry_in_ms,
            "publishing waits for its database"
        );
        return;
    }
    let mend = error.message.split_once('\n').map_or("", |(_, sql)| sql);
    tracing::error!(
        publish = name,
        error = text,
        mend,
        advice = error.advice,
        retry_in_ms,
        "publishing waits: a person is needed"
    );
}

/// There is no such table. Logged once.
pub(super) fn missing(state: &PublishState, table: &str) {
    if state.set_error(Some(format!("there is no table {table}"))) {
        tracing::warn!(
            publish = &*state.name,
            table,
            "the table to publish is not there; its rows are published when it is"
        );
    }
}

pub(super) fn news(state: &PublishState, table: &str, news: News) {
    let name = &*state.name;
    match news {
        News::Begun => tracing::info!(publish = name, table, "rows of this table are published from now on"),
        News::Appeared => {
            tracing::info!(publish = name, table, "the table to publish is there: all of its rows are published")
        }
        News::Dropped => tracing::warn!(publish = name, table, "the published table was dropped or renamed"),
        News::Recreated => tracing::warn!(
            publish = name,
            table,
            "the published table is another one than before: its triggers are made, and all of its rows are published"
        ),
        News::Altered => tracing::info!(publish = name, table, "the published table was altered"),
        News::TriggersPutBack => tracing::warn!(
            publish = name,
            table,
            "triggers of a published table were missing or not as they should be, and are put back: rows written in between are \
             not published"
        ),
        News::Overflown(overflow) => overflown(state, overflow),
        News::OffsetJumped => {
            tracing::info!(
                publish = name,
                "what is published was changed in the configuration: the offset makes a jump"
            )
        }
    }
}

/// Beyond `max_pending`.
pub(super) fn overflown(state: &PublishState, overflow: Overflow) {
    let Overflow { first_offset, last_offset } = overflow;
    tracing::error!(
        publish = &*state.name,
        first_offset,
        last_offset,
        advice =
            "bring the broker back sooner, raise max_pending, or remove the publication (rowbridge publish remove)",
        "more changes wait to be published than max_pending: the oldest are dropped"
    );
}

/// A transaction that has been open for long.
pub(super) fn held_back(state: &PublishState, why: String) {
    if state.set_error(Some(why.clone())) {
        tracing::warn!(
            publish = &*state.name,
            error = why,
            advice = "end that transaction, for example with pg_terminate_backend",
            "publishing waits for a transaction that has been open for more than a minute"
        );
    }
}

/// Once after the start.
pub(super) fn abandoned(database: &str, name: &str, table: &str) {
    tracing::warn!(
        publish = name,
        database,
        table,
        advice = format!("rowbridge publish remove {name}"),
        "triggers of a publication that is not in the configuration go on capturing changes, which nobody publishes"
    );
}

/// The broker does not take it now.
pub(super) fn held(state: &PublishState, refused: &RefusedMessage, offset: u64, wait: Duration) {
    if state.set_error(Some(format!("the broker refuses to take a row: {}", refused.why))) {
        tracing::error!(
            publish = &*state.name,
            offset,
            error = refused.why,
            retry_in_ms = wait.as_millis() as u64,
            "the broker refuses a published row; it is published again until the broker takes it"
        );
    }
}

/// The broker never takes it.
pub(super) fn refused(state: &PublishState, refused: &RefusedMessage, offset: u64) {
    tracing::error!(
        publish = &*state.name,
        offset,
        error = refused.why,
        "the broker cannot take a published row: it is skipped"
    );
}

/// The first of a run of skipped changes.
pub(super) fn skipped(state: &PublishState, why: &str) {
    tracing::warn!(publish = &*state.name, reason = why, "a row could not be published, and is counted as skipped");
}

/// Somebody else moves the offset.
pub(super) fn moved(state: &PublishState, error: &SinkError) {
    tracing::warn!(publish = &*state.name, error = %error, advice = error.advice, "the offset of a publication was moved by somebody else");
}
