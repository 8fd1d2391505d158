//! From a topic to the rules that take it: a cache of recent topics, then a trie of all patterns.
//!
//! A cached topic costs one hash lookup and no allocation. An uncached topic walks the trie level by level and visits
//! only the patterns that share the topic's levels: 10,000 rules cost about as much as one.
//!
//! The cache keeps two generations. When the young one is full, it becomes the old one, and the previous old one is
//! dropped. A lookup that finds a topic in the old one moves it to the young one. So topics in use stay, and the memory
//! is bounded.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::Rule;
use crate::rule::{Level, Tail, TopicPattern};

/// Bytes of one generation, roughly: 8 MiB hold some 45,000 topics, and memory is taken only as topics come.
const GENERATION_BYTES_MAX: usize = 8 << 20;
/// The memory of a topic and a match besides their own bytes: hash table, boxes, the allocator's rounding.
const TOPIC_OVERHEAD_BYTES: usize = 96;
const MATCH_BYTES: usize = 64;
/// Longer topics, and topics that more rules take, are looked up in the trie each time: few cannot fill the memory.
const CACHED_TOPIC_BYTES_MAX: usize = 512;
const CACHED_MATCHES_MAX: usize = 1_024;

/// A rule that takes a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) rule: usize,
    /// The first of the rule's patterns that fits.
    pub(super) pattern: usize,
    /// The others that fit.
    pub(super) others: Box<[usize]>,
    /// Byte ranges of the topic, one per capture of the first.
    captures: Box<[(u32, u32)]>,
}

impl Match {
    /// The part of `topic` that capture `index` took.
    pub(super) fn capture<'t>(&self, index: usize, topic: &'t str) -> &'t str {
        let (start, end) = self.captures[index];
        &topic[start as usize..end as usize]
    }
}

/// The patterns of some rules, and the topics seen lately.
#[derive(Debug, Clone, Default)]
pub struct Router {
    /// Patterns by rule.
    patterns: Vec<Arc<[TopicPattern]>>,
    /// Node 0 is the root.
    nodes: Vec<Node>,
    young: Generation,
    old: Generation,
    /// The matches of the last topic that is not worth caching.
    uncached: Box<[Match]>,
    walk: Walk,
}

/// Memory of one walk through the trie.
#[derive(Debug, Clone, Default)]
struct Walk {
    here: Vec<usize>,
    next: Vec<usize>,
    found: Vec<PatternId>,
}

#[derive(Debug, Clone, Default)]
struct Generation {
    /// Index into `matches` by topic.
    topics: HashMap<Box<str>, usize>,
    matches: Vec<Box<[Match]>>,
    bytes: usize,
}

#[derive(Debug, Clone, Default)]
struct Node {
    literals: HashMap<Box<str>, usize>,
    any: Option<usize>,
    /// Patterns that end here, by how they end.
    closed: Vec<PatternId>,
    open: Vec<PatternId>,
    captured: Vec<PatternId>,
}

/// Rule, then pattern: the order in which a rule's patterns are tried.
type PatternId = (usize, usize);

impl Router {
    pub(super) fn new(patterns: Vec<Arc<[TopicPattern]>>) -> Router {
        let mut router = Router { nodes: vec![Node::default()], ..Router::default() };
        for (rule, alternatives) in patterns.iter().enumerate() {
            for (index, pattern) in alternatives.iter().enumerate() {
                router.insert((rule, index), pattern);
            }
        }
        router.patterns = patterns;
        router
    }

    /// For rules that are compiled elsewhere.
    pub fn of_rules(rules: &[Arc<Rule>]) -> Router {
        Router::new(rules.iter().map(|rule| Arc::clone(&rule.topics)).collect())
    }

    /// Each filter for itself, by its index.
    pub fn of_filters(filters: Vec<TopicPattern>) -> Router {
        Router::new(filters.into_iter().map(|filter| Arc::from([filter])).collect())
    }

    /// Whether some rule takes `topic`.
    pub fn takes(&mut self, topic: &str) -> bool {
        !self.route(topic).is_empty()
    }

    /// The indexes of the rules that take `topic`, in their order.
    pub fn takers(&mut self, topic: &str) -> Vec<usize> {
        self.route(topic).iter().map(|matched| matched.rule).collect()
    }

    /// The rules that take `topic`, in their order.
    pub(super) fn route(&mut self, topic: &str) -> &[Match] {
        if let Some(&index) = self.young.topics.get(topic) {
            return &self.young.matches[index];
        }
        let matches = match self.old.topics.remove(topic) {
            Some(index) => std::mem::take(&mut self.old.matches[index]),
            None => self.look_up(topic),
        };
        if topic.len() > CACHED_TOPIC_BYTES_MAX || matches.len() > CACHED_MATCHES_MAX {
            self.uncached = matches;
            return &self.uncached;
        }
        self.remember(topic, matches)
    }

    fn remember(&mut self, topic: &str, matches: Box<[Match]>) -> &[Match] {
        let bytes = topic.len() + TOPIC_OVERHEAD_BYTES + matches.len() * MATCH_BYTES;
        if self.young.bytes + bytes > GENERATION_BYTES_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        let index = self.young.matches.len();
        self.young.bytes += bytes;
        self.young.topics.insert(topic.into(), index);
        self.young.matches.push(matches);
        &self.young.matches[index]
    }

    fn insert(&mut self, id: PatternId, pattern: &TopicPattern) {
        let mut node = 0;
        for level in pattern.levels() {
            let fresh = self.nodes.len();
            let child = match level {
                Level::Literal(text) => *self.nodes[node].literals.entry(text.as_str().into()).or_insert(fresh),
                Level::Any { .. } => *self.nodes[node].any.get_or_insert(fresh),
            };
            if child == fresh {
                self.nodes.push(Node::default());
            }
            node = child;
        }
        let ends = &mut self.nodes[node];
        match pattern.tail() {
            Tail::Closed => ends.closed.push(id),
            Tail::Open => ends.open.push(id),
            Tail::Captured => ends.captured.push(id),
        }
    }

    /// Walks the trie with all nodes that the levels so far lead to: no recursion, however many levels a topic has.
    fn look_up(&mut self, topic: &str) -> Box<[Match]> {
        let Walk { here, next, found } = &mut self.walk;
        found.clear();
        here.clear();
        here.push(0);
        let system = topic.starts_with('$');
        for (index, level) in topic.split('/').enumerate() {
            // A leading wildcard does not take topics that begin with `$`.
            let wildcards = index > 0 || !system;
            for node in here.drain(..).map(|node: usize| &self.nodes[node]) {
                if wildcards {
                    found.extend(node.open.iter().chain(&node.captured));
                    next.extend(node.any);
                }
                next.extend(node.literals.get(level));
            }
            std::mem::swap(here, next);
            if here.is_empty() {
                break;
            }
        }
        for node in here.drain(..).map(|node| &self.nodes[node]) {
            found.extend(node.closed.iter().chain(&node.open));
        }
        found.sort_unstable();
        found.dedup();
        let of_rules = self.walk.found.chunk_by(|(rule, _), (next, _)| rule == next);
        of_rules.map(|patterns| self.matched(patterns, topic)).collect()
    }

    /// `patterns` are those of one rule that fit.
    fn matched(&self, patterns: &[PatternId], topic: &str) -> Match {
        let (rule, pattern) = patterns[0];
        let mut captures = Vec::new();
        // A topic has at most 65,535 bytes (MQTT).
        self.patterns[rule][pattern].match_levels(topic, |range| captures.push((range.start as u32, range.end as u32)));
        let others = patterns[1..].iter().map(|&(_, pattern)| pattern).collect();
        Match { rule, pattern, others, captures: captures.into() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn router(rules: &[&[&str]]) -> Router {
        let parse = |texts: &&[&str]| texts.iter().map(|text| TopicPattern::parse(text).unwrap()).collect();
        Router::new(rules.iter().map(parse).collect())
    }

    fn rules_of(router: &mut Router, topic: &str) -> Vec<usize> {
        router.route(topic).iter().map(|found| found.rule).collect()
    }

    #[test]
    fn a_rule_matches_once_by_the_first_of_its_patterns() {
        let mut router = router(&[&["x/#", "a/{b}", "a/+"], &["{*all}"], &["a/b/c"]]);
        let found = router.route("a/b").to_vec();
        assert_eq!(found.iter().map(|found| (found.rule, found.pattern)).collect::<Vec<_>>(), [(0, 1), (1, 0)]);
        assert_eq!((found[0].capture(0, "a/b"), found[1].capture(0, "a/b")), ("b", "a/b"));
    }

    #[test]
    fn the_cache_stays_bounded_and_right_when_topics_never_repeat() {
        let mut router = router(&[&["t/{n}"]]);
        for number in 0..3 * GENERATION_BYTES_MAX / (TOPIC_OVERHEAD_BYTES + MATCH_BYTES) {
            let topic = format!("t/{number}");
            assert_eq!(router.route(&topic)[0].capture(0, &topic), number.to_string());
        }
        assert_eq!(rules_of(&mut router, "t/0"), [0]);
        let generations = [&router.young, &router.old];
        assert!(generations.iter().all(|generation| (1..=GENERATION_BYTES_MAX).contains(&generation.bytes)));
    }

    #[test]
    fn a_topic_in_use_survives_the_change_of_generations() {
        let mut router = router(&[&["t/{n}"]]);
        router.route("t/used");
        router.old = std::mem::take(&mut router.young);
        assert_eq!(router.route("t/used")[0].capture(0, "t/used"), "used");
        assert!(router.young.topics.contains_key("t/used") && !router.old.topics.contains_key("t/used"));
    }

    #[test]
    fn long_topics_are_matched_but_not_cached() {
        let mut router = router(&[&["#"], &["{a}/{*b}"]]);
        let topic = "x/".repeat(30_000);
        assert_eq!(rules_of(&mut router, &topic), [0, 1]);
        assert!(router.young.topics.is_empty());
    }

    #[test]
    fn a_pattern_of_thousands_of_levels_needs_no_deep_stack() {
        let pattern = vec!["+"; 30_000].join("/");
        let mut router = router(&[&[pattern.as_str()]]);
        assert_eq!(rules_of(&mut router, &"/".repeat(29_999)), [0]);
        assert_eq!(rules_of(&mut router, &"/".repeat(29_998)), [] as [usize; 0]);
    }

    proptest! {
        #[test]
        fn routing_agrees_with_trying_every_pattern(
            rules in prop::collection::vec(prop::collection::vec("((a|b|\\$s|\\+|)/){0,3}(a|\\+|#|\\{x\\}|\\{\\*x\\})", 1..3), 1..8),
            topics in prop::collection::vec("((a|b|\\$s|)/){0,3}(a|b|\\$s|)", 1..20),
        ) {
            let patterns: Vec<Arc<[TopicPattern]>> =
                rules.iter().map(|texts| texts.iter().map(|text| TopicPattern::parse(text).unwrap()).collect()).collect();
            let mut router = Router::new(patterns.clone());
            for topic in topics.iter().chain(&topics) {
                let mut captures = Vec::new();
                let mut expected = Vec::new();
                for (rule, alternatives) in patterns.iter().enumerate() {
                    if let Some(pattern) = alternatives.iter().position(|p| p.matches(topic, &mut captures)) {
                        expected.push((rule, pattern, captures.join("|")));
                    }
                }
                let found: Vec<_> = router.route(topic).iter().map(|found| {
                    let captures: Vec<_> = (0..found.captures.len()).map(|i| found.capture(i, topic)).collect();
                    (found.rule, found.pattern, captures.join("|"))
                }).collect();
                // After a failed pattern `captures` is empty, so the text compared is of the pattern that fitted.
                prop_assert_eq!(found, expected, "{}", topic);
            }
        }
    }
}
