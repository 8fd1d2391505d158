//! Topic patterns against a matcher that knows only the rules' text.
//!
//! Input: lines. The first eight are patterns, all others topics.

use rowbridge::rule::TopicPattern;
use rowbridge::source::fuzzing;

const PATTERNS_MAX: usize = 8;
const TOPICS_MAX: usize = 16;

pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let lines: Vec<&str> = text.split('\n').collect();
    let (patterns, topics) = lines.split_at(lines.len().min(PATTERNS_MAX));
    let topics: Vec<&str> = topics.iter().copied().filter(|topic| !topic.is_empty()).take(TOPICS_MAX).collect();
    let parsed: Vec<TopicPattern> = patterns.iter().filter_map(|text| parse(text)).collect();
    for pattern in &parsed {
        for topic in &topics {
            check_match(pattern, topic);
        }
    }
    check_pairs(&parsed, &topics);
    check_tree(&parsed);
}

/// The pattern, if it is one; and that exactly the right texts are.
fn parse(text: &str) -> Option<TopicPattern> {
    let parsed = TopicPattern::parse(text);
    assert_eq!(parsed.is_ok(), is_pattern(text), "{text:?}: {parsed:?}");
    let pattern = match parsed {
        Ok(pattern) => pattern,
        Err(error) => {
            assert!(!error.0.is_empty());
            return None;
        }
    };
    assert_eq!(pattern.as_str(), text);
    // The filter is a pattern itself, without captures, that takes what the pattern takes.
    let filter = TopicPattern::parse(pattern.filter()).unwrap();
    assert_eq!((filter.filter(), filter.captures().count()), (pattern.filter(), 0));
    assert!(filter.covers(&pattern), "{text:?}");
    Some(pattern)
}

/// The levels of a pattern and whether its share prefix is in order.
fn levels(text: &str) -> Option<Vec<&str>> {
    let Some(shared) = text.strip_prefix("$share/") else { return Some(text.split('/').collect()) };
    let (group, rest) = shared.split_once('/')?;
    let is_plain = !group.is_empty() && !group.contains(['+', '#', '{', '}', '\0']);
    (is_plain && !rest.is_empty()).then(|| rest.split('/').collect())
}

fn is_pattern(text: &str) -> bool {
    let Some(levels) = levels(text) else { return false };
    if levels == [""] {
        return false;
    }
    let mut names = Vec::new();
    let mut filter_bytes = text.len() - levels.join("/").len() + levels.len() - 1;
    for (index, level) in levels.iter().enumerate() {
        let is_last = index + 1 == levels.len();
        filter_bytes += match capture(level) {
            Some((name, rest)) => {
                let mut letters = name.chars();
                let begins = letters.next().is_some_and(|first| first.is_alphabetic() || first == '_');
                let goes_on = letters.all(|letter| letter.is_alphanumeric() || letter == '_' || letter == '-');
                if !begins || !goes_on || names.contains(&name) || (rest && !is_last) {
                    return false;
                }
                names.push(name);
                1
            }
            None if *level == "#" && !is_last => return false,
            None if ["#", "+"].contains(level) => 1,
            None if level.contains(['{', '}', '+', '#', '\0']) => return false,
            None => level.len(),
        };
    }
    filter_bytes <= 65_535
}

/// The name of a level that is a capture, and whether it takes the rest.
fn capture(level: &str) -> Option<(&str, bool)> {
    let name = level.strip_prefix('{')?.strip_suffix('}')?;
    Some(name.strip_prefix('*').map_or((name, false), |name| (name, true)))
}

/// What a pattern captures of a topic, level by level; `None` if it does not match.
fn captured(pattern: &str, topic: &str) -> Option<Vec<String>> {
    let pattern = levels(pattern)?;
    let topic: Vec<&str> = topic.split('/').collect();
    let is_wild = ["#", "+"].contains(&pattern[0]) || capture(pattern[0]).is_some();
    if topic[0].starts_with('$') && is_wild {
        return None;
    }
    let mut captures = Vec::new();
    for (index, level) in pattern.iter().enumerate() {
        match (*level, capture(level)) {
            ("#", _) => return Some(captures),
            (_, Some((_, true))) => {
                let rest = topic.get(index..).filter(|rest| !rest.is_empty())?;
                captures.push(rest.join("/"));
                return Some(captures);
            }
            ("+", _) if index >= topic.len() => return None,
            ("+", _) => {}
            (_, Some((_, false))) => captures.push(topic.get(index)?.to_string()),
            (literal, None) if *topic.get(index)? != literal => return None,
            _ => {}
        }
    }
    (topic.len() == pattern.len()).then_some(captures)
}

fn check_match(pattern: &TopicPattern, topic: &str) {
    let mut captures = vec!["from before"];
    let matches = pattern.matches(topic, &mut captures);
    let expected = captured(pattern.as_str(), topic);
    assert_eq!(matches, expected.is_some(), "{} on {topic:?}", pattern.as_str());
    assert_eq!(captures, expected.unwrap_or_default(), "{} on {topic:?}", pattern.as_str());
    assert_eq!(pattern.mismatch(topic) == "the topic fits the pattern", matches, "{} on {topic:?}", pattern.as_str());
}

/// Covering and overlapping are of the filters, and must agree with every topic at hand.
fn check_pairs(patterns: &[TopicPattern], topics: &[&str]) {
    let matches = |pattern: &TopicPattern, topic: &str| captured(pattern.filter(), topic).is_some();
    for left in patterns {
        assert!(left.covers(left) && left.overlaps(left));
        for right in patterns {
            let names = || format!("{} and {}", left.as_str(), right.as_str());
            assert_eq!(left.overlaps(right), right.overlaps(left), "{}", names());
            assert!(!left.covers(right) || left.overlaps(right), "{}", names());
            for topic in topics {
                let (by_left, by_right) = (matches(left, topic), matches(right, topic));
                assert!(!(by_left && by_right) || left.overlaps(right), "{} on {topic:?}", names());
                assert!(!by_right || by_left || !left.covers(right), "{} on {topic:?}", names());
            }
        }
    }
}

/// The tree that finds coverings and overlaps among thousands must answer as the pairs do.
fn check_tree(patterns: &[TopicPattern]) {
    for (index, pattern) in patterns.iter().enumerate() {
        let (covering, overlaps) = fuzzing::relations(patterns, index);
        // The tree leaves share groups to its caller.
        let alike = |other: &&usize| share(&patterns[**other]) == share(pattern);
        let covering: Vec<usize> = covering.iter().filter(alike).copied().collect();
        let expected: Vec<usize> = (0..patterns.len()).filter(|other| patterns[*other].covers(pattern)).collect();
        assert_eq!(covering, expected, "{}", pattern.as_str());
        let expected = patterns.iter().enumerate().any(|(other, one)| other != index && one.overlaps(pattern));
        assert_eq!(overlaps, expected, "{}", pattern.as_str());
    }
}

fn share(pattern: &TopicPattern) -> Option<&str> {
    pattern.filter().strip_prefix("$share/").and_then(|rest| rest.split('/').next())
}
