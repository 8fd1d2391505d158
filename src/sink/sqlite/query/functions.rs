//! The functions that a query may call. Functions that load code are refused, and SQLite's own functions that would run
//! for minutes between two checks of the time limit are replaced.

use std::borrow::Cow;

use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::types::ValueRef;

/// Characters of the second argument of `trim`, `ltrim` and `rtrim`. SQLite's own compares each with each: a minute and a half for
/// two times 32 KiB.
const TRIM_CHARS_MAX: usize = 100;

/// Reading, and functions other than those that load code. A full-text index asks for the version of its data.
pub(super) fn authorize(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => Authorization::Allow,
        AuthAction::Pragma { pragma_name: "data_version", pragma_value: None } => Authorization::Allow,
        AuthAction::Function { function_name } => match function_name {
            name if name.eq_ignore_ascii_case("load_extension") => Authorization::Deny,
            name if name.eq_ignore_ascii_case("fts3_tokenizer") => Authorization::Deny,
            _ => Authorization::Allow,
        },
        _ => Authorization::Deny,
    }
}

/// `trim(X, Y)` and its like, in time that is bounded.
pub(super) fn add_trims(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    for (name, (is_left, is_right)) in [("trim", (true, true)), ("ltrim", (true, false)), ("rtrim", (false, true))] {
        connection.create_scalar_function(name, 2, flags, move |context| {
            let (Some(text), Some(chars)) = (text(context.get_raw(0))?, text(context.get_raw(1))?) else {
                return Ok(None);
            };
            if chars.chars().nth(TRIM_CHARS_MAX).is_some() {
                return Err(user_error(format!("{name} takes off at most {TRIM_CHARS_MAX} characters")));
            }
            let is_taken = |char| chars.contains::<char>(char);
            let left = if is_left { text.trim_start_matches(is_taken) } else { &text };
            let both = if is_right { left.trim_end_matches(is_taken) } else { left };
            Ok(Some(both.to_owned()))
        })?;
    }
    Ok(())
}

/// As SQLite converts it; `None` for NULL.
fn text(value: ValueRef<'_>) -> rusqlite::Result<Option<Cow<'_, str>>> {
    match value {
        ValueRef::Null => Ok(None),
        ValueRef::Integer(number) => Ok(Some(Cow::Owned(number.to_string()))),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Ok(Some(String::from_utf8_lossy(bytes))),
        ValueRef::Real(_) => Err(user_error("trim takes text, and no real number: cast it".to_owned())),
    }
}

fn user_error(why: String) -> rusqlite::Error {
    rusqlite::Error::UserFunctionError(why.into())
}
