//! Patterns against MQTT's rules written as plainly as possible.

use proptest::prelude::*;

use super::*;

fn pattern(text: &str) -> TopicPattern {
    TopicPattern::parse(text).unwrap()
}

fn matched<'t>(text: &str, topic: &'t str) -> Option<Vec<&'t str>> {
    let mut captures = Vec::new();
    pattern(text).matches(topic, &mut captures).then_some(captures)
}

/// MQTT's rules written as plainly as possible, with `{x}` as `+` and `{*x}` as `+/#`.
fn naive(pattern: &[&str], topic: &[&str], first: bool) -> bool {
    match (pattern, topic) {
        ([], []) => true,
        (["#"], rest) => !(first && rest[0].starts_with('$')),
        ([p, ..], _) if p.starts_with("{*") => topic.first().is_some_and(|level| !(first && level.starts_with('$'))),
        ([p, ps @ ..], [t, ts @ ..]) => {
            let wildcard = *p == "+" || p.starts_with('{');
            (if wildcard { !(first && t.starts_with('$')) } else { p == t }) && naive(ps, ts, false)
        }
        _ => false,
    }
}

fn naive_match(pattern: &str, topic: &str) -> bool {
    let pattern = pattern.strip_prefix("$share/g/").unwrap_or(pattern);
    naive(&pattern.split('/').collect::<Vec<_>>(), &topic.split('/').collect::<Vec<_>>(), true)
}

/// Every topic of up to 5 levels over an alphabet that holds each literal of [`patterns`] and one other word.
fn all_topics() -> Vec<String> {
    let words = ["", "a", "$a", "z"];
    let mut all: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let mut last = all.clone();
    for _ in 0..4 {
        last = last.iter().flat_map(|head| words.iter().map(move |word| format!("{head}/{word}"))).collect();
        all.extend_from_slice(&last);
    }
    all
}

fn patterns() -> impl Strategy<Value = String> {
    let level = prop_oneof![Just("a"), Just("$a"), Just(""), Just("+"), Just("{CAP}")];
    let tail = prop_oneof![3 => Just(""), 1 => Just("#"), 1 => Just("{*rest}")];
    (prop::collection::vec(level, 0..4), tail).prop_filter_map("a pattern is not empty", |(levels, tail)| {
        let mut parts: Vec<String> =
            levels.iter().enumerate().map(|(i, level)| level.replace("CAP", &format!("c{i}"))).collect();
        if !tail.is_empty() {
            parts.push(tail.to_owned());
        }
        let text = parts.join("/");
        (!text.is_empty()).then_some(text)
    })
}

proptest! {
    #[test]
    fn matching_agrees_with_the_plain_rules(text in patterns(), topics in Just(all_topics())) {
        let pattern = pattern(&text);
        let mut captures = Vec::new();
        for topic in &topics {
            let expected = naive_match(&text, topic);
            prop_assert_eq!(pattern.matches(topic, &mut captures), expected, "{} on {}", text, topic);
            prop_assert_eq!(captures.len(), if expected { pattern.captures().count() } else { 0 });
            prop_assert_eq!(pattern.mismatch(topic) == "the topic fits the pattern", expected);
        }
    }

    // Four levels of pattern at most: topics of five levels decide every question of coverage and overlap.
    #[test]
    fn coverage_and_overlap_are_exact(left in patterns(), right in patterns(), topics in Just(all_topics())) {
        let (left, right) = (pattern(&left), pattern(&right));
        let brought = |by: &TopicPattern, topic: &str| naive_match(by.filter(), topic);
        let both = topics.iter().any(|topic| brought(&left, topic) && brought(&right, topic));
        let all = topics.iter().all(|topic| !brought(&right, topic) || brought(&left, topic));
        prop_assert_eq!(left.overlaps(&right), both, "{} overlaps {}", left.filter(), right.filter());
        prop_assert_eq!(left.covers(&right), all, "{} covers {}", left.filter(), right.filter());
    }

    #[test]
    fn arbitrary_text_never_panics(text: String, topic: String) {
        if let Ok(pattern) = TopicPattern::parse(&text) {
            let mut captures = Vec::new();
            pattern.matches(&topic, &mut captures);
            prop_assert_eq!(pattern.as_str(), text);
        }
    }
}

#[test]
fn captures_hold_the_parts_of_the_topic_in_order() {
    assert_eq!(matched("sensors/{site}/+/{*rest}", "sensors/a/b/c/d"), Some(vec!["a", "c/d"]));
    assert_eq!(matched("{a}/{b}", "/"), Some(vec!["", ""]));
    assert_eq!(matched("a/{*rest}", "a/"), Some(vec![""]));
}

#[test]
fn the_rest_takes_at_least_one_level_but_a_hash_takes_none_too() {
    assert_eq!(pattern("a/{*rest}").filter(), "a/#");
    assert_eq!(matched("a/{*rest}", "a"), None);
    assert_eq!(matched("a/#", "a"), Some(vec![]));
}

#[test]
fn a_share_prefix_is_kept_for_the_subscription_and_ignored_for_matching() {
    let shared = pattern("$share/g/a/{x}");
    assert_eq!((shared.filter(), shared.as_str()), ("$share/g/a/+", "$share/g/a/{x}"));
    assert_eq!(matched("$share/g/a/{x}", "a/1"), Some(vec!["1"]));
    assert_eq!(matched("$share/g/+", "$SYS"), None);
    assert!(shared.covers(&pattern("$share/g/a/1")));
    assert!(!shared.covers(&pattern("a/1")) && !pattern("a/+").covers(&shared));
    assert!(shared.overlaps(&pattern("a/1")));
}

#[test]
fn a_mismatch_says_why_in_one_sentence() {
    assert_eq!(pattern("a/{b}/c").mismatch("a/b/c/d"), "the topic has 4 levels, the pattern 3");
    assert_eq!(pattern("a/{b}/{*c}").mismatch("a/b"), "the topic has 2 levels, the pattern at least 3");
    assert_eq!(pattern("a/{b}/c").mismatch("a/b/x"), "level 3 is `x`, the pattern has `c` there");
    assert!(pattern("#").mismatch("$SYS/load").contains("begins with `$`"));
}

#[test]
fn errors_name_the_level_and_the_remedy() {
    for (text, level, remedy) in [
        ("", "", "`#`"),
        ("a/b+/c", "level 2", "alone"),
        ("a/#/c", "level 2", "end"),
        ("a/{*r}/c", "level 2", "end"),
        ("a/dev-{x}", "level 2", "whole level"),
        ("a/{}", "level 2", "{name}"),
        ("a/{1x}", "level 2", "begins with a letter"),
        ("a/{x y}", "level 2", "rename"),
        ("{x}/{x}", "level 2", "own name"),
        ("a/{x", "level 2", "whole level"),
        ("$share/g", "", "$share/GROUP/FILTER"),
        ("$share//a", "level 2", "GROUP"),
        ("$share/g/", "", "$share/g/#"),
        ("a\0", "level 1", "remove"),
    ] {
        let error = TopicPattern::parse(text).unwrap_err().0;
        assert!(error.contains(level) && error.contains(remedy), "{text}: {error}");
    }
    assert!(TopicPattern::parse(&"a".repeat(65_536)).unwrap_err().0.contains("65535"));
}
