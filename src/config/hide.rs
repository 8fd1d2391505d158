//! The last check before a report is printed: every known secret is removed from every message.
//!
//! A finding contains no secret anyway. This check also covers a secret that was read as another key's value.

use super::LoadRequest;
use super::key_path::{HIDDEN, has_userinfo, names_a_secret};
use super::report::Finding;
use super::substitute::{self, SECRET_LEN_MIN};
use super::tree::{Kind, Node, Tree};
use super::vocabulary::is_known_key;

/// Takes the file's secrets, and those of the layers above it, out of what the findings say.
pub(super) fn secrets(findings: &mut [Finding], trees: &[&Tree], request: &LoadRequest) {
    if findings.is_empty() {
        return;
    }
    let mut found = Found::default();
    for root in trees.iter().filter_map(|tree| tree.root()) {
        found.look(root, Held::Nothing);
    }
    let variables = request.environment.iter().filter(|(name, _)| name.starts_with("ROWBRIDGE__"));
    for (name, value) in variables.chain(request.overrides.iter().map(|(path, value)| (path, value))) {
        let key = name.rsplit(['_', '.']).next().unwrap_or_default().to_ascii_lowercase();
        found.scalar(value, if names_a_secret(name) { Held::Secret } else { Held::by(&key) });
    }
    found.texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
    found.texts.dedup();
    for finding in findings {
        for text in std::iter::once(&mut finding.problem).chain(&mut finding.accepted) {
            for secret in &found.texts {
                *text = substitute::put_in_message(text, secret, HIDDEN);
            }
        }
        if let Some(suggestion) = &mut finding.suggestion
            && found.texts.iter().any(|secret| suggestion.contains(secret.as_str()))
        {
            finding.suggestion = None;
        }
    }
}

/// What the values under a key hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    Nothing,
    /// Credentials before the `@`, if there is one.
    Address,
    Secret,
}

impl Held {
    fn by(key: &str) -> Held {
        match key {
            "url" | "urls" => Held::Address,
            key if names_a_secret(key) => Held::Secret,
            _ => Held::Nothing,
        }
    }
}

/// Texts that no message may hold.
#[derive(Default)]
struct Found {
    texts: Vec<String>,
}

impl Found {
    /// Recursion is bounded by the depth that the YAML reader allows.
    fn look(&mut self, node: Node<'_>, held: Held) {
        match node.kind() {
            Kind::Scalar(_) => self.scalar(node.text(), held),
            Kind::Sequence(items) => items.for_each(|item| self.look(item, held)),
            Kind::Mapping(entries) => {
                for entry in entries {
                    if held == Held::Secret {
                        self.add(entry.key);
                    }
                    self.look(entry.value, if held == Held::Secret { held } else { Held::by(entry.key) });
                }
            }
        }
    }

    fn scalar(&mut self, text: &str, held: Held) {
        if held == Held::Secret {
            self.add(text);
        } else if has_userinfo(text) || (held == Held::Address && text.contains('@')) {
            let begin = text.find("://").map_or(0, |at| at + 3);
            let end = text.rfind('@').unwrap_or(text.len()).max(begin);
            self.add(&text[begin..end]);
        }
    }

    /// The text and the words in it. The name of a variable is excluded, because the message must name a missing
    /// variable.
    fn add(&mut self, text: &str) {
        let names: Vec<&str> = substitute::names(text).collect();
        let words = text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !names.contains(word));
        let words = words.flat_map(|word| word.split('_').chain([word]));
        let long = std::iter::once(text).chain(words);
        let long = long.filter(|word| word.len() >= SECRET_LEN_MIN && !is_known_key(word));
        self.texts.extend(long.map(str::to_owned));
    }
}
