//! The table of keys against the decoder: the same keys, defaults, bounds and words.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Bench;
use crate::config::schema::{Key, ROOT, Section, Takes};
use crate::config::units::show_size;

/// A configuration that is right, and has every section in which a rule or a database can have others.
fn base() -> Value {
    json!({
        "databases": { "d": { "url": "postgres://h/d" } },
        "rules": [{ "topic": "a", "table": "t", "columns": { "c": { "from": "payload" } } }],
        "publish": [{ "table": "t", "topic": "b" }],
        "queries": [{ "topic": "q", "sql": "select :p", "parameters": { "p": { "from": "payload.p" } } }],
    })
}

/// Every section with the place at which [`base`] has it or would have it: a JSON pointer.
fn sections() -> Vec<(&'static Section, String)> {
    fn add(section: &'static Section, pointer: &str, found: &mut Vec<(&'static Section, String)>) {
        found.push((section, pointer.to_owned()));
        for key in section.keys {
            let at = match (key.name, &key.takes) {
                ("databases", _) => format!("{pointer}/databases/d"),
                ("columns", _) => format!("{pointer}/columns/c"),
                ("parameters", _) => format!("{pointer}/parameters/p"),
                (name, Takes::List { .. }) => format!("{pointer}/{name}/0"),
                (name, _) => format!("{pointer}/{name}"),
            };
            if let Some(below) = key.takes.section() {
                add(below, &at, found);
            }
        }
    }
    let mut found = Vec::new();
    add(&ROOT, "", &mut found);
    found
}

/// `rules[0].columns.c.from`
fn key_path(pointer: &str, key: &str) -> String {
    let path = format!("{pointer}/{key}").replace("/0/", "[0]/");
    path.trim_start_matches('/').replace('/', ".")
}

/// Puts a value into a configuration, with the mappings that it lacks.
fn set(config: &mut Value, pointer: &str, key: &str, value: Value) {
    let mut at = config;
    for part in pointer.split('/').skip(1) {
        at = match part.parse::<usize>() {
            Ok(index) => &mut at[index],
            Err(_) => &mut at[part],
        };
        if at.is_null() {
            *at = json!({});
        }
    }
    at[key] = value;
}

fn bench(config: &Value) -> Bench {
    Bench::new(&serde_json::to_string_pretty(config).unwrap())
}

/// The finding at a key that has this value: what is accepted there; `None` if there is no finding.
fn accepted_at(pointer: &str, key: &str, value: Value) -> Option<String> {
    let mut config = base();
    set(&mut config, pointer, key, value);
    let report = crate::config::load(&bench(&config).request).err()?;
    let path = key_path(pointer, key);
    let finding = report.findings().iter().find(|finding| finding.key == path)?;
    Some(finding.accepted.clone().unwrap_or_default())
}

#[test]
fn each_section_of_the_decoder_knows_the_keys_of_its_table() {
    for (section, pointer) in sections() {
        let accepted = accepted_at(&pointer, "zzz", json!(1)).unwrap_or_else(|| panic!("{pointer} takes any key"));
        let asked: BTreeSet<&str> = accepted.split(", ").filter(|key| !key.is_empty()).collect();
        let shown: BTreeSet<&str> = section.keys.iter().map(|key| key.name).collect();
        assert_eq!(shown, asked, "the table and the decoder of `{pointer}`");
    }
}

fn default_of(key: &Key) -> Option<Value> {
    key.default.map(|text| serde_json::from_str(text).unwrap_or_else(|_| json!(text)))
}

#[test]
fn a_file_with_every_default_means_the_same_as_one_without() {
    let mut config = base();
    for (section, pointer) in sections() {
        for key in section.keys {
            if let Some(default) = default_of(key) {
                set(&mut config, &pointer, key.name, default);
            }
        }
    }
    let shown = |config: &Value| {
        let mut config = bench(config).config();
        config.file = None;
        for rule in &mut config.rules {
            Arc::make_mut(rule).position.clear();
        }
        for query in &mut config.queries {
            *query = query.without_position();
        }
        format!("{config:#?}")
    };
    assert_eq!(shown(&config), shown(&base()));
}

#[test]
fn the_bounds_and_words_of_the_table_are_the_decoders() {
    for (section, pointer) in sections() {
        for key in section.keys {
            let name = key.name;
            let accepted = |value: Value| accepted_at(&pointer, name, value);
            let range_of =
                |value: &str| accepted(json!(value)).unwrap_or_else(|| panic!("{pointer}/{name} takes {value}"));
            match &key.takes {
                Takes::Integer { min, max } => {
                    for (number, fits) in [
                        (Some(*min), true),
                        (Some(*max), true),
                        (max.checked_add(1), false),
                        (min.checked_sub(1), false),
                    ] {
                        let Some(number) = number else { continue };
                        assert_eq!(accepted(json!(number)).is_none(), fits, "{pointer}/{name}: {number}");
                    }
                }
                Takes::Duration(min, max) | Takes::WordOr(_, Takes::Duration(min, max)) => {
                    let range = range_of("9999999d");
                    assert!(range.ends_with(&format!("from {min} to {max}")), "{pointer}/{name}: {range}");
                }
                Takes::Size { min, max } => {
                    let range = range_of("999999TiB");
                    let ours = format!("from {} to {}", show_size(*min), show_size(*max));
                    assert!(range.ends_with(&ours), "{pointer}/{name}: {range}");
                }
                Takes::Choice(words) => {
                    for word in *words {
                        assert_eq!(accepted(json!(word)), None, "{pointer}/{name}: {word}");
                    }
                    let all = range_of("zzz");
                    assert!(all == words.join(", ") || name == "version", "{pointer}/{name}: {all}");
                }
                _ => {}
            }
        }
    }
}

/// The heading of the section that lists the keys of this mapping, and what stands before each key in its table.
fn place_in_document(pointer: &str) -> (&str, String) {
    let (heading, below) = match pointer.strip_prefix('/') {
        None => return ("The top level", String::new()),
        Some("rules/0/columns/c" | "queries/0/parameters/p") => return ("`columns`", String::new()),
        Some(pointer) => pointer.split_once('/').unwrap_or((pointer, "")),
    };
    match below.strip_prefix("0/").or(below.strip_prefix("d/")).unwrap_or(below) {
        "" | "0" | "d" => (heading, String::new()),
        below => (heading, format!("{below}.")),
    }
}

#[test]
fn the_document_lists_every_key_with_its_default() {
    let document = include_str!("../../../docs/configuration.md");
    for (section, pointer) in sections() {
        let (heading, before) = place_in_document(&pointer);
        let mut parts = document.split("\n### ").filter(|part| {
            let title = part.lines().next().unwrap_or_default();
            title.trim_matches('`') == heading.trim_matches('`')
        });
        let part = parts.next().unwrap_or_else(|| panic!("docs/configuration.md has no section {heading}"));
        for key in section.keys {
            let name = format!("`{before}{}", key.name);
            // A mapping's keys each have a row of their own, or it has one that leads to them.
            let names = [format!("{name}`"), format!("{name}.")];
            let is_row =
                |line: &&str| names.iter().any(|name| line.split('|').nth(1).is_some_and(|cell| cell.contains(name)));
            let row = part.lines().find(is_row);
            let row = row.unwrap_or_else(|| panic!("docs/configuration.md: {heading} has no row for {name}`"));
            if let Some(default) = key.default {
                let shown = row.split('|').nth(3).unwrap_or_default();
                assert!(
                    shown.contains(&format!("`{default}`")),
                    "docs/configuration.md: {name}` shows{shown}for {default}"
                );
            }
        }
    }
}
