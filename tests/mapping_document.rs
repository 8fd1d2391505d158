//! docs/mapping.md: every example gives the rows that stand behind it, and every key of a rule has one.
//!
//! An example is two blocks in succession: ```` ```yaml rule ```` holds entries of `rules`, or a file with `rules:`;
//! ```` ```yaml test ```` holds golden tests. ```` ```yaml rule postgres ```` maps for a Postgres database, the others for SQLite.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::bridge::Bridge;

/// The descriptor file that the document's protobuf example names.
const DESCRIPTOR: &str = "examples/meshtastic/packet.binpb";

struct Example {
    heading: String,
    rules: String,
    tests: String,
    is_for_postgres: bool,
}

/// A fenced block, with the heading of its section.
struct Block<'d> {
    heading: &'d str,
    info: &'d str,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn document() -> String {
    fs::read_to_string(root().join("docs/mapping.md")).unwrap()
}

fn blocks(document: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let (mut heading, mut is_inside) = ("", false);
    for line in document.lines() {
        match (line.strip_prefix("```"), is_inside) {
            (Some(info), false) => {
                blocks.push(Block { heading, info, text: String::new() });
                is_inside = true;
            }
            (Some(_), true) => is_inside = false,
            (None, true) => blocks.last_mut().unwrap().text += &format!("{line}\n"),
            (None, false) if line.starts_with('#') => heading = line,
            (None, false) => {}
        }
    }
    blocks
}

/// Fails at a block of YAML that is no half of an example.
fn examples(document: &str) -> Vec<Example> {
    let mut examples = Vec::new();
    let mut blocks = blocks(document).into_iter().filter(|block| block.info.starts_with("yaml"));
    while let Some(rules) = blocks.next() {
        let heading = rules.heading;
        assert!(rules.info.starts_with("yaml rule"), "{heading}: `{}` follows no `yaml rule`", rules.info);
        let tests = blocks.next().filter(|tests| (tests.info, tests.heading) == ("yaml test", heading));
        examples.push(Example {
            heading: heading.to_owned(),
            rules: rules.text,
            tests: tests.unwrap_or_else(|| panic!("{heading}: no `yaml test` follows the rules")).text,
            is_for_postgres: rules.info == "yaml rule postgres",
        });
    }
    assert!(!examples.is_empty());
    examples
}

impl Example {
    fn configuration(&self) -> String {
        if self.rules.lines().any(|line| line == "rules:") {
            return format!("bridge: gw1\n{}", self.rules);
        }
        let url = if self.is_for_postgres { "postgres://bridge@127.0.0.1:1/none" } else { "sqlite:rows.db" };
        format!("bridge: gw1\ndatabases: {{ only: {{ url: '{url}' }} }}\nrules:\n{}", self.rules)
    }

    /// What `rowbridge test` says if it does not pass.
    fn fault(&self) -> Option<String> {
        let bridge = Bridge::bare(&self.configuration());
        fs::copy(root().join(DESCRIPTOR), bridge.path(Path::new(DESCRIPTOR).file_name()?.to_str()?)).unwrap();
        fs::write(bridge.path("golden.yaml"), &self.tests).unwrap();
        let output = bridge.command(&["test", "golden.yaml"]);
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        (!output.status.success()).then(|| format!("{}\n{said}", self.heading))
    }
}

#[test]
fn every_example_of_the_document_gives_its_rows() {
    let faults: Vec<String> = examples(&document()).iter().filter_map(Example::fault).collect();
    assert!(faults.is_empty(), "docs/mapping.md:\n{}", faults.join("\n"));
}

#[test]
fn every_key_of_a_rule_is_explained_with_an_example() {
    let output = Bridge::bare("").command(&["schema", "config"]);
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut keys = BTreeSet::new();
    add_keys(&schema["properties"]["rules"], &mut keys);
    assert!(keys.contains("topic") && keys.contains("decode") && keys.contains("delimiter"), "{keys:?}");
    let document = document();
    let examples = examples(&document);
    for key in keys {
        let is_named = [format!("`{key}`"), format!("`{key}: ")].iter().any(|code| document.contains(code));
        assert!(is_named, "docs/mapping.md does not name `{key}`");
        let is_shown = examples.iter().any(|example| holds_key(&example.rules, &key));
        assert!(is_shown, "docs/mapping.md has no example with `{key}`");
    }
}

/// The keys of all mappings below, but for those that a later version will support.
fn add_keys(schema: &Value, keys: &mut BTreeSet<String>) {
    for (key, value) in schema["properties"].as_object().into_iter().flatten() {
        if value["description"].as_str().is_some_and(|about| about.starts_with("Not supported yet")) {
            continue;
        }
        keys.insert(key.clone());
        add_keys(value, keys);
    }
    let alternatives = schema["anyOf"].as_array().into_iter().flatten();
    alternatives.chain([&schema["items"], &schema["additionalProperties"]]).for_each(|below| {
        if below.is_object() {
            add_keys(below, keys);
        }
    });
}

fn holds_key(yaml: &str, key: &str) -> bool {
    yaml.match_indices(key).any(|(at, _)| {
        let after = &yaml[at + key.len()..];
        yaml[..at].ends_with([' ', '{', '\n']) && (after.starts_with(": ") || after.starts_with(":\n"))
    })
}

/// Pages that lead to others.
fn pages() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let others = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "deploy/README.md", "examples/README.md"];
    docs.chain(others.map(|page| root().join(page))).collect()
}

/// As GitHub makes them of headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut is_inside = false;
    let headings = page.lines().filter(|line| {
        is_inside ^= line.starts_with("```");
        !is_inside && line.starts_with('#')
    });
    let anchor = |heading: &str| {
        let text = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        text.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_between_pages_leads_to_a_page_and_a_heading() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0)) {
            if target.contains("://") || target.contains(char::is_whitespace) {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let is_there = match anchor {
                "" => file.exists(),
                anchor => fs::read_to_string(&file).is_ok_and(|text| anchors(&text).contains(anchor)),
            };
            if !is_there {
                broken.push(format!("{}: {target}", page.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}
