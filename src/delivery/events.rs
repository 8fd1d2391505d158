//! One function per event, which logs and counts it, so that the two cannot drift apart.
//!
//! WARN: unexpected, nothing lost. ERROR: something is lost, or a person is needed. A repeated fault is
//! logged once; the counters continue.

use std::fmt::Display;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use tracing::{debug, error, info, warn};

use crate::clock;
use crate::journal::JournalError;
use crate::journal_id::JournalId;
use crate::message::Seq;
use crate::rule::TableName;
use crate::sink::SinkError;
use crate::telemetry::{
    DatabaseLabels, Metrics, PeerLabels,
    refusals::{self, Refusal},
};

/// One database's metrics, looked up once.
#[derive(Debug)]
pub(super) struct DatabaseMetrics {
    pub(super) connected: Gauge,
    retries: Counter,
    commit_seconds: Histogram,
    batch_rows: Histogram,
    last_commit: Gauge<f64, std::sync::atomic::AtomicU64>,
}

impl DatabaseMetrics {
    pub(super) fn new(metrics: &Metrics, database: &str) -> DatabaseMetrics {
        let labels = DatabaseLabels { database: database.to_owned() };
        DatabaseMetrics {
            connected: metrics.connected.get_or_create(&PeerLabels { peer: database.to_owned() }).clone(),
            retries: metrics.retries.get_or_create(&labels).clone(),
            commit_seconds: metrics.commit_seconds.get_or_create(&labels).clone(),
            batch_rows: metrics.batch_rows.get_or_create(&labels).clone(),
            last_commit: metrics.last_commit_timestamp_seconds.get_or_create(&labels).clone(),
        }
    }

    /// A batch was committed. Counts only: this happens a hundred times a second.
    pub(super) fn committed(&self, rows: usize, elapsed: Duration) {
        self.commit_seconds.observe(elapsed.as_secs_f64());
        self.batch_rows.observe(rows as f64);
        self.last_commit.set(clock::now().as_micros() as f64 / 1e6);
    }
}

/// Connected, and every rule fits its table.
pub(super) fn database_ready(database: &str, next_seq: Seq, pending: u64) {
    info!(database, %next_seq, pending, "database ready");
}

/// The database cannot be reached, or will not commit just now.
pub(super) fn database_lost(
    metrics: &DatabaseMetrics,
    database: &str,
    error: &SinkError,
    standing: &str,
    retry_in: Duration,
    last_error: Option<&String>,
) {
    metrics.retries.inc();
    let is_repeat = last_error.is_some_and(|last| last.starts_with(&error.message));
    if is_repeat {
        debug!(database, %error, code = error.code, ?retry_in, "database still unavailable");
    } else {
        let advice = error.advice;
        warn!(
            database,
            error = format!("{error}{standing}"),
            code = error.code,
            advice,
            ?retry_in,
            "database unavailable; messages wait in the journal"
        );
    }
}

/// The trials that follow may end sessions again, and crash the server if that is how it ends them.
pub(super) fn looks_for_ender(database: &str, from: Seq, error: &SinkError) {
    warn!(
        database, from_seq = from.0, %error,
        "the session ends whenever these rows are written; the bridge looks for the row that causes it"
    );
}

/// A table was altered, or another took its name, and the rules still fit it.
pub(super) fn table_changed(database: &str, table: &TableName, changes: &str) {
    warn!(database, %table, changes, "the table was changed; the rules go on with what it is now");
}

/// Fields that no column took have columns now.
pub(super) fn columns_added(database: &str, table: &TableName, sql: &str) {
    info!(database, %table, sql, "columns added");
}

/// Messages with such a field are dead letters until it is tried again. They are counted as such, and logged by rule.
pub(super) fn column_refused(database: &str, table: &TableName, column: &str, error: &SinkError, mend: &str) {
    warn!(database, %table, column, %error, code = error.code, mend, "a column cannot be added");
}

/// Postgres empties unlogged tables when it recovers from a crash, and the offset says that their rows were delivered.
pub(super) fn table_unlogged(database: &str, table: &TableName) {
    let mend = format!("ALTER TABLE {} SET LOGGED", table.quoted());
    warn!(
        database, %table, mend,
        "the table, or a partition of it, is unlogged: after a crash of the server its rows are gone, and they are not \
         delivered again"
    );
}

/// A person is needed before this database takes anything more. Its messages wait in the journal.
pub(super) fn database_held(database: &str, reason: &str, mend: Option<&str>) {
    error!(database, reason, mend, "database held until this is mended");
}

/// Messages of one rule gave no row for one reason, and are kept. `list` is the command that shows them.
pub(super) fn dead_lettered(
    database: &str,
    rule: &str,
    reason: &str,
    count: u64,
    topic: &str,
    error: &str,
    list: &str,
) {
    warn!(database, rule, reason, count, topic, error, list, "messages gave no row and are kept as dead letters");
    remember(database, rule, reason, count, topic, error, Some(list));
}

/// Messages of one rule gave no row for one reason, and are not kept, because the rule says so.
pub(super) fn dropped(
    database: &str,
    rule: &str,
    reason: &str,
    count: u64,
    seqs: impl Display,
    topic: &str,
    error: &str,
) {
    error!(database, rule, reason, count, %seqs, topic, error, "messages dropped, as on_error: drop says");
    remember(database, rule, reason, count, topic, error, None);
}

/// Values of a rule's messages did not fit and became NULL, because their columns say so. `count` counts messages.
pub(super) fn nulled(database: &str, rule: &str, count: u64, seqs: impl Display, topic: &str, error: &str) {
    warn!(database, rule, count, %seqs, topic, error, "values that do not fit are stored as NULL, as on_error: null says");
}

fn remember(database: &str, rule: &str, reason: &str, count: u64, topic: &str, error: &str, list: Option<&str>) {
    refusals::remember(Refusal {
        at: clock::now(),
        database: database.to_owned(),
        rule: rule.to_owned(),
        reason: reason.to_owned(),
        count,
        total: count,
        topic: topic.to_owned(),
        error: error.to_owned(),
        list: list.map(str::to_owned),
    });
}

/// A person is needed before a table takes anything more. Its rules' messages wait in the dead-letter table; others go on.
pub(super) fn table_parked(database: &str, table: &TableName, reason: &str, rules: &str) {
    error!(
        database, %table, reason, rules,
        "only the rules of this table wait from now on: their messages are parked among the dead letters until it is mended"
    );
}

/// The same, some time later.
pub(super) fn table_still_parked(database: &str, table: &TableName, reason: &str, messages: u64) {
    warn!(database, %table, reason, messages, "the rules of this table are still parked");
}

/// Parked messages are being written; told at first and then now and then.
pub(super) fn parked_progress(database: &str, table: &TableName, messages: u64, left: u64) {
    info!(database, %table, messages, left, "parked messages go in");
}

/// Nothing of the table is parked any more.
pub(super) fn table_unparked(database: &str, table: &TableName, messages: u64) {
    info!(database, %table, messages, "the table takes rows: all parked messages went in, and its rules go on");
}

/// Nobody will ever take these out.
pub(super) fn parked_without_rule(database: &str, rule: &str, messages: u64) {
    warn!(
        database,
        rule,
        messages,
        "messages are parked for a rule that the configuration does not have (any more): they stay dead letters"
    );
}

/// The offset in the database is not where this process left it.
pub(super) fn offset_moved(metrics: &DatabaseMetrics, database: &str, why: &str) {
    metrics.retries.inc();
    warn!(database, why, "the stored offset is read again");
}

/// The rows of a batch exclude each other.
pub(super) fn batch_narrowed(metrics: &DatabaseMetrics, database: &str, error: &SinkError, rows: usize) {
    metrics.retries.inc();
    debug!(database, %error, rows, "the batch is refused as a whole; fewer rows at a time");
}

/// A table ignored rows without an error. They are not in it, and nowhere else as far as Rowbridge knows.
pub(super) fn rows_swallowed(database: &str, table: &TableName, rows: u64) {
    warn!(
        database, %table, rows,
        "the table did not take rows, without an error: a trigger returns NULL, or a rule or ON CONFLICT of the table \
         ignores them; they count as rows_swallowed, not as written"
    );
}

/// Batches that went together were refused; which row is at fault shows when they go one by one.
pub(super) fn series_refused(metrics: &DatabaseMetrics, database: &str, error: &SinkError, from: Seq, to: Seq) {
    metrics.retries.inc();
    debug!(database, %error, %from, %to, "several batches in one transaction are refused; now one at a time");
}

/// At a stop, the connection could not be closed as it should.
pub(super) fn closed_unfinished(database: &str, error: &SinkError) {
    let advice = error.advice;
    warn!(database, %error, code = error.code, advice, "the database was not closed cleanly; what was committed stays");
}

/// A database hears of this journal for the first time.
pub(super) fn offset_begun(database: &str, journal: JournalId, from: Seq, rows_of_other_journals: usize) {
    if rows_of_other_journals == 0 {
        info!(database, %journal, %from, "first delivery to this database");
    } else {
        warn!(
            database, %journal, %from, rows_of_other_journals,
            "the database knows this bridge with another journal: delivery begins at this journal's oldest message"
        );
    }
}

/// The journal of an earlier start was in memory; this one's takes its row over.
pub(super) fn offset_succeeded(database: &str, journal: JournalId, from: Seq) {
    info!(database, %journal, %from, "delivery begins anew: the journal of the last start was in memory");
}

/// DESIGN J11.
pub(super) fn journal_renewed(database: &str, old: JournalId, renewed: JournalId, stored: Seq, next_seq: Seq) {
    error!(
        database, %old, %renewed, %stored, %next_seq,
        "the database holds messages that this journal does not know: the journal was replaced by an older copy of \
         itself, and what it held since then is lost unless the database has it; new messages are numbered under a new id"
    );
}

/// The journal's disk did not answer.
pub(super) fn journal_unreadable(metrics: &DatabaseMetrics, database: &str, error: &JournalError) {
    metrics.retries.inc();
    error!(database, %error, "the journal cannot be read; trying again");
}

/// Rules were removed, renamed or given another database while messages from `from` up to, not including, `end` wait.
pub(super) fn rules_gone(database: &str, rules: &str, from: Seq, end: Seq) {
    error!(
        database,
        rules,
        from_seq = from.0,
        to_seq = end.0 - 1,
        "these rules do not write to this database any more: messages that wait for it and that only they took are not stored"
    );
}

/// Rules were taken over from another database while messages from `from` up to, not including, `end` wait.
pub(super) fn rules_came(database: &str, rules: &str, from: Seq, end: Seq) {
    warn!(
        database,
        rules,
        from_seq = from.0,
        to_seq = end.0 - 1,
        "these rules wrote to another database before: messages that wait for this one are stored here too, though the other \
         may have stored them"
    );
}
