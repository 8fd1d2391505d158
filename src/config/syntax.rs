//! Explains text that is not YAML: in words, with the line, a caret and the remedy.
//!
//! No secret is repeated. If a file may hold one, only the known keys of the line are shown.

use super::key_path::{has_userinfo, names_a_secret};
use super::report::Position;
use super::vocabulary::is_known_key;

/// How a secret is written that begins with, or holds, a character of YAML's own.
pub(super) const QUOTES: &str = "the secret in single quotes, a quote in it doubled: password: 'it''s {odd} #1'; or \
                                 better in a file: password_file";
/// A secret that YAML takes for something else.
pub(super) const UNQUOTED: &str =
    "the value must be put in quotes: it begins with or holds what means something to YAML";

const TABS: &str = "spaces: YAML takes no tabs before a key or a value";
const BRACES: &str = "quotes around a value with braces where it begins with one or stands inside { } or [ ], as in \
                      { topic: \"a/{site}\", password: \"${PASSWORD}\" }";
const INDENTATION: &str = "the keys of one mapping in the same column, what belongs to a key further right, `: ` with a \
                           space after each key; quotes around a value with `: ` in it";
const SPECIAL: &str = "quotes around a value that begins with one of @ ` % & * ! | > { } [ ] , # or a quote";

/// Longer lines are cut.
const SHOWN_CHARS_MAX: usize = 100;

/// A syntax error for people.
pub(super) struct Explained {
    pub(super) position: Position,
    pub(super) problem: String,
    pub(super) accepted: &'static str,
}

/// `info` is the parser's word for it, `is_secret` says that a secret was being read, or just had been in the same line.
pub(super) fn explain(text: &str, position: Position, info: &str, is_secret: bool) -> Explained {
    if let Some(tab) = tab_in_indentation(text, position.line) {
        let problem = "not YAML: a tab in the indentation".to_owned();
        return Explained { position: tab, problem, accepted: TABS };
    }
    if is_secret {
        let problem = format!("not YAML: {UNQUOTED}");
        return Explained { position, problem, accepted: QUOTES };
    }
    let line = line_at(text, position.line);
    let is_about_indentation =
        ["mapping values", "expected key", "'-' indicator", "simple key", "indentation", "entries"];
    let accepted = if line.contains('{') {
        BRACES
    } else if line.contains('\t') && (info.contains("tab") || info.contains("whitespace")) {
        TABS
    } else if is_about_indentation.iter().any(|words| info.contains(words)) {
        INDENTATION
    } else {
        SPECIAL
    };
    // The parser repeats one character at most.
    Explained { position, problem: format!("not YAML: {info}"), accepted }
}

/// The position of a tab among the spaces before the text of this line or the next, because the parser may have stopped
/// before it.
fn tab_in_indentation(text: &str, line: usize) -> Option<Position> {
    (line..=line + 1).find_map(|line| {
        let indentation = line_at(text, line).chars().take_while(|c| c.is_whitespace());
        let column = indentation.enumerate().find(|(_, c)| *c == '\t')?.0 + 1;
        (!line_at(text, line).trim().is_empty()).then_some(Position { line, column })
    })
}

/// Whether a value that YAML takes for nothing was meant for one: `#foo`, which is a comment, or `&foo`, an anchor.
/// `position` is where the nothing is.
pub(super) fn looks_unquoted(text: &str, position: Position) -> bool {
    let line = line_at(text, position.line);
    let rest = line.chars().skip(position.column - 1).skip_while(|c| c.is_whitespace() || *c == ':');
    let first_two: Vec<char> = rest.take(2).collect();
    match first_two.as_slice() {
        ['#', second] => !second.is_whitespace() && *second != '#',
        ['&', ..] => true,
        _ => false,
    }
}

/// As YAML counts lines: a carriage return alone ends one too.
fn line_at(text: &str, line: usize) -> &str {
    let mut lines = text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'));
    lines.nth(line.saturating_sub(1)).unwrap_or_default()
}

/// The line with a caret below the position.
pub(super) fn excerpt(text: &str, position: Position) -> Option<String> {
    let line = line_at(text, position.line);
    if line.trim().is_empty() {
        return None;
    }
    let shown = if may_hold_secrets(text) { keys_of(line) } else { line.to_owned() };
    let column = position.column.min(shown.chars().count() + 1);
    let from = column.saturating_sub(SHOWN_CHARS_MAX);
    let visible = |c: char| match c {
        '\t' => '→',
        c if c.is_control() => '·',
        c => c,
    };
    let shown: String = shown.chars().skip(from).take(SHOWN_CHARS_MAX).map(visible).collect();
    Some(format!("{}\n{}^", shown.trim_end(), " ".repeat(column - from - 1)))
}

/// Whether anything in the file looks like a secret's key, or like credentials in an address.
fn may_hold_secrets(text: &str) -> bool {
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-');
    has_userinfo(text) || words.any(names_a_secret)
}

/// The indentation of a line, and its key if that is a known one.
fn keys_of(line: &str) -> String {
    let begin = line.len() - line.trim_start_matches([' ', '\t', '-']).len();
    let (indentation, rest) = line.split_at(begin);
    let key_len = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    let key = &rest[..key_len];
    match (is_known_key(key), rest[key_len..].starts_with(':')) {
        (true, true) => format!("{indentation}{key}: …"),
        (true, false) => format!("{indentation}{key} …"),
        (false, _) => format!("{indentation}…"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: usize, column: usize) -> Position {
        Position { line, column }
    }

    #[test]
    fn a_line_is_shown_with_a_caret_and_its_tabs_made_visible() {
        let text = "mqtt:\n\turl: x\n";
        assert_eq!(excerpt(text, at(2, 1)).as_deref(), Some("→url: x\n^"));
        assert_eq!(excerpt(text, at(1, 3)).as_deref(), Some("mqtt:\n  ^"));
        assert_eq!(excerpt(text, at(3, 1)), None);
        let long = format!("a: {}\n", "x".repeat(500));
        let shown = excerpt(&long, at(1, 300)).unwrap();
        assert!(shown.lines().all(|line| line.chars().count() <= SHOWN_CHARS_MAX), "{shown}");
    }

    #[test]
    fn in_a_file_with_secrets_only_known_keys_are_shown() {
        for (line, shown) in [
            ("  url: mqtt://h", "  url: …"),
            ("\turl: h", "→url: …"),
            ("  - topic: a", "  - topic: …"),
            ("   hunter2: x", "   …"),
            ("   hunter2", "   …"),
            ("   \"hunter2", "   …"),
            ("   topic hunter2", "   topic …"),
        ] {
            let text = format!("{line}\npassword: x\n");
            assert_eq!(excerpt(&text, at(1, 1)).unwrap().lines().next(), Some(shown), "{line}");
        }
        assert!(!may_hold_secrets("mqtt: {url: 'mqtt://h', password_file: p}"));
        assert!(may_hold_secrets("mqtt: {url: 'mqtt://u:p@h'}") && may_hold_secrets("pwd: x"));
    }
}
