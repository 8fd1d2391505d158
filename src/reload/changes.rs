//! What a reload changed, in words.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::{Config, Rule};

/// So many rules are named of each kind of change.
const NAMED_MAX: usize = 20;

/// For people only: whatever is found here, all rules are compiled again.
pub(super) fn between(running: &Config, new: &Config) -> Vec<String> {
    let mut changes = Vec::new();
    let (before, now) = (by_name(running), by_name(new));
    let missing_in = |rules: &[Arc<Rule>], there: &HashMap<&str, &Arc<Rule>>| {
        let names = rules.iter().map(|rule| &*rule.name).filter(|name| !there.contains_key(name));
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    let changed = new.rules.iter().filter(|rule| before.get(&*rule.name).is_some_and(|before| differ(before, rule)));
    let kinds = [
        ("added", missing_in(&new.rules, &before)),
        ("removed", missing_in(&running.rules, &now)),
        ("changed", changed.map(|rule| rule.name.to_string()).collect()),
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

fn by_name(config: &Config) -> HashMap<&str, &Arc<Rule>> {
    config.rules.iter().map(|rule| (&*rule.name, rule)).collect()
}

/// By all that is in them but their place in the file.
fn differ(a: &Rule, b: &Rule) -> bool {
    let without_place = |rule: &Rule| format!("{:?}", Rule { position: String::new(), ..rule.clone() });
    without_place(a) != without_place(b)
}

fn told(kind: &str, names: &[String]) -> String {
    let rules = if names.len() == 1 { "rule" } else { "rules" };
    let shown = names.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 => format!("{rules} {kind}: {shown}"),
        more => format!("{rules} {kind}: {shown} and {more} more"),
    }
}
