//! Topic patterns: MQTT topic filters with named captures.
//!
//! `sensors/{site}/+/{*rest}` → the filter `sensors/+/+/#`. `{x}` takes one level, `{*x}` the rest (last level only,
//! at least one level), `+` and `#` as in MQTT: a level may be empty, and `a/#` matches `a` too. `$share/GROUP/` before
//! the pattern is kept for the subscription and ignored for matching. `#` and a leading `+` or capture do not match
//! topics that begin with `$`.
//!
//! The filter of `a/{*rest}` is `a/#`, which also matches `a`. The pattern does not match `a`, because `{*rest}` would
//! capture nothing.

use std::ops::Range;

use thiserror::Error;

/// Bytes of a filter. MQTT writes the length of a string in two bytes.
const FILTER_BYTES_MAX: usize = 65_535;

/// A parsed pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPattern {
    text: String,
    filter: String,
    /// Bytes of `filter` taken by `$share/GROUP/`; 0 when the subscription is not shared.
    share_len: usize,
    levels: Vec<Level>,
    tail: Tail,
    captures: Vec<String>,
}

/// One level that is matched by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Level {
    Literal(String),
    /// `+` or, if `captured`, `{x}`.
    Any {
        captured: bool,
    },
}

/// What may follow the levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Nothing: the topic has exactly as many levels.
    Closed,
    /// `#`: any number of levels, none included.
    Open,
    /// `{*x}`: one level or more.
    Captured,
}

/// Why a pattern is not one; the text names the level and the remedy.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct TopicPatternError(pub String);

impl TopicPattern {
    pub fn parse(text: &str) -> Result<TopicPattern, TopicPatternError> {
        let (share, pattern) = split_share(text)?;
        if pattern.is_empty() {
            return Err(TopicPatternError("the topic pattern is empty: write `#` to take every topic".into()));
        }
        let mut parsed = TopicPattern {
            text: text.to_owned(),
            filter: share.to_owned(),
            share_len: share.len(),
            levels: Vec::new(),
            tail: Tail::Closed,
            captures: Vec::new(),
        };
        let count = pattern.split('/').count();
        for (index, level) in pattern.split('/').enumerate() {
            parsed.push_level(level, index + 1, index + 1 == count)?;
        }
        if parsed.filter.len() > FILTER_BYTES_MAX {
            return Err(TopicPatternError(format!(
                "the topic filter has {} bytes; MQTT allows {FILTER_BYTES_MAX}",
                parsed.filter.len()
            )));
        }
        Ok(parsed)
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The MQTT topic filter to subscribe to, with its `$share/GROUP/` prefix if it has one.
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// The names of the captures, in order, with `{*x}` as `x`.
    pub fn captures(&self) -> impl Iterator<Item = &str> {
        self.captures.iter().map(String::as_str)
    }

    /// Whether the topic fits; on success `captures` holds one slice of the topic per capture, in order.
    pub fn matches<'t>(&self, topic: &'t str, captures: &mut Vec<&'t str>) -> bool {
        captures.clear();
        let matched = self.match_levels(topic, |range| captures.push(&topic[range]));
        if !matched {
            captures.clear();
        }
        matched
    }

    /// Whether the topic fits, whatever the captures hold.
    pub(crate) fn takes(&self, topic: &str) -> bool {
        self.match_levels(topic, |_| {})
    }

    /// In one sentence, why the topic does not fit: "the topic has 4 levels, the pattern 3".
    pub fn mismatch(&self, topic: &str) -> String {
        let topic_levels = topic.split('/').count();
        let least = self.levels.len() + usize::from(self.tail == Tail::Captured);
        if topic.starts_with('$') && !matches!(self.levels.first(), Some(Level::Literal(_))) {
            return format!("the topic begins with `$`, which the pattern's leading wildcard does not match: {topic}");
        }
        for (index, (level, found)) in self.levels.iter().zip(topic.split('/')).enumerate() {
            if let Level::Literal(expected) = level
                && expected != found
            {
                return format!("level {} is `{found}`, the pattern has `{expected}` there", index + 1);
            }
        }
        match self.tail {
            Tail::Closed if topic_levels != least => {
                format!("the topic has {}, the pattern {least}", levels_phrase(topic_levels))
            }
            _ if topic_levels < least => {
                format!("the topic has {}, the pattern at least {least}", levels_phrase(topic_levels))
            }
            _ => "the topic fits the pattern".to_owned(),
        }
    }

    /// Whether this one's filter brings every topic that the filter of `other` brings (and neither, or both alike, are
    /// shared).
    pub fn covers(&self, other: &TopicPattern) -> bool {
        if self.share() != other.share() {
            return false;
        }
        let (wide, wide_open) = self.shape();
        let (narrow, narrow_open) = other.shape();
        let lengths_fit = match (wide_open, narrow_open) {
            (false, false) => wide.len() == narrow.len(),
            (true, _) => wide.len() <= narrow.len(),
            (false, true) => false,
        };
        lengths_fit
            && wide.iter().zip(&narrow).enumerate().all(|(index, (wide, narrow))| match (wide, narrow) {
                (Some(wide), Some(narrow)) => wide == narrow,
                (Some(_), None) => false,
                (None, Some(narrow)) => index > 0 || !narrow.starts_with('$'),
                (None, None) => true,
            })
    }

    /// Whether the filters of both bring some topic.
    pub fn overlaps(&self, other: &TopicPattern) -> bool {
        let (left, left_open) = self.shape();
        let (right, right_open) = other.shape();
        let lengths_fit = match (left_open, right_open) {
            (true, true) => true,
            (true, false) => left.len() <= right.len(),
            (false, true) => right.len() <= left.len(),
            (false, false) => left.len() == right.len(),
        };
        lengths_fit
            && left.iter().zip(&right).enumerate().all(|(index, pair)| match pair {
                (Some(left), Some(right)) => left == right,
                (Some(literal), None) | (None, Some(literal)) => index > 0 || !literal.starts_with('$'),
                (None, None) => true,
            })
    }

    /// Calls `capture` with the byte range of each captured part, in order, as far as the topic fits.
    pub(crate) fn match_levels(&self, topic: &str, mut capture: impl FnMut(Range<usize>)) -> bool {
        if topic.starts_with('$') && !matches!(self.levels.first(), Some(Level::Literal(_))) {
            return false;
        }
        // Where the next level begins; `None` once the last level was taken.
        let mut next = Some(0);
        for level in &self.levels {
            let Some(start) = next else { return false };
            let end = topic[start..].find('/').map_or(topic.len(), |slash| start + slash);
            match level {
                Level::Literal(expected) if *expected != topic[start..end] => return false,
                Level::Any { captured: true } => capture(start..end),
                Level::Literal(_) | Level::Any { captured: false } => {}
            }
            next = (end < topic.len()).then_some(end + 1);
        }
        match (self.tail, next) {
            (Tail::Closed, Some(_)) | (Tail::Captured, None) => false,
            (Tail::Captured, Some(start)) => {
                capture(start..topic.len());
                true
            }
            (Tail::Closed, None) | (Tail::Open, _) => true,
        }
    }

    pub(crate) fn levels(&self) -> &[Level] {
        &self.levels
    }

    pub(crate) fn tail(&self) -> Tail {
        self.tail
    }

    /// `$share/GROUP/`, or nothing.
    pub(crate) fn share(&self) -> &str {
        &self.filter[..self.share_len]
    }

    /// The set of topics that its filter brings in one canonical form: levels (`None` = any) and whether more may
    /// follow. `#` alone is `+/#`, because every topic has a first level.
    pub(crate) fn shape(&self) -> (Vec<Option<&str>>, bool) {
        let mut levels: Vec<Option<&str>> = self
            .levels
            .iter()
            .map(|level| match level {
                Level::Literal(text) => Some(text.as_str()),
                Level::Any { .. } => None,
            })
            .collect();
        if self.tail != Tail::Closed && levels.is_empty() {
            levels.push(None);
        }
        (levels, self.tail != Tail::Closed)
    }

    /// Parses level `number` (from 1), adding it to the levels and to the filter.
    fn push_level(&mut self, level: &str, number: usize, last: bool) -> Result<(), TopicPatternError> {
        let fail = |why: &str| Err(TopicPatternError(format!("level {number}, `{level}`: {why}")));
        let filter_level = match level {
            "#" | "+" => level,
            _ if level.starts_with('{') && level.ends_with('}') => {
                let inner = &level[1..level.len() - 1];
                let (name, filter_level) = match inner.strip_prefix('*') {
                    Some(name) => (name, "#"),
                    None => (inner, "+"),
                };
                if let Some(why) = capture_name_fault(name) {
                    return fail(why);
                }
                if self.captures.iter().any(|capture| capture == name) {
                    return fail("the capture's name is used before; give each capture its own name");
                }
                self.captures.push(name.to_owned());
                filter_level
            }
            _ if level.contains(['{', '}']) => {
                return fail("a capture takes a whole level; write `{name}` alone between slashes");
            }
            _ if level.contains(['+', '#']) => {
                return fail("`+` and `#` take a whole level; write them alone between slashes");
            }
            _ if level.contains('\0') => return fail("MQTT topics hold no NUL character; remove it"),
            _ => level,
        };
        let captured = filter_level != level;
        match filter_level {
            "#" if !last => return fail("the rest of a topic can only be the last level; move it to the end"),
            "#" => self.tail = if captured { Tail::Captured } else { Tail::Open },
            "+" => self.levels.push(Level::Any { captured }),
            literal => self.levels.push(Level::Literal(literal.to_owned())),
        }
        if number > 1 {
            self.filter.push('/');
        }
        self.filter.push_str(filter_level);
        Ok(())
    }
}

/// Why a name cannot name a capture; `None` when it can. Sources read it back as `topic.NAME`.
fn capture_name_fault(name: &str) -> Option<&'static str> {
    let mut chars = name.chars();
    match chars.next() {
        None => Some("the capture has no name; write `{name}`, or `+` for a level that nobody reads"),
        Some(first) if !(first.is_alphabetic() || first == '_') => {
            Some("a capture's name begins with a letter or `_`; write `{name}`")
        }
        Some(_) if !chars.all(|c| c.is_alphanumeric() || c == '_' || c == '-') => {
            Some("a capture's name holds letters, digits, `_` and `-` only; rename it")
        }
        Some(_) => None,
    }
}

/// Splits `$share/GROUP/` off, slash included.
fn split_share(text: &str) -> Result<(&str, &str), TopicPatternError> {
    let Some(rest) = text.strip_prefix("$share/") else { return Ok(("", text)) };
    let Some((group, pattern)) = rest.split_once('/') else {
        return Err(TopicPatternError(format!(
            "`{text}`: a shared subscription has a group and a filter; write `$share/GROUP/FILTER`"
        )));
    };
    if group.is_empty() || group.contains(['+', '#', '{', '}', '\0']) {
        return Err(TopicPatternError(format!(
            "level 2, `{group}`: a share group has a plain name; write `$share/GROUP/{pattern}`"
        )));
    }
    if pattern.is_empty() {
        return Err(TopicPatternError(format!(
            "`{text}`: no filter follows the share group; write `$share/{group}/#`"
        )));
    }
    Ok((&text[..text.len() - pattern.len()], pattern))
}

fn levels_phrase(count: usize) -> String {
    if count == 1 { "1 level".to_owned() } else { format!("{count} levels") }
}

#[cfg(test)]
mod tests;
