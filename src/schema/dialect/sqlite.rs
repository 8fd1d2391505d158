//! SQLite's types.
//!
//! SQLite lets any column hold anything; what a column means is in the words of its declared type, and what SQLite does
//! to a value on its way in is the affinity that it reads from the same words. Both decide:
//!
//! | affinity (SQLite's own rules, in this order) | words in the declared type | taken as | stored as |
//! |---|---|---|---|
//! | INTEGER: `INT` | `INTERVAL` | Interval | ISO 8601 text |
//! | | `REAL` `FLOA` `DOUB` (`FLOATING POINT`) | Float8 | REAL, whole numbers as INTEGER |
//! | | else | Int8 | INTEGER; a time as epoch milliseconds |
//! | TEXT: `CHAR` `CLOB` `TEXT` | `DECIMAL_TEXT(p,s)`, `DECIMAL_TEXT` | Numeric(p,s) | TEXT, every digit kept |
//! | | `JSON` | JsonText | TEXT |
//! | | `UUID` `TIMESTAMP` `DATETIME` `DATE` `TIME` | that | TEXT |
//! | | else | Text; a length is not enforced, as in SQLite | TEXT |
//! | none: `BLOB` or no type | no type | Any | as it comes |
//! | | `JSON` | JsonText | TEXT |
//! | | else | Bytes | BLOB |
//! | REAL: `REAL` `FLOA` `DOUB` | | Float8 | REAL |
//! | NUMERIC: the rest | `BOOL` | Bool | INTEGER 0 or 1 |
//! | | `JSON` | Json | TEXT; a document that is a bare number as that number |
//! | | `UUID` `GUID` | Uuid | canonical TEXT |
//! | | `TIMESTAMP` `DATETIME` | TimestampText | `2026-11-21T08:26:00.123Z` |
//! | | `DATE`, `TIME` | Date, Time | `2026-11-21`, `08:26:00.123456` |
//! | | `INET` `CIDR` | Inet | TEXT |
//! | | `NUM` `DEC` `MONEY` | Numeric | INTEGER or REAL if exact, else refused |
//! | | else (`STRING`, `ANY` …) | unsupported: NUMERIC affinity would turn the text 007 into 7 | |
//!
//! STRICT tables know INT, INTEGER, REAL, TEXT, BLOB and ANY; their ANY keeps everything as it comes.
//!
//! For `create: true`, a `decimal` of at most 15 digits, or of unsaid precision, becomes DECIMAL: it sorts and sums as
//! people expect, fifteen digits are always exact, and a value that would lose digits is refused, not rounded. A
//! `decimal` of more digits becomes DECIMAL_TEXT: every digit is kept, but it sorts as text; CAST it to sum. `json` and
//! arrays become JSON_TEXT, which SQLite's JSON functions read like any text.

use super::Dialect;
use crate::rule::DeclaredType;
use crate::schema::{ColumnType, IntervalUnit, SecondDigits};

/// Digits that a double, and so a NUMERIC column, always keeps.
const NUMERIC_DIGITS_MAX: u16 = 15;
/// Of a `DECIMAL_TEXT` without precision: as many digits as a precision can tell, half of them behind the point.
const ANY_DIGITS: (u16, i16) = (u16::MAX, i16::MAX);

/// SQLite.
#[derive(Debug, Clone, Copy)]
pub struct SqliteDialect;

impl Dialect for SqliteDialect {
    const TEXT_TAKES_NUL: bool = true;
    const NAMES_FOLD_CASE: bool = true;
    const ALTERS_COLUMNS: bool = false;
    /// The row's number. A new table may have such columns: "cannot add rowid alias" is said of ALTER TABLE alone.
    const UNADDABLE_COLUMNS: &'static [&'static str] = &["rowid", "oid", "_rowid_"];

    fn type_sql(declared: &DeclaredType) -> String {
        type_sql(declared)
    }

    fn column_type(declared: &DeclaredType) -> ColumnType {
        type_of(&type_sql(declared), false)
    }

    /// As it was declared.
    fn type_name(declared: &DeclaredType) -> String {
        type_sql(declared)
    }
}

impl SqliteDialect {
    /// What a column of this declared type holds; `strict`: in a STRICT table.
    pub(crate) fn type_of(declared: &str, strict: bool) -> ColumnType {
        type_of(declared, strict)
    }
}

/// The table in the module doc.
fn type_of(declared: &str, strict: bool) -> ColumnType {
    let declared = declared.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
    let is_real = has(&["REAL", "FLOA", "DOUB"]);
    let text = ColumnType::Text { max_chars: None };
    if strict && declared == "ANY" {
        ColumnType::Any
    } else if has(&["INT"]) {
        match () {
            () if has(&["INTERVAL"]) => ColumnType::Interval(IntervalUnit::Second(SecondDigits::MICROS)),
            () if is_real => ColumnType::Float8,
            () => ColumnType::Int8,
        }
    } else if has(&["CHAR", "CLOB", "TEXT"]) {
        match decimal_text(&declared).or_else(|| meaning(&declared)) {
            Some(ColumnType::Json) => ColumnType::JsonText,
            meaning => meaning.unwrap_or(text),
        }
    } else if declared.trim().is_empty() {
        ColumnType::Any
    } else if has(&["BLOB"]) {
        if has(&["JSON"]) { ColumnType::JsonText } else { ColumnType::Bytes }
    } else if is_real {
        ColumnType::Float8
    } else if has(&["BOOL"]) {
        ColumnType::Bool
    } else if let Some(meaning) = meaning(&declared) {
        meaning
    } else if has(&["INET", "CIDR"]) {
        ColumnType::Inet
    } else if has(&["NUM", "DEC", "MONEY"]) {
        ColumnType::Numeric(None)
    } else {
        ColumnType::Unsupported(format!(
            "{declared} (which has NUMERIC affinity in SQLite: it would turn the text 007 into 7; declare it TEXT)"
        ))
    }
}

/// Types whose values are text of a fixed form, which no affinity touches.
fn meaning(declared: &str) -> Option<ColumnType> {
    let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
    Some(match () {
        () if has(&["JSON"]) => ColumnType::Json,
        () if has(&["UUID", "GUID"]) => ColumnType::Uuid,
        () if has(&["TIMESTAMP", "DATETIME"]) => ColumnType::TimestampText,
        () if has(&["DATE"]) => ColumnType::Date,
        () if has(&["TIME"]) => ColumnType::Time(SecondDigits::MICROS),
        () => return None,
    })
}

/// `DECIMAL_TEXT(p,s)`, as [`type_sql`] writes it; also without scale, and without either.
fn decimal_text(declared: &str) -> Option<ColumnType> {
    let limits = declared.strip_prefix("DECIMAL_TEXT")?.trim();
    if limits.is_empty() {
        return Some(ColumnType::Numeric(Some(ANY_DIGITS)));
    }
    let inside = limits.strip_prefix('(')?.strip_suffix(')')?;
    let (precision, scale) = inside.split_once(',').unwrap_or((inside, "0"));
    Some(ColumnType::Numeric(Some((precision.trim().parse().ok()?, scale.trim().parse().ok()?))))
}

fn type_sql(declared: &DeclaredType) -> String {
    let name = match declared {
        DeclaredType::Bool => "BOOLEAN",
        DeclaredType::Int => "INTEGER",
        DeclaredType::Bigint => "BIGINT",
        DeclaredType::Real => "REAL",
        DeclaredType::Double => "DOUBLE",
        DeclaredType::Decimal(None) => "DECIMAL",
        DeclaredType::Decimal(Some((precision, scale))) if *precision <= NUMERIC_DIGITS_MAX => {
            return format!("DECIMAL({precision},{scale})");
        }
        DeclaredType::Decimal(Some((precision, scale))) => return format!("DECIMAL_TEXT({precision},{scale})"),
        DeclaredType::Text => "TEXT",
        // A type named JSON has NUMERIC affinity: a document that is a bare number would become that number.
        DeclaredType::Json | DeclaredType::Array(_) => "JSON_TEXT",
        DeclaredType::Bytes => "BLOB",
        DeclaredType::Uuid => "UUID",
        DeclaredType::Date => "DATE",
        DeclaredType::Time => "TIME",
        DeclaredType::Timestamp | DeclaredType::Timestamptz => "TIMESTAMP",
        DeclaredType::Inet => "INET",
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_words_say_what_a_column_holds() {
        let text = ColumnType::Text { max_chars: None };
        for (declared, expected) in [
            ("INTEGER", ColumnType::Int8),
            ("unsigned big int", ColumnType::Int8),
            ("INTERVAL", ColumnType::Interval(IntervalUnit::Second(SecondDigits::MICROS))),
            ("FLOATING POINT", ColumnType::Float8),
            ("DOUBLE PRECISION", ColumnType::Float8),
            ("VARCHAR(20)", text.clone()),
            ("TEXT", text),
            ("TEXT_UUID", ColumnType::Uuid),
            ("DATETIME_TEXT", ColumnType::TimestampText),
            ("", ColumnType::Any),
            ("BLOB", ColumnType::Bytes),
            ("BOOLEAN", ColumnType::Bool),
            ("json", ColumnType::Json),
            ("JSON_TEXT", ColumnType::JsonText),
            ("JSON BLOB", ColumnType::JsonText),
            ("JSONB", ColumnType::Json),
            ("UUID", ColumnType::Uuid),
            ("TIMESTAMPTZ", ColumnType::TimestampText),
            ("DATE", ColumnType::Date),
            ("TIME", ColumnType::Time(SecondDigits::MICROS)),
            ("INET", ColumnType::Inet),
            ("DECIMAL(10,2)", ColumnType::Numeric(None)),
            ("DECIMAL_TEXT(30,10)", ColumnType::Numeric(Some((30, 10)))),
            ("DECIMAL_TEXT(30)", ColumnType::Numeric(Some((30, 0)))),
            ("decimal_text", ColumnType::Numeric(Some(ANY_DIGITS))),
        ] {
            assert_eq!(type_of(declared, false), expected, "{declared}");
        }
    }

    #[test]
    fn a_type_that_would_change_text_is_unsupported_with_the_remedy() {
        for declared in ["STRING", "ANY", "FOO"] {
            let ColumnType::Unsupported(reason) = type_of(declared, false) else { panic!("{declared}") };
            assert!(reason.starts_with(declared) && reason.contains("declare it TEXT"), "{reason}");
        }
        assert_eq!(type_of("ANY", true), ColumnType::Any);
    }
}
