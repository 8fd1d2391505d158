//! The parts of the configuration that a command uses. Mistakes in other parts do not affect the command.
//!
//! `rowbridge status` must work in a shell that has none of the daemon's variables, and while somebody edits the rules.

use super::key_path::KeyPath;
use super::report::Finding;

/// Which parts of a configuration are used, and whether its secrets are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// Key paths; `None` for all.
    parts: Option<Vec<String>>,
    pub(super) secrets: SecretNeed,
}

/// What must be known of secrets while the configuration is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SecretNeed {
    /// Variables are set, and files can be read.
    Readable,
    /// Variables are set. Files are read by whoever connects, who reports what is wrong with them.
    ReadLater,
    /// Nothing: nobody connects.
    Unused,
}

impl Needs {
    /// The whole configuration, with every secret.
    pub fn everything() -> Needs {
        Needs { parts: None, secrets: SecretNeed::Readable }
    }

    /// The whole configuration; its secret files are read when they are used.
    pub fn secrets_later() -> Needs {
        Needs { parts: None, secrets: SecretNeed::ReadLater }
    }

    /// The whole configuration, without its secrets and the broker's user name: neither the variables nor the files that
    /// hold them need to exist.
    pub fn no_secrets() -> Needs {
        Needs { parts: None, secrets: SecretNeed::Unused }
    }

    /// Only these keys, each with all that is below it. Other parts of the loaded configuration must not be used: their
    /// mistakes are not reported.
    pub fn only(keys: &[&str]) -> Needs {
        let parts =
            keys.iter().map(|key| key.split('.').fold(KeyPath::root(), |path, part| path.key(part)).to_string());
        Needs { parts: Some(parts.collect()), secrets: SecretNeed::Readable }
    }

    /// And one database, or all of them.
    pub fn and_database(mut self, name: Option<&str>) -> Needs {
        let section = KeyPath::root().key("databases");
        let path = name.map_or_else(|| section.clone(), |name| section.key(name));
        self.parts.get_or_insert_default().push(path.to_string());
        self
    }

    /// Whether anything of `section` is used.
    pub(super) fn use_section(&self, section: &str) -> bool {
        self.parts.as_ref().is_none_or(|parts| parts.iter().any(|part| is_within(part, section)))
    }

    /// Whether a mistake concerns what is used. What has no key concerns the file as a whole.
    pub(super) fn concern(&self, finding: &Finding) -> bool {
        let Some(parts) = &self.parts else { return true };
        let key = finding.key.as_str();
        key.is_empty() || parts.iter().any(|part| is_within(key, part) || is_within(part, key))
    }
}

/// Whether a shown key path leads to `above` or below it.
fn is_within(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

#[cfg(test)]
mod tests {
    use super::super::report::Place;
    use super::*;

    fn concerned(needs: &Needs, key: &str) -> bool {
        let (problem, key) = ("is wrong".to_owned(), key.to_owned());
        needs.concern(&Finding { place: Place::Nowhere, key, problem, excerpt: None, accepted: None, suggestion: None })
    }

    #[test]
    fn a_mistake_concerns_what_lies_below_it_and_above_it() {
        let needs = Needs::only(&["http", "mqtt.client_id"]).and_database(Some("a.b"));
        for key in ["", "http", "http.listen", "mqtt", "mqtt.client_id", "databases", "databases[\"a.b\"].url"] {
            assert!(concerned(&needs, key), "{key}");
        }
        for key in ["https", "mqtt.password_file", "mqtt.client_identifier", "databases.a", "rules[0].table"] {
            assert!(!concerned(&needs, key), "{key}");
        }
        assert!(concerned(&Needs::no_secrets(), "rules[0].table"));
    }
}
