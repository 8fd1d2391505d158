//! The topic tree as text: levels that vary are in braces.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::group::{Group, Level};

/// Lines that are shown; a plant has thousands of topics and a screen has fifty lines.
const LINES_MAX: usize = 200;

#[derive(Default)]
struct Node {
    below: BTreeMap<String, Node>,
    /// What is stored from here: topics, messages, table.
    leaf: Option<(usize, u64, String)>,
}

/// A picture of the groups, each with its table.
pub(super) fn picture(groups: &[(&Group<'_>, &str)]) -> String {
    let mut root = Node::default();
    for (group, table) in groups {
        for (index, pattern) in group.patterns.iter().enumerate() {
            let mut node = &mut root;
            for (place, level) in pattern.iter().enumerate() {
                let name = match level {
                    Level::Fixed(text) => text.clone(),
                    Level::Varies => format!("{{{}}}", group.captures.get(&place).map_or("+", String::as_str)),
                    Level::Rest(name) => format!("{{*{name}}}"),
                };
                node = node.below.entry(name).or_default();
            }
            if index == 0 {
                node.leaf = Some((group.topics.len(), group.count(), format!("{}, table {table}", group.form.words())));
            } else {
                node.leaf = Some((0, 0, format!("likewise, table {table}")));
            }
        }
    }
    let mut text = String::new();
    draw(&root, "", &mut text);
    let lines: Vec<&str> = text.lines().collect();
    match lines.len().checked_sub(LINES_MAX) {
        None | Some(0) => text,
        Some(more) => format!("{}\n… and {more} more lines\n", lines[..LINES_MAX].join("\n")),
    }
}

fn draw(node: &Node, indent: &str, text: &mut String) {
    let count = node.below.len();
    for (index, (name, below)) in node.below.iter().enumerate() {
        let is_last = index + 1 == count;
        let branch = if is_last { "└─ " } else { "├─ " };
        let shown: String = name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        let about = match &below.leaf {
            None => String::new(),
            Some((0, _, words)) => format!("  ({words})"),
            Some((topics, messages, words)) => format!("  {topics} × {messages} msg, {words}"),
        };
        let _ = writeln!(text, "{indent}{branch}{shown}{about}");
        let next = format!("{indent}{}", if is_last { "   " } else { "│  " });
        draw(below, &next, text);
    }
}
