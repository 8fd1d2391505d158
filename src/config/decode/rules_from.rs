//! `rules_from`: rules in further files.
//!
//! Each file is a list of rules, or a mapping whose only key `rules` has one. Mistakes in them are findings like those
//! of the configuration itself, with their positions. The rules of a file are below `rules`, under their index in that
//! file.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use config::{Map, Value as Merged};

use super::content::Given;
use super::table::Table;
use super::value::{Context, Value};
use crate::config::file::read_file;
use crate::config::key_path::KeyPath;
use crate::config::load;
use crate::config::report::{Finding, Place};
use crate::config::tree::{Kind, Node, Tree};
use crate::config::wildcard::{self, Unlisted};
use crate::config::yaml_core::Core;

/// Bytes of all files together; 8 MiB of them, which one file may have, hold over ten thousand rules.
const BYTES_MAX: usize = 64 << 20;

const FORMS: &str = "paths such as rules.d/*.yaml, relative to the configuration file; * stands for any part of a name";
const FILE_FORMS: &str = "a list of rules, or `rules:` with one";

/// The lists of rules: the list of the file, then those of the files that it names.
pub(super) fn sections<'a>(root: &Table<'a>) -> Vec<Value<'a>> {
    const EXAMPLE: &str = "a list of rules, each with `topic`, `table` and `columns`";
    let own = root.get("rules");
    let further = decode(root);
    let names_files = further.is_some();
    let mut sections: Vec<Value<'a>> = own.into_iter().chain(further.into_iter().flatten()).collect();
    sections.retain(|section| {
        if !section.is_list() {
            section.refuse(format!("found {}; each rule begins with `-`", section.shown()), EXAMPLE);
        }
        section.is_list()
    });
    let has_findings = !root.cx.findings.borrow().is_empty();
    let is_empty = sections.iter().all(|section| section.list().next().is_none());
    match (root.get("rules"), root.get("rules_from")) {
        (Some(section), None) if is_empty && section.is_list() => section.refuse("is empty", EXAMPLE),
        // A bridge may do nothing but publish, or answer.
        (None, None) if root.get("publish").is_some() || root.get("queries").is_some() => {}
        (None, None) => root.miss("rules", EXAMPLE),
        // Whatever is wrong with the files may be why.
        (_, Some(files)) if names_files && is_empty && !has_findings && root.cx.needs_rules => {
            files.refuse("there is no rule: neither under `rules` nor in any of these files", EXAMPLE);
        }
        _ => {}
    }
    sections
}

/// The lists of rules in the files that `rules_from` names, in their order; `None` if it names none.
fn decode<'a>(root: &Table<'a>) -> Option<Vec<Value<'a>>> {
    let value = root.get("rules_from")?;
    let cx = root.cx;
    if !cx.needs_rules {
        return Some(Vec::new());
    }
    let trees = cx.rule_files.get_or_init(|| read(cx, &value));
    Some(trees.iter().filter_map(|tree| list(cx, tree.root()?)).collect())
}

/// The paths that `rules_from` has, with their stars; whatever is wrong with them is a finding elsewhere.
pub(in crate::config) fn paths(cx: &Context<'_>, merged: &Map<String, Merged>) -> Vec<PathBuf> {
    let value = Table::root(cx, merged).get("rules_from");
    value.iter().flat_map(patterns).map(|(path, _)| path).collect()
}

/// The patterns as paths.
fn patterns<'a>(value: &Value<'a>) -> Vec<(PathBuf, Value<'a>)> {
    let folder = value.cx.file.parent().unwrap_or(Path::new(""));
    let mut patterns = Vec::new();
    for (text, value) in value.texts() {
        if text.is_empty() || text.contains('\0') {
            value.refuse(format!("found {}, which is not a path", value.shown()), FORMS);
            continue;
        }
        patterns.push((folder.join(text), value));
    }
    patterns
}

/// The documents of all files. A file that two patterns name is read once.
fn read(cx: &Context<'_>, value: &Value<'_>) -> Vec<Tree> {
    let mut seen: HashSet<PathBuf> = cx.file.canonicalize().into_iter().collect();
    let mut bytes = 0;
    let mut trees = Vec::new();
    for (pattern, value) in patterns(value) {
        let files = match wildcard::files(&pattern) {
            Ok(files) => files,
            Err(Unlisted { folder, why }) => {
                let problem = format!("{} cannot be listed: {why}", folder.display());
                value.refuse(problem, FORMS);
                continue;
            }
        };
        for file in files {
            if !seen.insert(file.canonicalize().unwrap_or_else(|_| file.clone())) {
                continue;
            }
            let text = match read_file(&file) {
                Ok(text) => text,
                Err(report) => {
                    report.findings().iter().for_each(|finding| note(cx, &value, finding));
                    continue;
                }
            };
            bytes += text.len();
            if bytes > BYTES_MAX {
                value.refuse("names files of more than 64 MiB together", "fewer or smaller files");
                return trees;
            }
            trees.extend(load::read_rules(&file, &text, cx));
        }
    }
    trees
}

/// What has no place is noted where the file is named.
fn note(cx: &Context<'_>, value: &Value<'_>, finding: &Finding) {
    match finding.place {
        Place::Nowhere => value.refuse(finding.problem.clone(), FORMS),
        _ => cx.findings.borrow_mut().push(finding.clone()),
    }
}

/// The list in a file's document; `None` for one that is empty or has a finding.
fn list<'a>(cx: &'a Context<'a>, root: Node<'a>) -> Option<Value<'a>> {
    let at = |path: KeyPath| Value { cx, path, key: "rules", given: Given::item(root) };
    match root.kind() {
        Kind::Scalar(Core::Null) => None,
        Kind::Sequence(_) => Some(at(KeyPath::root().key("rules"))),
        Kind::Mapping(_) => {
            let table = at(KeyPath::root()).table();
            let rules = table.get("rules");
            table.finish();
            rules
        }
        Kind::Scalar(_) => {
            at(KeyPath::root().key("rules")).refuse("the file holds no rules", FILE_FORMS);
            None
        }
    }
}
