//! The meaning of each SQLSTATE for delivery: one pure table.
//!
//! Every code has a verdict. A code that the table does not name holds the database ([`Class::Table`]): delivery tests
//! again from time to time, and no row is dropped on a guess. The longest prefix wins, so the table can name a class
//! (`22`) and its exceptions.

use crate::sink::Class;

/// What a code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) class: Class,
    /// The dead letter's short code, for [`Class::Row`].
    pub(super) reason: &'static str,
    /// What a person can do about it.
    pub(super) advice: &'static str,
}

/// The reason of a verdict that makes no dead letter.
const NO_REASON: &str = "table";

const fn transient(advice: &'static str) -> Verdict {
    Verdict { class: Class::Transient, reason: NO_REASON, advice }
}

const fn row(reason: &'static str, advice: &'static str) -> Verdict {
    Verdict { class: Class::Row, reason, advice }
}

const fn table(advice: &'static str) -> Verdict {
    Verdict { class: Class::Table, reason: NO_REASON, advice }
}

/// For 42501 where it is a policy of row-level security that the row breaks, and no missing right.
pub(super) const ROW_POLICY: Verdict = row("constraint", "the row breaks a row-level security policy of the table");

/// For 42501 where the schema is closed.
pub(super) const CLOSED_SCHEMA: Verdict =
    table("GRANT USAGE ON this SCHEMA to the role, and CREATE too if tables are to be made there");

/// For 08P01 of PgBouncer where each statement may go to another session.
pub(super) const STATEMENT_POOLING: Verdict =
    table("PgBouncer's statement mode cannot be used: set pool_mode = transaction or session");

/// For a code that the table does not name.
const UNKNOWN: Verdict = table(
    "Rowbridge does not know this error and holds the database rather than drop a row: see the server's log and \
           its manual",
);

const MEND_PGBOUNCER: &str = "sessions share a prepared statement: if a pooler stands between, use PgBouncer's transaction \
                              or session mode; Rowbridge reconnects by itself";

/// Prefixes of SQLSTATEs and their verdicts. The order is that of the codes, for the reader; the longest prefix wins.
const VERDICTS: &[(&str, Verdict)] = &[
    // Connection exceptions; PgBouncer says almost everything as 08P01.
    ("08", transient("the connection failed; Rowbridge reconnects by itself")),
    (
        "0A000",
        table(
            "the server does not support this for the table, which may be a view, a foreign table or have row-level \
             security: see its hint",
        ),
    ),
    // Data exceptions: a value does not fit its column after all.
    ("22", row("value", "the value does not fit the column: compare the column's type with the rule's")),
    ("2200H", table("a sequence is exhausted: ALTER SEQUENCE … MAXVALUE or RESTART, or give the column a larger type")),
    ("23", row("constraint", "the row breaks a constraint of the table")),
    ("23001", row("constraint", "the row breaks a restrict rule of the table")),
    ("23502", row("constraint", "a NOT NULL column got no value: give the column a default, or the rule's")),
    ("23503", row("constraint", "the row refers to one that does not exist: a foreign key")),
    ("23505", row("constraint", "a row with this key exists already")),
    ("23514", row("constraint", "the row breaks a CHECK constraint, or no partition takes it")),
    ("23P01", row("constraint", "the row collides with another under an exclusion constraint")),
    ("25", transient("the session's transaction is not in the state expected; Rowbridge reconnects by itself")),
    ("25001", table("a trigger or function does what this transaction does not allow")),
    (
        "25006",
        transient(
            "the server is read-only, a standby perhaps: name all hosts and `target_session_attrs=read-write`, or \
             switch default_transaction_read_only off",
        ),
    ),
    ("26000", transient(MEND_PGBOUNCER)),
    ("28", table("the login was refused: check user, password and pg_hba.conf")),
    ("28000", table("the login was refused: check the user, pg_hba.conf and sslmode")),
    ("28P01", table("the password is wrong: check `password` or `password_file`")),
    ("3D000", table("there is no such database: create it, or correct the URL")),
    ("3F000", table("there is no such schema: create it, or correct `schema` or the rule's table")),
    ("40", transient("the transaction collided with another; it is tried again")),
    ("42", table("the statement does not fit the table: compare the rule with it")),
    (
        "42501",
        table(
            "a right is missing: GRANT INSERT on the table, USAGE on sequences that its defaults use, and SELECT, INSERT, \
             UPDATE, DELETE on rowbridge_*; a trigger may need more",
        ),
    ),
    // The input function of type `name` counts bytes of the database's encoding.
    ("42622", row("value", "the value is longer than the 63 bytes that type name holds")),
    ("42703", table("a column is missing: it was dropped or renamed; correct the table or the rule")),
    ("42809", table("this is not a table that takes rows; it may be a materialized view: name the table below it")),
    ("42P01", table("a table is missing: create it, set `create: true`, or correct the rule")),
    ("42P05", transient(MEND_PGBOUNCER)),
    ("44000", row("constraint", "the row breaks a view's WITH CHECK OPTION")),
    ("53", transient("the server lacks a resource; Rowbridge tries again until it is available")),
    ("53100", transient("the server's disk is full: make room")),
    ("53200", transient("the server is out of memory")),
    ("53300", transient("the server has no connection left: raise max_connections or use a pooler")),
    // A limit of one row: an index entry too large, a document nested too deep.
    ("54000", row("size", "the row is beyond a limit of the server: an index entry may not pass a third of a page")),
    ("54001", row("size", "the value is nested too deep for the server: see max_stack_depth")),
    ("54011", table("the table has too many columns")),
    (
        "55000",
        table("it takes no rows: a view must be simple or have an INSTEAD OF INSERT trigger; see the server's hint"),
    ),
    ("55P02", table("a setting cannot be changed now")),
    ("55", transient("a lock or an object is in use; it is tried again")),
    ("57", transient("an operator intervened; Rowbridge tries again")),
    (
        "57014",
        transient(
            "the statement was cancelled, by statement_timeout most likely: raise `statement_timeout`, lower \
             `batch.max_rows`, or look for what holds the table's locks",
        ),
    ),
    ("57P01", transient("the server is shutting down or an administrator ended the session")),
    ("57P02", transient("the server crashed and recovers")),
    ("57P03", transient("the server is starting up, shutting down or recovering")),
    ("58", transient("the server cannot read or write its files: see its log")),
    ("72000", transient("the snapshot is too old; it is tried again")),
    ("HV00N", transient("a foreign server cannot be reached")),
    // RAISE EXCEPTION in a trigger: the usual way to refuse a row.
    ("P0001", row("constraint", "a trigger refused the row")),
    ("XX", table("the server found damage or a fault of its own: see its log before anything else")),
];

/// What `code` means.
pub(super) fn classify(code: &str) -> Verdict {
    VERDICTS
        .iter()
        .filter(|(prefix, _)| code.starts_with(prefix))
        .max_by_key(|(prefix, _)| prefix.len())
        .map_or(UNKNOWN, |&(_, verdict)| verdict)
}

/// Codes of trouble that passes, which may nevertheless concern one table alone and last: somebody holds it in an open
/// transaction, or its trigger always ends so.
pub(super) fn may_be_of_one_table(code: &str) -> bool {
    matches!(code, "57014" | LOCK_NOT_AVAILABLE | "40001" | "40P01" | "25006")
}

/// The wait for a lock was ended.
pub(super) const LOCK_NOT_AVAILABLE: &str = "55P03";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_codes_that_decide_over_messages_are_sorted_as_designed() {
        for code in ["08000", "08006", "08P01", "53100", "57P01", "57P03", "57014", "40001", "40P01", "55P03", "25006"]
        {
            assert_eq!(classify(code).class, Class::Transient, "{code}");
        }
        for (code, reason) in [("22003", "value"), ("22P02", "value"), ("22021", "value"), ("23514", "constraint")] {
            assert_eq!((classify(code).class, classify(code).reason), (Class::Row, reason), "{code}");
        }
        assert_eq!(classify("54000").reason, "size");
        for code in ["42P01", "42703", "42501", "3D000", "3F000", "28P01", "0A000", "XX001", "99999", "", "é", "P0002"]
        {
            assert_eq!(classify(code).class, Class::Table, "{code}");
        }
    }

    #[test]
    fn no_prefix_is_named_twice() {
        let mut prefixes: Vec<_> = VERDICTS.iter().map(|(prefix, _)| prefix).collect();
        prefixes.sort();
        let count = prefixes.len();
        prefixes.dedup();
        assert_eq!(prefixes.len(), count);
    }

    proptest! {
        #[test]
        fn every_code_has_a_class_and_advice_and_only_rows_make_dead_letters(code in "[0-9A-Z]{5}|.{0,8}") {
            let verdict = classify(&code);
            prop_assert!(!verdict.advice.is_empty());
            prop_assert!(verdict.class != Class::OffsetMoved);
            let is_dead_letter = ["constraint", "value", "size"].contains(&verdict.reason);
            prop_assert_eq!(is_dead_letter, verdict.class == Class::Row);
        }

        #[test]
        fn only_named_classes_blame_a_row(code in "[0-9A-Z]{5}") {
            if classify(&code).class == Class::Row {
                let named = ["22", "23"].contains(&&code[..2])
                    || ["42622", "44000", "54000", "54001", "P0001"].contains(&code.as_str());
                prop_assert!(named, "{}", code);
            }
        }
    }
}
