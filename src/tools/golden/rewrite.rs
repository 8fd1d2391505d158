//! Rewrites the expectations in a file of golden tests; every other line stays unchanged.
//!
//! `expect` is found by its position. Its value is the rest of its line and the following lines that are indented
//! further, or items of a list in its own column. Comments between these lines are removed; later comments stay.

use std::fmt::Write;

use super::file::Test;
use super::judge::taken;
use super::value::Value;
use crate::tools::explain::{Explanation, Fate, Row};
use crate::tools::yaml;

/// A row is written in one line up to here.
const LINE_CHARS_MAX: usize = 100;

/// The file's text with what was found in place of what was expected of `test`; or why that cannot be written.
pub(super) fn rewrite(text: &str, test: &Test, found: &Explanation) -> Result<String, String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    // Lines and columns count from 1.
    let at = test.expect_key.unwrap_or(test.keys);
    let column = at.column - 1;
    let is_block = |line: &str| line.chars().take(column).all(|c| c == ' ' || c == '-');
    if !lines.get(at.line - 1).is_some_and(|line| is_block(line)) {
        return Err("its keys stand in one line; write each of them in a line of its own".to_owned());
    }
    let end = extent(&lines, at.line, column, test.expect_key.is_none());
    let mut rewritten = String::with_capacity(text.len());
    let before = if test.expect_key.is_some() { at.line - 1 } else { end };
    rewritten.extend(lines[..before].iter().copied());
    if !rewritten.is_empty() && !rewritten.ends_with('\n') {
        rewritten.push('\n');
    }
    if test.expect_key.is_some() {
        rewritten.extend(lines[at.line - 1].chars().take(column));
    } else {
        rewritten.push_str(&" ".repeat(column));
    }
    rewritten.push_str(&expectation(test, found, column));
    rewritten.extend(lines[end..].iter().copied());
    Ok(rewritten)
}

/// The index of the first line after a key's value, or after a whole test, that begins above line `from` and whose keys
/// are in `column`.
fn extent(lines: &[&str], from: usize, column: usize, is_test: bool) -> usize {
    let mut end = from;
    for (index, line) in lines.iter().enumerate().skip(from) {
        let content = line.trim_start_matches(' ');
        let indent = line.len() - content.len();
        // What looks like a comment may be a line of a text.
        let is_comment = content.starts_with('#') && !(is_test && indent > column);
        if content.trim().is_empty() || is_comment {
            continue;
        }
        let is_item = indent == column && (content.starts_with("- ") || content.trim_end() == "-");
        let closes = indent == column && content.starts_with([']', '}']);
        let belongs = indent > column || (is_test && indent == column) || (!is_test && (is_item || closes));
        if !belongs {
            break;
        }
        end = index + 1;
    }
    end
}

/// `expect: …` with its line break, for keys in that column.
fn expectation(test: &Test, found: &Explanation, column: usize) -> String {
    let mut text = "expect:".to_owned();
    let inner = " ".repeat(column + 2);
    let mut is_empty = true;
    for (view, taken) in taken(found) {
        is_empty = false;
        let _ = write!(text, "\n{inner}- rule: {}", yaml::scalar(&view.rule));
        match (&taken.error, taken.fate) {
            (None, Fate::Written) => rows(&mut text, test, &view.rule, &taken.rows, &inner),
            (error, fate) => {
                let _ = write!(text, "\n{inner}  outcome: {}", fate.word());
                if let Some(error) = error {
                    let _ = write!(text, "\n{inner}  reason: {}", yaml::scalar(&error.reason));
                }
            }
        }
    }
    text + if is_empty { " []\n" } else { "\n" }
}

fn rows(text: &mut String, test: &Test, rule: &str, rows: &[Row], inner: &str) {
    let Some(first) = rows.first() else {
        let _ = write!(text, "\n{inner}  outcome: written");
        return;
    };
    if rows.iter().all(|row| row.table == first.table) {
        let _ = write!(text, "\n{inner}  table: {}", yaml::scalar(&first.table));
    }
    let chosen = chosen_columns(test, rule);
    if let [row] = rows {
        let _ = write!(text, "\n{inner}  row: {}", row_text(row, &chosen, &format!("{inner}    ")));
        return;
    }
    let _ = write!(text, "\n{inner}  rows:");
    for row in rows {
        let _ = write!(text, "\n{inner}    - {}", row_text(row, &chosen, &format!("{inner}      ")));
    }
}

/// The columns that the test looks at by now; empty for all.
fn chosen_columns<'t>(test: &'t Test, rule: &str) -> Vec<&'t str> {
    let expected =
        test.expect.iter().flatten().filter(|expected| expected.rule.as_deref().is_none_or(|name| name == rule));
    let rows = expected.filter_map(|expected| expected.rows.as_ref()).flatten().flatten();
    rows.map(|(name, _)| name.as_str()).collect()
}

fn row_text(row: &Row, chosen: &[&str], indent: &str) -> String {
    let is_chosen = |column: &str| chosen.is_empty() || chosen.contains(&column);
    let mut values: Vec<_> = row.values.iter().filter(|value| is_chosen(&value.column)).collect();
    if values.is_empty() {
        // None of them is there any more.
        values = row.values.iter().collect();
    }
    let columns: Vec<(String, Value)> = values
        .into_iter()
        .map(|value| {
            let held = Value::of_json(&value.held.json).unwrap_or_else(|| Value::Text(value.held.json.clone()));
            (value.column.clone(), held)
        })
        .collect();
    let one_line = Value::Map(columns.clone()).yaml();
    if columns.is_empty() || one_line.chars().count() + indent.len() <= LINE_CHARS_MAX {
        return one_line;
    }
    let lines: Vec<String> =
        columns.iter().map(|(name, value)| format!("{indent}{}: {}", yaml::scalar(name), value.yaml())).collect();
    // A mapping begins below its key, and beside the dash of a list.
    format!("\n{}", lines.join("\n"))
}
