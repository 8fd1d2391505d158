//! The changes of a reload in words.

use std::collections::HashMap;

use crate::config::{Config, Rule};

/// So many rules are named of each kind of change.
const NAMED_MAX: usize = 20;

/// For people only: whatever is found here, all rules are compiled again.
pub(super) fn between(running: &Config, new: &Config) -> Vec<String> {
    let mut changes = Vec::new();
    let (before, now) = (by_name(running), by_name(new));
    let missing_in = |rules: &ByName<'_>, there: &ByName<'_>| {
        let names = rules.names.iter().filter(|name| !there.rules.contains_key(*name));
        names.map(|name| (*name).to_owned()).collect::<Vec<_>>()
    };
    let is_changed = |name: &&&str| before.rules.get(**name).is_some_and(|before| differ(before, &now.rules[**name]));
    let kinds = [
        ("added", missing_in(&now, &before)),
        ("removed", missing_in(&before, &now)),
        ("changed", now.names.iter().filter(is_changed).map(|name| (*name).to_owned()).collect()),
    ];
    changes.extend(kinds.into_iter().filter(|(_, names)| !names.is_empty()).map(|(kind, names)| told(kind, &names)));
    let is_same = running.queries.len() == new.queries.len()
        && running.queries.iter().zip(&new.queries).all(|(before, now)| before.is_like(now));
    if !is_same {
        changes.push("queries changed".to_owned());
    }
    if running.unmatched != new.unmatched {
        changes.push("unmatched changed".to_owned());
    }
    if running.dead_letters != new.dead_letters {
        changes.push("dead_letters.keep changed".to_owned());
    }
    if running.log.level != new.log.level {
        changes.push(format!("log.level is {}", new.log.level));
    }
    for (a, b) in running.databases.iter().zip(&new.databases) {
        if a.batch != b.batch {
            changes.push(format!("databases.{}.batch changed", a.name));
        }
    }
    changes
}

/// The rules of a configuration.
#[derive(Default)]
struct ByName<'c> {
    /// In their order.
    names: Vec<&'c str>,
    /// Several under one name where messages name their database.
    rules: HashMap<&'c str, Vec<&'c Rule>>,
}

fn by_name(config: &Config) -> ByName<'_> {
    let mut by_name = ByName::default();
    for rule in &config.rules {
        let of_name = by_name.rules.entry(&rule.name).or_default();
        if of_name.is_empty() {
            by_name.names.push(&rule.name);
        }
        of_name.push(rule);
    }
    by_name
}

/// By all that is in them but their place in the file.
fn differ(a: &[&Rule], b: &[&Rule]) -> bool {
    let without_place = |rule: &&Rule| format!("{:?}", Rule { position: String::new(), ..Rule::clone(rule) });
    !a.iter().map(without_place).eq(b.iter().map(without_place))
}

fn told(kind: &str, names: &[String]) -> String {
    let rules = if names.len() == 1 { "rule" } else { "rules" };
    let shown = names.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 => format!("{rules} {kind}: {shown}"),
        more => format!("{rules} {kind}: {shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LoadRequest, load_text};

    fn config(rules: &str) -> Config {
        let text = format!("databases: {{a: {{url: 'sqlite:a.db'}}, b: {{url: 'sqlite:b.db'}}}}\nrules:\n{rules}");
        load_text(&LoadRequest::from_process(None, Vec::new()), &text).unwrap_or_else(|report| panic!("{report}"))
    }

    #[test]
    fn a_rule_that_is_there_for_several_databases_is_told_once() {
        let rule = |name: &str, table: &str| {
            format!(
                "- {{name: {name}, topic: '{{d}}', database: '{{topic.d}}', table: {table}, tables: '*', columns: auto}}\n"
            )
        };
        let running = config(&(rule("same", "t") + &rule("changed", "t") + &rule("gone", "t")));
        let new = config(&(rule("new", "t") + &rule("same", "t") + &rule("changed", "u")));
        assert_eq!(between(&running, &new), ["rule added: new", "rule removed: gone", "rule changed: changed"]);
    }
}
