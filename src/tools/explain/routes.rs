//! The rules that take a topic, the filter by which it arrives, and why the other rules do not take it.

use super::{RuleView, Verdict};
use crate::config::{Config, Rule};
use crate::source::Subscriptions;

/// The pattern by which the rule takes the topic, and what it captures.
pub(super) fn taken_by(rule: &Rule, topic: &str) -> Option<(String, Vec<(String, String)>)> {
    let mut parts = Vec::new();
    let pattern = rule.topics.iter().find(|pattern| pattern.matches(topic, &mut parts))?;
    let captures = pattern.captures().zip(parts).map(|(name, part)| (name.to_owned(), part.to_owned()));
    Some((pattern.as_str().to_owned(), captures.collect()))
}

/// Why the rule does not take the topic.
pub(super) fn why_not(rule: &Rule, topic: &str) -> String {
    match &rule.topics[..] {
        [only] => only.mismatch(topic),
        several => {
            let each = several.iter().map(|pattern| format!("{}: {}", pattern.as_str(), pattern.mismatch(topic)));
            each.collect::<Vec<_>>().join("; ")
        }
    }
}

/// Says of each rule that takes the message by which subscription it comes, where that is not the rule's own filter.
pub(super) fn add_filters(config: &Config, views: &mut [Option<RuleView>]) {
    let plan = Subscriptions::plan(config.mqtt.version, &config.rules, None);
    for view in views.iter_mut().flatten() {
        let Verdict::Taken(taken) = &mut view.verdict else { continue };
        let Some(rule) = config.rules.iter().find(|rule| rule.name == view.rule) else { continue };
        let Some(own) = rule.topics.iter().find(|topic| topic.as_str() == taken.pattern) else { continue };
        if plan.list().iter().any(|subscription| subscription.filter == own.filter()) {
            continue;
        }
        let other = plan.list().iter().find(|subscription| {
            let carries = subscription.rules.contains(&rule.name);
            carries && crate::rule::TopicPattern::parse(&subscription.filter).is_ok_and(|wide| wide.covers(own))
        });
        taken.comes_by = other.map(|subscription| subscription.filter.clone());
    }
}
