//! Whether a rule takes the topics that a template can give.

use super::intake::Home;
use crate::config::Publication;
use crate::rule::{Level, Piece, RowSource, Tail, Template, TopicPattern};

/// A piece of a text that is partly unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Byte(u8),
    /// Any text within a level, also none.
    Level,
    /// Any text, also none.
    Any,
}

impl Part {
    pub(super) fn text(text: &str) -> Vec<Part> {
        text.bytes().map(Part::Byte).collect()
    }

    fn is_open(self) -> bool {
        !matches!(self, Part::Byte(_))
    }

    /// Whether the byte can be in it.
    fn has(self, byte: u8) -> bool {
        match self {
            Part::Byte(own) => own == byte,
            Part::Level => byte != b'/',
            Part::Any => true,
        }
    }
}

/// Whether some text is both.
pub(super) fn meet(left: &[Part], right: &[Part]) -> bool {
    // For each beginning of `right` whether it can be the same text as the beginning of `left` that was looked at.
    let mut reached = vec![false; right.len() + 1];
    reached[0] = true;
    for part in left.iter().copied().map(Some).chain([None]) {
        let mut next = vec![false; right.len() + 1];
        for at in 0..=right.len() {
            if !reached[at] {
                continue;
            }
            let other = right.get(at).copied();
            if (part, other) == (None, None) {
                return true;
            }
            // Either may be no text at all.
            if part.is_some_and(Part::is_open) {
                next[at] = true;
            }
            if other.is_some_and(Part::is_open) {
                reached[at + 1] = true;
            }
            match (part, other) {
                (Some(Part::Byte(byte)), Some(Part::Byte(other))) => next[at + 1] |= byte == other,
                (Some(Part::Byte(byte)), Some(open)) => next[at] |= open.has(byte),
                (Some(open), Some(Part::Byte(byte))) => reached[at + 1] |= open.has(byte),
                _ => {}
            }
        }
        if !next.contains(&true) {
            return false;
        }
        reached = next;
    }
    false
}

/// The topics of a publication.
pub(super) struct Topics {
    parts: Vec<Part>,
    /// One of them, in which nothing of a pattern but a wildcard takes what is unknown.
    example: String,
}

impl Topics {
    pub(super) fn of(
        template: &Template<RowSource>,
        publication: &Publication,
        home: &Home<'_>,
        bridge: &str,
    ) -> Topics {
        // No pattern has it in its text.
        const UNKNOWN: char = '\0';
        let (mut parts, mut example) = (Vec::new(), String::new());
        for piece in template.pieces() {
            let known = match piece {
                Piece::Text(text) => Some(text.as_str()),
                Piece::Source(RowSource::Bridge) => Some(bridge),
                Piece::Source(RowSource::Database) => Some(home.database),
                Piece::Source(RowSource::Schema) => Some(publication.table.schema.as_deref().unwrap_or(home.schema)),
                Piece::Source(RowSource::Table) => Some(publication.table.name.as_str()),
                Piece::Source(RowSource::Event | RowSource::Offset | RowSource::Column(_)) => None,
            };
            match known {
                Some(text) => {
                    parts.extend(Part::text(text));
                    example.push_str(text);
                }
                None => {
                    let is_column = matches!(piece, Piece::Source(RowSource::Column(_)));
                    parts.push(if is_column { Part::Any } else { Part::Level });
                    example.push(UNKNOWN);
                }
            }
        }
        Topics { parts, example }
    }

    /// Whether the pattern takes all of them, if the value of a column is one level.
    pub(super) fn are_all_taken_by(&self, pattern: &TopicPattern) -> bool {
        pattern.takes(&self.example)
    }

    /// Whether the pattern takes one of them.
    pub(super) fn may_be_taken_by(&self, pattern: &TopicPattern) -> bool {
        let first = pattern.levels().first();
        // Wildcards at the beginning do not take such topics.
        if self.parts.first() == Some(&Part::Byte(b'$')) && !matches!(first, Some(Level::Literal(_))) {
            return false;
        }
        let mut levels = Vec::new();
        for (index, level) in pattern.levels().iter().enumerate() {
            if index > 0 {
                levels.push(Part::Byte(b'/'));
            }
            match level {
                Level::Literal(text) => levels.extend(Part::text(text)),
                Level::Any { .. } => levels.push(Part::Level),
            }
        }
        if pattern.tail() != Tail::Captured && !levels.is_empty() && meet(&self.parts, &levels) {
            return true;
        }
        if pattern.tail() == Tail::Closed {
            return false;
        }
        if !levels.is_empty() {
            levels.push(Part::Byte(b'/'));
        }
        levels.push(Part::Any);
        meet(&self.parts, &levels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `*` stands for any text, `+` for any within a level.
    fn parts(text: &str) -> Vec<Part> {
        text.bytes()
            .map(|byte| match byte {
                b'*' => Part::Any,
                b'+' => Part::Level,
                byte => Part::Byte(byte),
            })
            .collect()
    }

    #[test]
    fn two_texts_that_are_partly_unknown_may_be_the_same() {
        for (left, right, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "*", true),
            ("a", "a", true),
            ("a", "ab", false),
            ("ab", "a", false),
            ("*", "a/b", true),
            ("+", "a/b", false),
            ("+", "+", true),
            ("+/b", "*", true),
            ("x/*", "x/+/z", true),
            ("x/*/y", "x/+/z", false),
            ("x/*y", "x/+/+y", true),
            ("x*", "y*", false),
            ("*x", "+y", false),
            ("*x*", "+/+x+", true),
            ("a+b", "a/b", false),
            ("a*b", "a/b", true),
            ("+a", "aa", true),
            ("a+a", "a", false),
        ] {
            assert_eq!(meet(&parts(left), &parts(right)), expected, "{left} {right}");
            assert_eq!(meet(&parts(right), &parts(left)), expected, "{right} {left}");
        }
    }
}
