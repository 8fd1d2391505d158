//! The way to a value: `mqtt.tls.ca_file`, `rules[0].columns.temp`, `databases["a.b"].url`.

use std::fmt;

/// A key path. Two paths are equal exactly if they lead to the same value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct KeyPath(String);

impl KeyPath {
    pub(super) fn root() -> KeyPath {
        KeyPath::default()
    }

    /// The path of the value under `key` in this mapping.
    pub(super) fn key(&self, key: &str) -> KeyPath {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if key.is_empty() || !key.chars().all(is_word) {
            return KeyPath(format!("{}[{key:?}]", self.0));
        }
        let dot = if self.0.is_empty() { "" } else { "." };
        KeyPath(format!("{}{dot}{key}", self.0))
    }

    /// The path of an element of this list.
    pub(super) fn index(&self, index: usize) -> KeyPath {
        KeyPath(format!("{}[{index}]", self.0))
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether the value under a key of this name must not be shown. The name of a file that holds a secret may be.
pub(super) fn names_a_secret(key: &str) -> bool {
    const SECRET_WORDS: [&str; 6] = ["passw", "passphrase", "secret", "token", "pwd", "credential"];
    let key = key.to_ascii_lowercase();
    !key.ends_with("_file") && SECRET_WORDS.iter().any(|word| key.contains(word))
}

/// Whether a text looks as if it carried credentials: userinfo in a URL, or a libpq `password=`.
pub(super) fn carries_a_secret(text: &str) -> bool {
    let has_userinfo = text.split_once(':').is_some_and(|(_, after)| after.contains('@'));
    has_userinfo || text.to_ascii_lowercase().contains("passw")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_like_the_file() {
        let root = KeyPath::root();
        assert_eq!(root.key("rules").index(0).key("columns").key("temp").to_string(), "rules[0].columns.temp");
        assert_eq!(root.key("a.b").key("c").to_string(), "[\"a.b\"].c");
        assert_ne!(root.key("a").key("b"), root.key("a.b"));
        assert_ne!(root.key("a").index(0), root.key("a").key("0"));
        assert_ne!(root.key("a[0]"), root.key("a").index(0));
    }

    #[test]
    fn secrets_are_known_by_their_key_or_their_form() {
        for key in ["password", "Password", "client_secret", "sasl-passwd", "api_token"] {
            assert!(names_a_secret(key), "{key}");
        }
        assert!(!names_a_secret("password_file") && !names_a_secret("topic"));
        assert!(carries_a_secret("mqtt://u:p@host") && carries_a_secret("host=h password=x"));
        assert!(!carries_a_secret("mqtt://host:1883") && !carries_a_secret("payload[\"@type\"]"));
    }
}
