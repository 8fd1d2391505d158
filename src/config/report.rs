//! All mistakes in a configuration, found in one run.
//!
//! A [`Report`] never holds a secret: a [`Finding`] contains only text that a bystander may read. For that reason it
//! shows lines of the file only if they cannot hold a secret; its position leads to the line.

use std::fmt;
use std::path::PathBuf;

use strsim::damerau_levenshtein;

/// A place in a text file, both counted from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// Where a mistake was made. The order is the order in which findings are shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Nothing could be read.
    Nowhere,
    File {
        file: PathBuf,
        position: Position,
    },
    /// An environment variable.
    Variable(String),
    /// A command-line flag, by the key path that it sets.
    Flag(String),
}

impl Place {
    /// Whether findings of the same key at both places are about the same value. Files of rules each have a `rules[0]`.
    pub(super) fn is_beside(&self, other: &Place) -> bool {
        match (self, other) {
            (Place::File { file, .. }, Place::File { file: other, .. }) => file == other,
            (Place::Variable(_) | Place::Flag(_), _) => true,
            (Place::Nowhere | Place::File { .. }, _) => false,
        }
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub place: Place,
    /// As in `rules[0].columns.temp`; empty when the file as a whole is at fault.
    pub key: String,
    /// What was found, and what is wrong with it.
    pub problem: String,
    /// The line with a caret below the place, where that helps.
    pub excerpt: Option<String>,
    /// What would have been right.
    pub accepted: Option<String>,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

/// All the mistakes of one configuration, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    findings: Vec<Finding>,
}

impl Report {
    /// Sorts the findings into the order of the file and removes duplicates.
    pub(super) fn new(mut findings: Vec<Finding>) -> Report {
        findings.sort_by(|a, b| (&a.place, &a.key).cmp(&(&b.place, &b.key)));
        let mut distinct: Vec<Finding> = Vec::with_capacity(findings.len());
        for finding in findings {
            let is_beside = |known: &&Finding| known.place == finding.place && known.key == finding.key;
            if !distinct.iter().rev().take_while(is_beside).any(|known| *known == finding) {
                distinct.push(finding);
            }
        }
        Report { findings: distinct }
    }

    /// A report of one mistake that concerns no single key.
    pub(super) fn of(place: Place, problem: String, accepted: Option<String>) -> Report {
        Report {
            findings: vec![Finding { place, key: String::new(), problem, excerpt: None, accepted, suggestion: None }],
        }
    }

    /// Never empty.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }
}

impl std::error::Error for Report {}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Nowhere => {}
            Place::File { file, position } => write!(f, "{}:{position}: ", file.display())?,
            Place::Variable(name) => write!(f, "environment variable {name}: ")?,
            Place::Flag(key) => write!(f, "command line ({key}): ")?,
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.problem)?;
        for line in self.excerpt.iter().flat_map(|excerpt| excerpt.lines()) {
            write!(f, "\n    | {line}")?;
        }
        if let Some(accepted) = &self.accepted {
            write!(f, "\n    accepted: {accepted}")?;
        }
        if let Some(suggestion) = &self.suggestion {
            write!(f, "\n    did you mean `{suggestion}`?")?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        match self.findings.len() {
            1 => f.write_str("1 mistake in the configuration"),
            count => write!(f, "{count} mistakes in the configuration"),
        }
    }
}

/// The candidate that `word` was probably meant to be, if one is near enough: a third of its letters may differ (none
/// of a word of two letters); case and the kind of dash do not count.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let plain = |text: &str| text.to_lowercase().replace(['-', ' '], "_");
    // Comparing is quadratic in the length; no key is anywhere near this long.
    const WORD_CHARS_MAX: usize = 100;
    if word.chars().count() > WORD_CHARS_MAX {
        return None;
    }
    let word = plain(word);
    let limit = word.chars().count() / 3;
    candidates
        .into_iter()
        .map(|candidate| (damerau_levenshtein(&word, &plain(candidate)), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_come_in_the_order_of_the_file_then_of_the_other_layers() {
        let at = |line| Place::File { file: "bridge.yaml".into(), position: Position { line, column: 3 } };
        let finding = |place, key: &str| Finding {
            place,
            key: key.to_owned(),
            problem: "found `x`".to_owned(),
            excerpt: None,
            accepted: Some("y".to_owned()),
            suggestion: Some("z".to_owned()),
        };
        let report = Report::new(vec![
            finding(Place::Flag("mqtt.url".to_owned()), "mqtt.url"),
            finding(at(10), "b"),
            finding(Place::Variable("ROWBRIDGE__A".to_owned()), "a"),
            finding(at(9), "a"),
            finding(at(9), "a"),
        ]);
        assert_eq!(
            report.to_string(),
            "bridge.yaml:9:3: a: found `x`\n    accepted: y\n    did you mean `z`?\n\
             bridge.yaml:10:3: b: found `x`\n    accepted: y\n    did you mean `z`?\n\
             environment variable ROWBRIDGE__A: a: found `x`\n    accepted: y\n    did you mean `z`?\n\
             command line (mqtt.url): mqtt.url: found `x`\n    accepted: y\n    did you mean `z`?\n\
             4 mistakes in the configuration"
        );
    }

    #[test]
    fn the_nearest_word_is_suggested_only_when_it_is_near() {
        assert_eq!(nearest("keepalive", ["keep_alive", "url"]).as_deref(), Some("keep_alive"));
        assert_eq!(nearest("Keep-Alive", ["keep_alive", "url"]).as_deref(), Some("keep_alive"));
        assert_eq!(nearest("ulr", ["keep_alive", "url"]).as_deref(), Some("url"));
        assert_eq!(nearest("3", ["0", "1"]), None);
        assert_eq!(nearest("banana", ["keep_alive", "url"]), None);
        assert_eq!(nearest(&"a".repeat(10_000), ["keep_alive"]), None);
    }
}
