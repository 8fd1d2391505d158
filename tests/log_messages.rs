//! The log: docs/messages.md explains every line at WARN and ERROR, and every reason of a dead letter.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What begins a line of the log, with its level. The second form is of macros that take the level.
const STARTS: [(&str, &str); 4] =
    [("warn!(", "WARN"), ("!(warn,", "WARN"), ("error!(", "ERROR"), ("!(error,", "ERROR")];

/// What stands before a dead letter's reason.
const REASON_STARTS: [&str; 7] =
    ["reason: \"", ".fault(\"", "Level(\"", "ShapingFault(\"", "Reason { code: \"", " row(\"", "NO_COLUMN: &str = \""];

/// A line's level and the constant beginning of its text.
type Line = (&'static str, String);

/// The text of a string literal, of which `code` begins behind the quote; and the code behind it.
fn literal(code: &str) -> (String, &str) {
    let (mut text, mut rest) = (String::new(), code);
    loop {
        let end = rest.find(['"', '\\']).unwrap();
        text.push_str(&rest[..end]);
        if rest[end..].starts_with('"') {
            return (text, &rest[end + 1..]);
        }
        let escaped = &rest[end + 1..];
        rest = match escaped.strip_prefix('\n') {
            Some(next_line) => next_line.trim_start(),
            None => {
                text.push_str(&escaped[..1]);
                &escaped[1..]
            }
        };
    }
}

/// The message among a macro's arguments, of which `code` begins with the first: the literal that is no field's value.
fn message(code: &str) -> Option<String> {
    let (mut rest, mut depth, mut before) = (code, 1, ',');
    while depth > 0 {
        let c = rest.chars().next()?;
        rest = &rest[c.len_utf8()..];
        match c {
            '"' => {
                let (text, behind) = literal(rest);
                if depth == 1 && before == ',' {
                    return Some(text);
                }
                rest = behind;
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if !c.is_whitespace() {
            before = c;
        }
    }
    None
}

/// The lines that a file logs at WARN and ERROR. A text without a constant beginning is empty.
fn lines(text: &str) -> Vec<Line> {
    let text = product(text);
    let of_start = |(start, level): (&str, &'static str)| {
        let found = text.match_indices(start).filter(|(at, _)| !text[..*at].ends_with('_'));
        let messages = found.map(|(at, _)| message(&text[at + start.len()..]).expect("a line has a message"));
        messages.map(|message| (level, message.split('{').next().unwrap().trim_end().to_owned())).collect::<Vec<_>>()
    };
    STARTS.into_iter().flat_map(of_start).collect()
}

fn product(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

fn files(folder: &Path, visit: &mut impl FnMut(&Path, &str)) {
    if folder.is_file() {
        return visit(folder, &fs::read_to_string(folder).unwrap());
    }
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !["tests", "simulation", "proof"].contains(&name) {
            files(&path, visit);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            visit(&path, &fs::read_to_string(&path).unwrap());
        }
    }
}

/// The cells of the document's table rows.
fn rows(document: &str) -> impl Iterator<Item = Vec<&str>> {
    document.lines().filter(|line| line.starts_with('|')).map(|line| line.split('|').skip(1).map(str::trim).collect())
}

fn without_backticks(cell: &str) -> String {
    let inner = cell.strip_prefix("``").and_then(|rest| rest.strip_suffix("``"));
    inner.map_or_else(|| cell.trim_matches('`'), str::trim).to_owned()
}

fn document() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/messages.md")).unwrap()
}

#[test]
fn the_document_has_every_line_of_the_log_and_no_other() {
    let document = document();
    let documented: BTreeSet<Line> = rows(&document)
        .filter_map(|row| {
            let level = ["WARN", "ERROR"].into_iter().find(|level| row[0] == *level)?;
            row[1].starts_with('`').then(|| (level, without_backticks(row[1])))
        })
        .collect();
    let (mut logged, mut without_beginning) = (BTreeSet::new(), Vec::new());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    files(&root, &mut |path, text| {
        for line in lines(text) {
            if line.1.is_empty() {
                without_beginning.push(path.strip_prefix(&root).unwrap().display().to_string());
            } else {
                logged.insert(line);
            }
        }
    });
    assert!(logged.len() > 70, "only {} lines were found", logged.len());
    assert_eq!(logged.difference(&documented).collect::<Vec<_>>(), [] as [&Line; 0], "these are not in the document");
    assert_eq!(documented.difference(&logged).collect::<Vec<_>>(), [] as [&Line; 0], "these are never logged");
    // What a configuration gives up of the bridge's promises: `rowbridge check` prints the same words.
    assert_eq!(without_beginning, ["app.rs"]);
}

#[test]
fn the_document_has_every_reason_of_a_dead_letter_and_no_other() {
    let document = document();
    let table = document.split("\n## Reasons of dead letters\n").nth(1).unwrap();
    let names = rows(table).map(|row| row[0]).filter(|cell| cell.starts_with('`'));
    let documented: BTreeSet<String> = names.map(without_backticks).collect();
    let (mut reasons, mut literals) = (BTreeSet::new(), BTreeSet::new());
    for folder in ["batch", "delivery", "jq", "mapping", "message.rs", "sink"] {
        files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder), &mut |_, text| {
            let text = product(text);
            for (at, start) in REASON_STARTS.iter().flat_map(|start| text.match_indices(start)) {
                let (reason, behind) = literal(&text[at + start.len()..]);
                // What is no single word, or all that is given, is a message.
                if reason.chars().all(|c| c.is_ascii_lowercase() || c == '_') && !behind.starts_with(')') {
                    reasons.insert(reason);
                }
            }
            literals.extend(documented.iter().filter(|name| text.contains(&format!("\"{name}\""))).cloned());
        });
    }
    assert!(reasons.len() > 5, "only {reasons:?} were found");
    assert_eq!(
        reasons.difference(&documented).collect::<Vec<_>>(),
        [] as [&String; 0],
        "these are not in the document"
    );
    assert_eq!(literals, documented, "the document has reasons that do not occur");
}

#[test]
fn a_line_is_found_in_each_form() {
    let text = "warn!(a, advice = \"x\", \"one, \\\n    two {b}\", c(\"d\"));\ntracing::error!(\n    %e,\n    \"three\"\n);\n\
                tell!(warn, \"four\");\ncompile_error!(\"five\");\nwarn!(\"{}\", x);\n#[cfg(test)]\nmod tests {\nwarn!(\"six\")";
    let found = lines(text);
    let expected = [("WARN", "one, two"), ("WARN", ""), ("WARN", "four"), ("ERROR", "three")];
    assert_eq!(found, expected.map(|(level, text)| (level, text.to_owned())));
}
