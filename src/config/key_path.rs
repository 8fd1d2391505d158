//! The path of a key: `mqtt.tls.ca_file`, `rules[0].columns.temp`, `databases["a.b"].url`.

use std::fmt;

use super::vocabulary::is_known_key;

/// Replaces a piece of text in a message that may be a secret.
pub(super) const HIDDEN: &str = "***";

/// A key path. Two paths are equal exactly if they lead to the same value. Shown with care: a password that lacks its
/// quotes may have been read as a mapping, and then its pieces are keys.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct KeyPath {
    text: String,
    /// What people see, where that is not the text.
    shown: Option<String>,
    /// The path leads to a secret, or to something below one.
    is_secret: bool,
}

impl KeyPath {
    pub(super) fn root() -> KeyPath {
        KeyPath::default()
    }

    /// The path of the value under `key` in this mapping.
    pub(super) fn key(&self, key: &str) -> KeyPath {
        let shown_key = if self.hides(key) { HIDDEN } else { key };
        let is_hidden = self.shown.is_some() || shown_key != key;
        KeyPath {
            text: joined(&self.text, key),
            shown: is_hidden.then(|| joined(self.shown.as_deref().unwrap_or(&self.text), shown_key)),
            // A database may be called what its user likes.
            is_secret: self.is_secret || (names_a_secret(key) && self.text != "databases"),
        }
    }

    /// The path of an element of this list.
    pub(super) fn index(&self, index: usize) -> KeyPath {
        let within = |path: &String| format!("{path}[{index}]");
        KeyPath { text: within(&self.text), shown: self.shown.as_ref().map(within), is_secret: self.is_secret }
    }

    /// Whether it leads to a secret, or to something below one.
    pub(super) fn is_secret(&self) -> bool {
        self.is_secret
    }

    /// Whether it leads to something that only a login needs: a secret, or the user's name.
    pub(super) fn is_of_a_login(&self) -> bool {
        self.is_secret || self.text == "mqtt.username"
    }

    /// Whether a message must not show this key of the mapping at the path.
    pub(super) fn hides(&self, key: &str) -> bool {
        (self.is_secret && !is_known_key(key)) || holds_a_secret(key)
    }
}

fn joined(path: &str, key: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if key == HIDDEN || (!key.is_empty() && key.chars().all(is_word)) {
        let dot = if path.is_empty() { "" } else { "." };
        return format!("{path}{dot}{key}");
    }
    format!("{path}[{key:?}]")
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown.as_ref().unwrap_or(&self.text))
    }
}

impl fmt::Debug for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
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
    has_userinfo(text) || text.to_ascii_lowercase().contains("passw")
}

/// Whether something like `user:password@` stands in a text.
pub(super) fn has_userinfo(text: &str) -> bool {
    text.split_once(':').is_some_and(|(_, after)| after.contains('@'))
}

/// Whether a key has become one by mistake and holds a secret, or the user of an address: `password:hunter2`, without the
/// space after the colon.
fn holds_a_secret(key: &str) -> bool {
    let mut parts = key.split([':', '=', ' ']).filter(|part| !part.is_empty());
    let is_address = key.split_once([':', '=']).is_some_and(|(name, _)| ["url", "urls"].contains(&name.trim()));
    is_address || key.contains("://") || has_userinfo(key) || (parts.any(names_a_secret) && parts.next().is_some())
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
    fn pieces_of_a_secret_that_were_read_as_keys_are_not_shown() {
        let password = KeyPath::root().key("mqtt").key("password");
        assert_eq!(password.to_string(), "mqtt.password");
        assert_eq!(password.key("hunter2").to_string(), "mqtt.password.***");
        assert_eq!(password.key("hunter2").index(0).key("b").to_string(), "mqtt.password.***[0].***");
        assert_ne!(password.key("hunter2"), password.key("hunter3"));
        assert_eq!(KeyPath::root().key("mqtt").key("password:hunter2").to_string(), "mqtt.***");
        for key in ["a.b password:hunter2", "password:hunter2 url:", "url:://u:hunter2", "url:hunter2", "urls =hunter2"]
        {
            assert_eq!(KeyPath::root().key(key).to_string(), "***");
        }
        assert_eq!(KeyPath::root().key("secrets").key("url").to_string(), "secrets.url");
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
