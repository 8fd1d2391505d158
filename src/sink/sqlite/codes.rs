//! The meaning of SQLite's result codes for delivery: one pure, total table.
//!
//! A code alone is not sufficient. A constraint that fails on a user's row is the row's fault; the same code on one
//! of our own tables means that somebody changed the table. `SQLITE_ERROR` from the compiler is a missing table or
//! column; from a row whose statement still compiles it is that row's value (`malformed JSON` in a generated column).
//! [`Moment`] distinguishes these cases.

use rusqlite::ffi;

use crate::remedy;
use crate::sink::{Class, SinkError};

/// What was being done when the code came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// Running an insert into a user's table that is known to compile.
    Row,
    /// COMMIT, where deferred foreign keys are checked.
    Commit,
    /// All else: opening, compiling, our own tables.
    Elsewhere,
}

const ADVICE_WAIT: &str = "another process holds the database; delivery goes on by itself once it lets go";
pub(super) const ADVICE_FULL: &str = "make room on the disk (or raise max_page_count); delivery goes on by itself";
const ADVICE_IO: &str = "look at the disk and the kernel's log; delivery tries again by itself";
const ADVICE_RETRY: &str = "nothing: delivery tries again by itself";
const ADVICE_ROW: &str = "the offending message is set apart as its rule's on_error says";
const ADVICE_SCHEMA: &str =
    "mend the table or the rule (`rowbridge check` shows both); delivery goes on by itself then";
const ADVICE_OPEN: &str =
    "check the path and the rights: SQLite creates -wal and -shm files beside the database, in the same directory";
const ADVICE_READONLY: &str = "give the bridge's user the right to write the file and its directory";
const ADVICE_CORRUPT: &str = "the file is damaged or not SQLite's: restore a backup (messages that it lacks and the \
                              journal still keeps are delivered again), or salvage it with `sqlite3 FILE .recover`";
const ADVICE_OTHER: &str = "nothing is dropped: delivery to this database waits; look at the message above";

/// The class of a result code, primary or extended, and what a person can do about it.
pub(super) fn classify(code: i32, moment: Moment) -> (Class, &'static str) {
    // An extended code keeps its primary code in the low byte.
    match code & 0xff {
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED | ffi::SQLITE_PROTOCOL => (Class::Transient, ADVICE_WAIT),
        ffi::SQLITE_FULL => (Class::Transient, ADVICE_FULL),
        ffi::SQLITE_IOERR => (Class::Transient, ADVICE_IO),
        ffi::SQLITE_NOMEM | ffi::SQLITE_INTERRUPT | ffi::SQLITE_ABORT => (Class::Transient, ADVICE_RETRY),
        ffi::SQLITE_READONLY if code == ffi::SQLITE_READONLY_DBMOVED => (Class::Transient, ADVICE_RETRY),
        ffi::SQLITE_CONSTRAINT if moment != Moment::Elsewhere => (Class::Row, ADVICE_ROW),
        ffi::SQLITE_MISMATCH | ffi::SQLITE_TOOBIG | ffi::SQLITE_ERROR if moment == Moment::Row => {
            (Class::Row, ADVICE_ROW)
        }
        ffi::SQLITE_ERROR | ffi::SQLITE_SCHEMA | ffi::SQLITE_CONSTRAINT | ffi::SQLITE_MISMATCH => {
            (Class::Table, ADVICE_SCHEMA)
        }
        ffi::SQLITE_CANTOPEN => (Class::Table, ADVICE_OPEN),
        ffi::SQLITE_READONLY | ffi::SQLITE_PERM | ffi::SQLITE_AUTH => (Class::Table, ADVICE_READONLY),
        ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB | ffi::SQLITE_FORMAT => (Class::Table, ADVICE_CORRUPT),
        // Whatever it is, it may be one row's.
        _ if moment == Moment::Row => (Class::RowOrTable, ADVICE_OTHER),
        _ => (Class::Table, ADVICE_OTHER),
    }
}

/// A dead letter's short code for a row refused with `code`.
pub(super) fn refusal_reason(code: i32) -> &'static str {
    match code {
        // A STRICT table's or a rowid's type, not a rule about the value.
        ffi::SQLITE_CONSTRAINT_DATATYPE => "value",
        _ => match code & 0xff {
            ffi::SQLITE_TOOBIG => "size",
            ffi::SQLITE_MISMATCH | ffi::SQLITE_ERROR => "value",
            _ => "constraint",
        },
    }
}

/// The name in SQLite's documentation; a code that is not listed goes by the name of its primary code and its number.
pub(super) fn name(code: i32) -> String {
    let find = |wanted: i32| NAMES.iter().find(|(code, _)| *code == wanted).map(|(_, name)| *name);
    match (find(code), find(code & 0xff)) {
        (Some(name), _) => format!("SQLITE_{name}"),
        (None, Some(primary)) => format!("SQLITE_{primary}_{}", code >> 8),
        (None, None) => format!("SQLITE_{code}"),
    }
}

/// The extended result code and SQLite's words. The SQL is left out: it may be long and says nothing that `what` lacks.
pub(super) fn code_and_words(error: &rusqlite::Error) -> Option<(i32, String)> {
    match error {
        rusqlite::Error::SqliteFailure(failure, words) => {
            Some((failure.extended_code, words.clone().unwrap_or_else(|| failure.to_string())))
        }
        rusqlite::Error::SqlInputError { error, msg, .. } => Some((error.extended_code, msg.clone())),
        _ => None,
    }
}

/// `what` says what was tried, with the table or file: "cannot write into telemetry".
pub(super) fn sink_error(what: &str, error: &rusqlite::Error, moment: Moment) -> SinkError {
    match code_and_words(error) {
        Some((code, words)) => {
            let (class, advice) = match code & 0xff {
                // SQLite does not say why it cannot open a file.
                ffi::SQLITE_CANTOPEN => remedy::lack_of_descriptors().map(|advice| (Class::Transient, advice)),
                _ => None,
            }
            .unwrap_or_else(|| classify(code, moment));
            let name = name(code);
            SinkError { class, message: format!("{what}: {words} ({name})"), code: name, advice }
        }
        // A reply of another shape than our own tables have, or a path that SQLite cannot take: a person is needed.
        None => SinkError {
            class: Class::Table,
            code: "reply".to_owned(),
            message: format!("{what}: {error}"),
            advice: ADVICE_OTHER,
        },
    }
}

const NAMES: &[(i32, &str)] = &[
    (ffi::SQLITE_ERROR, "ERROR"),
    (ffi::SQLITE_INTERNAL, "INTERNAL"),
    (ffi::SQLITE_PERM, "PERM"),
    (ffi::SQLITE_ABORT, "ABORT"),
    (ffi::SQLITE_BUSY, "BUSY"),
    (ffi::SQLITE_LOCKED, "LOCKED"),
    (ffi::SQLITE_NOMEM, "NOMEM"),
    (ffi::SQLITE_READONLY, "READONLY"),
    (ffi::SQLITE_INTERRUPT, "INTERRUPT"),
    (ffi::SQLITE_IOERR, "IOERR"),
    (ffi::SQLITE_CORRUPT, "CORRUPT"),
    (ffi::SQLITE_NOTFOUND, "NOTFOUND"),
    (ffi::SQLITE_FULL, "FULL"),
    (ffi::SQLITE_CANTOPEN, "CANTOPEN"),
    (ffi::SQLITE_PROTOCOL, "PROTOCOL"),
    (ffi::SQLITE_EMPTY, "EMPTY"),
    (ffi::SQLITE_SCHEMA, "SCHEMA"),
    (ffi::SQLITE_TOOBIG, "TOOBIG"),
    (ffi::SQLITE_CONSTRAINT, "CONSTRAINT"),
    (ffi::SQLITE_MISMATCH, "MISMATCH"),
    (ffi::SQLITE_MISUSE, "MISUSE"),
    (ffi::SQLITE_NOLFS, "NOLFS"),
    (ffi::SQLITE_AUTH, "AUTH"),
    (ffi::SQLITE_FORMAT, "FORMAT"),
    (ffi::SQLITE_RANGE, "RANGE"),
    (ffi::SQLITE_NOTADB, "NOTADB"),
    (ffi::SQLITE_ABORT_ROLLBACK, "ABORT_ROLLBACK"),
    (ffi::SQLITE_BUSY_RECOVERY, "BUSY_RECOVERY"),
    (ffi::SQLITE_BUSY_SNAPSHOT, "BUSY_SNAPSHOT"),
    (ffi::SQLITE_BUSY_TIMEOUT, "BUSY_TIMEOUT"),
    (ffi::SQLITE_CANTOPEN_ISDIR, "CANTOPEN_ISDIR"),
    (ffi::SQLITE_CANTOPEN_FULLPATH, "CANTOPEN_FULLPATH"),
    (ffi::SQLITE_CANTOPEN_SYMLINK, "CANTOPEN_SYMLINK"),
    (ffi::SQLITE_CONSTRAINT_CHECK, "CONSTRAINT_CHECK"),
    (ffi::SQLITE_CONSTRAINT_COMMITHOOK, "CONSTRAINT_COMMITHOOK"),
    (ffi::SQLITE_CONSTRAINT_DATATYPE, "CONSTRAINT_DATATYPE"),
    (ffi::SQLITE_CONSTRAINT_FOREIGNKEY, "CONSTRAINT_FOREIGNKEY"),
    (ffi::SQLITE_CONSTRAINT_FUNCTION, "CONSTRAINT_FUNCTION"),
    (ffi::SQLITE_CONSTRAINT_NOTNULL, "CONSTRAINT_NOTNULL"),
    (ffi::SQLITE_CONSTRAINT_PINNED, "CONSTRAINT_PINNED"),
    (ffi::SQLITE_CONSTRAINT_PRIMARYKEY, "CONSTRAINT_PRIMARYKEY"),
    (ffi::SQLITE_CONSTRAINT_ROWID, "CONSTRAINT_ROWID"),
    (ffi::SQLITE_CONSTRAINT_TRIGGER, "CONSTRAINT_TRIGGER"),
    (ffi::SQLITE_CONSTRAINT_UNIQUE, "CONSTRAINT_UNIQUE"),
    (ffi::SQLITE_CONSTRAINT_VTAB, "CONSTRAINT_VTAB"),
    (ffi::SQLITE_CORRUPT_INDEX, "CORRUPT_INDEX"),
    (ffi::SQLITE_CORRUPT_SEQUENCE, "CORRUPT_SEQUENCE"),
    (ffi::SQLITE_CORRUPT_VTAB, "CORRUPT_VTAB"),
    (ffi::SQLITE_IOERR_READ, "IOERR_READ"),
    (ffi::SQLITE_IOERR_SHORT_READ, "IOERR_SHORT_READ"),
    (ffi::SQLITE_IOERR_WRITE, "IOERR_WRITE"),
    (ffi::SQLITE_IOERR_FSYNC, "IOERR_FSYNC"),
    (ffi::SQLITE_IOERR_DIR_FSYNC, "IOERR_DIR_FSYNC"),
    (ffi::SQLITE_IOERR_TRUNCATE, "IOERR_TRUNCATE"),
    (ffi::SQLITE_IOERR_FSTAT, "IOERR_FSTAT"),
    (ffi::SQLITE_IOERR_UNLOCK, "IOERR_UNLOCK"),
    (ffi::SQLITE_IOERR_RDLOCK, "IOERR_RDLOCK"),
    (ffi::SQLITE_IOERR_DELETE, "IOERR_DELETE"),
    (ffi::SQLITE_IOERR_NOMEM, "IOERR_NOMEM"),
    (ffi::SQLITE_IOERR_ACCESS, "IOERR_ACCESS"),
    (ffi::SQLITE_IOERR_LOCK, "IOERR_LOCK"),
    (ffi::SQLITE_IOERR_CLOSE, "IOERR_CLOSE"),
    (ffi::SQLITE_IOERR_SHMOPEN, "IOERR_SHMOPEN"),
    (ffi::SQLITE_IOERR_SHMSIZE, "IOERR_SHMSIZE"),
    (ffi::SQLITE_IOERR_SHMLOCK, "IOERR_SHMLOCK"),
    (ffi::SQLITE_IOERR_SHMMAP, "IOERR_SHMMAP"),
    (ffi::SQLITE_IOERR_SEEK, "IOERR_SEEK"),
    (ffi::SQLITE_IOERR_MMAP, "IOERR_MMAP"),
    (ffi::SQLITE_IOERR_DATA, "IOERR_DATA"),
    (ffi::SQLITE_IOERR_CORRUPTFS, "IOERR_CORRUPTFS"),
    (ffi::SQLITE_LOCKED_SHAREDCACHE, "LOCKED_SHAREDCACHE"),
    (ffi::SQLITE_LOCKED_VTAB, "LOCKED_VTAB"),
    (ffi::SQLITE_READONLY_CANTINIT, "READONLY_CANTINIT"),
    (ffi::SQLITE_READONLY_CANTLOCK, "READONLY_CANTLOCK"),
    (ffi::SQLITE_READONLY_DBMOVED, "READONLY_DBMOVED"),
    (ffi::SQLITE_READONLY_DIRECTORY, "READONLY_DIRECTORY"),
    (ffi::SQLITE_READONLY_RECOVERY, "READONLY_RECOVERY"),
    (ffi::SQLITE_READONLY_ROLLBACK, "READONLY_ROLLBACK"),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_listed_code_has_the_class_that_delivery_relies_on() {
        for &(code, name) in NAMES {
            let expected = |moment: Moment| match name.split('_').next().unwrap() {
                "BUSY" | "LOCKED" | "PROTOCOL" | "FULL" | "IOERR" | "NOMEM" | "INTERRUPT" | "ABORT" => Class::Transient,
                "READONLY" if name == "READONLY_DBMOVED" => Class::Transient,
                "CONSTRAINT" if moment != Moment::Elsewhere => Class::Row,
                "MISMATCH" | "TOOBIG" | "ERROR" if moment == Moment::Row => Class::Row,
                "ERROR" | "SCHEMA" | "CONSTRAINT" | "MISMATCH" | "CANTOPEN" | "READONLY" | "PERM" | "AUTH"
                | "CORRUPT" | "NOTADB" | "FORMAT" => Class::Table,
                _ if moment == Moment::Row => Class::RowOrTable,
                _ => Class::Table,
            };
            for moment in [Moment::Row, Moment::Commit, Moment::Elsewhere] {
                assert_eq!(classify(code, moment).0, expected(moment), "{name} at {moment:?}");
            }
        }
    }

    #[test]
    fn a_refused_row_is_told_apart_by_what_it_broke() {
        assert_eq!(refusal_reason(ffi::SQLITE_CONSTRAINT_UNIQUE), "constraint");
        assert_eq!(refusal_reason(ffi::SQLITE_CONSTRAINT_DATATYPE), "value");
        assert_eq!(refusal_reason(ffi::SQLITE_MISMATCH), "value");
        assert_eq!(refusal_reason(ffi::SQLITE_TOOBIG), "size");
    }

    #[test]
    fn names_fall_back_to_the_primary_code() {
        assert_eq!(name(ffi::SQLITE_CONSTRAINT_UNIQUE), "SQLITE_CONSTRAINT_UNIQUE");
        assert_eq!(name(ffi::SQLITE_IOERR | 99 << 8), "SQLITE_IOERR_99");
        assert_eq!(name(200), "SQLITE_200");
    }

    proptest! {
        #[test]
        fn no_code_is_ever_taken_for_a_row_outside_of_rows_and_of_unknown_ones_the_walk_decides(code: i32) {
            prop_assert!(!classify(code, Moment::Elsewhere).0.may_be_a_row());
            let listed = NAMES.iter().any(|(known, _)| *known == code & 0xff);
            if !listed {
                prop_assert_eq!(classify(code, Moment::Row).0, Class::RowOrTable);
                prop_assert_eq!(classify(code, Moment::Commit).0, Class::Table);
            }
            prop_assert!(name(code).starts_with("SQLITE_"));
        }
    }
}
