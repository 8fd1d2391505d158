//! `${VAR}`, `${VAR:-default}`, `${VAR:?message}` and `$${` inside string scalars.
//!
//! The result is text, never YAML: a value of the environment cannot add keys. A dollar before any character other than
//! `{` is kept, so passwords seldom need care. A default or message ends at the first `}`; it is not substituted
//! again, and must not hold `${`.

use std::collections::BTreeMap;

use thiserror::Error;

/// Why a scalar cannot be filled in. Names variables, never their values.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum SubstituteError {
    #[error("the environment variable {0} is not set")]
    Unset(String),
    #[error("the environment variable {name} is not set: {message}")]
    Required { name: String, message: String },
    #[error("the value of the environment variable {0} is not UTF-8 text")]
    NotText(String),
    #[error("`${{` has no closing `}}`; write `$${{` for a literal `${{`")]
    Unclosed,
    #[error("`${{…}}` needs the name of a variable: letters, digits and `_`; write `$${{` for a literal `${{`")]
    Name,
    #[error(
        "the default or message of `${{{0}:…}}` holds a variable itself, which is not filled in; name one variable"
    )]
    Nested(String),
}

impl SubstituteError {
    /// Whether the text itself is wrong, whatever the environment holds.
    pub(super) fn is_syntax(&self) -> bool {
        match self {
            SubstituteError::Unset(_) | SubstituteError::Required { .. } | SubstituteError::NotText(_) => false,
            SubstituteError::Unclosed | SubstituteError::Name | SubstituteError::Nested(_) => true,
        }
    }

    /// What would be right in its place.
    pub(super) fn accepted(&self) -> &'static str {
        match self {
            SubstituteError::NotText(_) => "the variable with a value in UTF-8",
            _ if self.is_syntax() => "${NAME}, ${NAME:-default}, ${NAME:?message}, or $${ for a literal ${",
            _ => "the variable in the environment, or ${NAME:-default}",
        }
    }
}

/// The text with its variables filled in, or `None` if there is nothing to fill in.
///
/// As in the shell, `:-` and `:?` take an empty variable for an unset one.
pub(super) fn substitute(
    text: &str,
    environment: &BTreeMap<String, String>,
) -> Result<Option<String>, SubstituteError> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        filled.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix("${") {
            filled.push_str("${");
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let end = after.find('}').ok_or(SubstituteError::Unclosed)?;
            filled.push_str(&value_of(&after[..end], environment)?);
            rest = &after[end + 1..];
        } else {
            filled.push('$');
        }
    }
    filled.push_str(rest);
    Ok(Some(filled))
}

/// Shorter values of variables are no secrets, and parts of many words.
pub(super) const SECRET_LEN_MIN: usize = 4;

/// The longest value that may also be a word of the message itself. A longer one is always replaced by the variable's
/// name.
const WORD_LEN_MAX: usize = 11;

/// `message` with the variable's name instead of its value: between backticks, where messages quote, and everywhere else
/// too unless the value might be a word of the message's own.
pub(super) fn name_in_message(message: &str, name: &str, value: &str) -> String {
    put_in_message(message, value, &format!("${{{name}}}"))
}

/// `message` with `substitute` for `value`, in the same places.
pub(super) fn put_in_message(message: &str, value: &str, substitute: &str) -> String {
    let is_word = value.len() <= WORD_LEN_MAX && value.chars().all(|c| c.is_ascii_alphabetic() || c == '_');
    if !is_word {
        return message.replace(value, substitute);
    }
    let parts = message.split('`').enumerate();
    let parts = parts.map(|(at, part)| if at % 2 == 1 { part.replace(value, substitute) } else { part.to_owned() });
    parts.collect::<Vec<_>>().join("`")
}

/// The names of the variables that a text asks for.
pub(super) fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split("${").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

/// The replacement for the inside of one `${…}`.
fn value_of(inside: &str, environment: &BTreeMap<String, String>) -> Result<String, SubstituteError> {
    let name_len = inside.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inside.len());
    let (name, modifier) = inside.split_at(name_len);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(SubstituteError::Name);
    }
    if modifier.contains("${") {
        return Err(SubstituteError::Nested(name.to_owned()));
    }
    let value = environment.get(name);
    let filled_value = value.filter(|value| !value.is_empty());
    if modifier.is_empty() {
        value.cloned().ok_or_else(|| SubstituteError::Unset(name.to_owned()))
    } else if let Some(default) = modifier.strip_prefix(":-") {
        Ok(filled_value.cloned().unwrap_or_else(|| default.to_owned()))
    } else if let Some(message) = modifier.strip_prefix(":?") {
        filled_value
            .cloned()
            .ok_or_else(|| SubstituteError::Required { name: name.to_owned(), message: message.to_owned() })
    } else {
        Err(SubstituteError::Name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> BTreeMap<String, String> {
        [("A", "alpha"), ("EMPTY", ""), ("SLY", "x\nrules: []"), ("NESTED", "${A}")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    #[test]
    fn variables_are_filled_in() {
        for (text, expected) in [
            ("${A}", "alpha"),
            ("x${A}y${A}z", "xalphayalphaz"),
            ("${EMPTY}", ""),
            ("${A:-other}", "alpha"),
            ("${NONE:-other}", "other"),
            ("${NONE:-}", ""),
            ("${EMPTY:-other}", "other"),
            ("${A:?must be set}", "alpha"),
            ("$${A}", "${A}"),
            ("$$${A}", "$${A}"),
            ("$${A}${A}", "${A}alpha"),
            ("pa$$word${EMPTY}$", "pa$$word$"),
            ("${NESTED}", "${A}"),
            ("${SLY}", "x\nrules: []"),
            ("${NONE:-a:b-c?d}", "a:b-c?d"),
        ] {
            assert_eq!(substitute(text, &environment()), Ok(Some(expected.to_owned())), "{text}");
        }
    }

    #[test]
    fn a_message_names_a_variable_instead_of_its_value() {
        for (value, expected) in
            [("json", "found `${X}`; accepted are json and a7#b"), ("a7#b", "found `json`; accepted are json and ${X}")]
        {
            assert_eq!(name_in_message("found `json`; accepted are json and a7#b", "X", value), expected);
        }
        assert_eq!(name_in_message("the file `a`b/correcthorse`", "X", "correcthorse"), "the file `a`b/${X}`");
    }

    #[test]
    fn a_text_without_variables_is_left_alone() {
        for text in ["", "plain", "a$b", "$", "cost $5", "{A}", "pa$$word", "$$ a $$"] {
            assert_eq!(substitute(text, &environment()), Ok(None), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_filled_in_is_an_error() {
        let error = |text: &str| substitute(text, &environment()).unwrap_err();
        assert_eq!(error("${NONE}"), SubstituteError::Unset("NONE".to_owned()));
        assert_eq!(
            error("${EMPTY:?set the password}"),
            SubstituteError::Required { name: "EMPTY".to_owned(), message: "set the password".to_owned() }
        );
        assert_eq!(error("${A"), SubstituteError::Unclosed);
        assert_eq!(error("${}"), SubstituteError::Name);
        assert_eq!(error("${1A}"), SubstituteError::Name);
        assert_eq!(error("${A-b}"), SubstituteError::Name);
        assert_eq!(error("${a.b}"), SubstituteError::Name);
        for text in ["${NONE:-${A}}", "${A:-${B}}", "${A:?set ${B}}"] {
            assert!(matches!(error(text), SubstituteError::Nested(_)), "{text}");
        }
    }
}
