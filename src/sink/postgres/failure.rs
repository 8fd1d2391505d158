//! From the driver's error to [`SinkError`]: the attempted action, its object and the server's message, never a row's
//! values.
//!
//! The code of an error that came while rows were written is not conclusive, because a trigger can raise any code. So
//! if the session survived the error, a row may be at fault ([`explain_rows`]); the walk decides.
//!
//! The server puts values into an error's DETAIL and after a colon into the message itself: `invalid input value for enum
//! mood: "angry"`. The DETAIL is never read, and the message is cut at the colon. Of a data exception (class 22) nothing is
//! kept that stands in double quotes. Input functions give other codes too, and write values without quotes
//! ([`words_of_cast`]).

use std::borrow::Cow;
use std::error::Error as _;
use std::io;

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, Severity};

use super::sqlstate::{CLOSED_SCHEMA, ROW_POLICY, STATEMENT_POOLING, Verdict, classify};
use crate::remedy;
use crate::sink::{Class, SinkError};

/// SQLSTATE, and the function of the server that gives it where a row breaks a policy.
pub(super) const MISSING_RIGHT: &str = "42501";

pub(super) const ENCODING_CHANGED_BY: &str =
    "a trigger or function of the table changes client_encoding, and texts that come after it would be garbled";
const ROUTINE_OF_POLICIES: &str = "ExecWithCheckOptions";

/// The server's words are cut here: a trigger may raise a novel.
const WORDS_CHARS_MAX: usize = 500;

/// SQLSTATEs: a message, or a field of a row, is not in its form.
const PROTOCOL_VIOLATION: &str = "08P01";
const INVALID_BINARY: &str = "22P03";

/// What `error` means. `doing` is what was tried, `at` the host and database.
pub(super) fn explain(error: &Error, doing: &str, at: &str) -> SinkError {
    if let Some(refusal) = error.as_db_error() {
        let code = refusal.code().code();
        let verdict = judge(refusal);
        return SinkError {
            class: verdict.class,
            code: code.to_owned(),
            message: format!("{doing} ({at}): {}", words(refusal)),
            advice: verdict.advice,
        };
    }
    let (class, code, advice) = outside(error);
    SinkError { class, code: code.to_owned(), message: format!("{doing} ({at}): {}", chain(error)), advice }
}

/// What the server's refusal means: nearly always its code says that alone.
pub(super) fn judge(refusal: &DbError) -> Verdict {
    let code = refusal.code().code();
    // Of the two that share a code, a missing right concerns every row, a policy one. The server's function is named the
    // same in every language.
    if code == MISSING_RIGHT && refusal.routine() == Some(ROUTINE_OF_POLICIES) {
        return ROW_POLICY;
    }
    // Only in English; otherwise the advice is the code's.
    if code == MISSING_RIGHT && refusal.message().starts_with("permission denied for schema ") {
        return CLOSED_SCHEMA;
    }
    if code == PROTOCOL_VIOLATION && refusal.message().contains("statement pooling mode") {
        return STATEMENT_POOLING;
    }
    // A field of a COPY that is shorter than its type wants is told as a breach of the protocol ("insufficient data left
    // in message"): with a row in its context it is that row's affair, not the connection's.
    if code == PROTOCOL_VIOLATION && refusal.where_().and_then(copy_line).is_some() {
        return classify(INVALID_BINARY);
    }
    classify(code)
}

/// As [`explain`], for an error that came while rows were taken or at COMMIT. One that left the session alive may be of a
/// single row, whatever its code says.
pub(super) fn explain_rows(error: &Error, doing: &str, at: &str) -> SinkError {
    let mut explained = explain(error, doing, at);
    match error.as_db_error() {
        Some(refusal) if ends_statement_only(refusal) => {
            explained.class = class_of_rows(Some(refusal), explained.class);
        }
        // Whatever its code says, the session is over.
        Some(_) => explained.class = Class::Transient,
        None => {}
    }
    explained
}

/// A trigger or function of a table that takes rows has changed `client_encoding`: rows behind it may be garbled.
pub(super) fn encoding_changed(doing: &str, at: impl std::fmt::Display) -> SinkError {
    own(
        Class::RowOrTable,
        "client_encoding",
        format!("{doing} ({at}): {ENCODING_CHANGED_BY}"),
        "let the function leave client_encoding alone, or confine it: ALTER FUNCTION … SET client_encoding = …",
    )
}

/// The class of an error that came while rows were taken.
fn class_of_rows(refusal: Option<&DbError>, class: Class) -> Class {
    // A partition that nobody made is missed by every row of today, one of another year by that row alone.
    let lacks_partition = refusal.and_then(DbError::routine) == Some("ExecFindPartition");
    if lacks_partition { Class::RowOrTable } else { class.while_rows_are_taken() }
}

/// Whether the server goes on with the session.
fn ends_statement_only(refusal: &DbError) -> bool {
    refusal.parsed_severity().map_or(refusal.severity() == "ERROR", |severity| severity == Severity::Error)
}

/// An error that we, not the server, put into words.
pub(super) fn own(class: Class, code: &str, message: String, advice: &'static str) -> SinkError {
    SinkError { class, code: code.to_owned(), message, advice }
}

/// The server's message, with its code and what it concerns, and its hint; without values.
pub(super) fn words(refusal: &DbError) -> String {
    let code = refusal.code().code();
    let message = before_value(refusal.message());
    // Codes of input functions for invalid text; ltree reports a syntax error, hstore an internal one. What a binary field is
    // refused for names its type in quotes, never the value.
    let is_of_value = code.starts_with("22") && code != INVALID_BINARY
        || ["42601", "42602", "42622", "XX000"].contains(&code) && refusal.position().is_none();
    let message = if is_of_value { without_quoted(message) } else { message.into() };
    with_place(&message, refusal)
}

/// As [`words`], for the refusal of an input function. `of` names the types that it may belong to.
pub(super) fn words_of_cast(refusal: &DbError, of: &str) -> String {
    let message = without_quoted(refusal.message().split(": ").next().unwrap_or_default());
    format!("no text of {of}: {} ({})", in_one_line(&message), refusal.code().code())
}

fn with_place(message: &str, refusal: &DbError) -> String {
    let mut text = in_one_line(message);
    text.push_str(&format!(" ({}", refusal.code().code()));
    if let Some(column) = column_of(refusal) {
        text.push_str(&format!(", column {column}"));
    }
    if let Some(constraint) = refusal.constraint() {
        text.push_str(&format!(", constraint {constraint}"));
    }
    text.push(')');
    // Meant for people, and for whoever wrote the trigger. DETAIL is where the server puts values.
    if let Some(hint) = refusal.hint() {
        text.push_str("; hint: ");
        text.push_str(&in_one_line(hint));
    }
    text
}

/// The column at fault: the message itself names one that the server knows of, COPY tells it in its context.
pub(super) fn column_of(refusal: &DbError) -> Option<&str> {
    refusal.column().or_else(|| refusal.where_().and_then(copy_column))
}

/// Without a value behind a colon: `word is too long in tsquery`.
fn before_value(message: &str) -> &str {
    message.split_once(": \"").map_or(message, |(before, _)| before)
}

/// Without what stands in double quotes: `… is not a valid binary digit`.
fn without_quoted(message: &str) -> Cow<'_, str> {
    if !message.contains('"') {
        return message.into();
    }
    let parts = message.split('"').enumerate().map(|(index, part)| if index % 2 == 0 { part } else { "…" });
    parts.collect::<String>().into()
}

/// Lines after an error's first are SQL that would mend it.
fn in_one_line(words: &str) -> String {
    words.chars().take(WORDS_CHARS_MAX).map(|c| if c == '\n' { ' ' } else { c }).collect()
}

/// The column in `COPY readings, line 3, column temp`.
fn copy_column(context: &str) -> Option<&str> {
    let first = context.lines().next()?;
    let (_, column) = first.split_once(", column ")?;
    // In text form a value would follow the colon.
    Some(column.split(':').next().unwrap_or(column))
}

/// The row, from 1, in `COPY readings, line 3, column temp`, in whichever language the server speaks.
pub(super) fn copy_line(context: &str) -> Option<usize> {
    let first = context.lines().next()?;
    first.strip_prefix("COPY ")?.split(", ").nth(1)?.rsplit(' ').next()?.trim_end_matches(':').parse().ok()
}

/// An error that did not come as an answer of the server.
fn outside(error: &Error) -> (Class, &'static str, &'static str) {
    if let Some(tls) = find::<rustls::Error>(error) {
        let class = match tls {
            rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_) => Class::Table,
            _ => Class::Transient,
        };
        let advice = crate::tls::advice(tls).unwrap_or("the TLS handshake failed; Rowbridge tries again");
        return (class, "tls", advice);
    }
    let io = find::<io::Error>(error);
    if let Some(advice) = io.and_then(remedy::of_descriptors) {
        return (Class::Transient, "descriptors", advice);
    }
    if io.is_some() || error.is_closed() {
        return (Class::Transient, "connect", "the server cannot be reached; Rowbridge tries again");
    }
    let text = chain(error);
    if text.contains("does not support TLS") {
        return (
            Class::Table,
            "tls",
            "the server offers no TLS: switch `ssl` on there, or use sslmode=prefer or disable",
        );
    }
    if text.contains("password missing") {
        return (Class::Table, "password", "the server asks for a password: give `password` or `password_file`");
    }
    (
        Class::Table,
        "driver",
        "the server does not answer as Postgres does: check the URL and the server at this address",
    )
}

/// The first error of type `E` among the causes; `io::Error` hides its cause, so it is opened.
fn find<E: std::error::Error + 'static>(error: &Error) -> Option<&E> {
    let mut cause = error.source();
    while let Some(current) = cause {
        if let Some(found) = current.downcast_ref::<E>() {
            return Some(found);
        }
        let inside = current.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = inside.and_then(|inside| inside.downcast_ref::<E>()) {
            return Some(found);
        }
        cause = current.source();
    }
    None
}

/// The error and its causes, each said once.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(current) = cause {
        let next = current.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = current.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_a_value_is_told_without_it() {
        let without_values = |message: &'static str| without_quoted(before_value(message));
        assert_eq!(without_values("invalid input syntax for type uuid: \"abc\""), "invalid input syntax for type uuid");
        assert_eq!(without_values("\"2\" is not a valid binary digit"), "… is not a valid binary digit");
        assert_eq!(without_values("near \"a\" and \"b"), "near … and …");
        assert_eq!(without_values("numeric field overflow"), "numeric field overflow");
    }

    #[test]
    fn the_context_of_a_copy_names_row_and_column_in_any_language() {
        assert_eq!(copy_line("COPY readings, line 3, column temp"), Some(3));
        assert_eq!(copy_line("COPY readings, Zeile 12\nmore"), Some(12));
        assert_eq!(copy_line("PL/pgSQL function f() line 3 at RAISE"), None);
        assert_eq!(copy_column("COPY readings, line 3, column temp"), Some("temp"));
        assert_eq!(copy_column("COPY readings, line 3, column temp: \"secret\""), Some("temp"));
    }
}
