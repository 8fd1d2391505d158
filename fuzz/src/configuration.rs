//! bridge.yaml and the variables over it: a configuration, or mistakes that can be found and that show no secret.
//!
//! Input: the file's text; after a NUL, if there is one, lines `NAME=VALUE` of environment variables.
//!
//! Before it is read, every word of four or more characters that stands under a secret's key, or before the `@` of an
//! address, becomes a word of ours. No part of that may come out again, however the file is broken around it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use rowbridge::config::{Config, DatabaseUrl, LoadRequest, Needs, Place, Report, load};
use tempfile::TempDir;

/// Stands in every variable that holds a secret. Nothing else in an input may hold it.
const MARKER: &str = "Xq7mARKERz2w";

/// Secrets with what an address gives a meaning to; `@` stands for [`MARKER`]'s place.
const SECRETS: [(&str, [&str; 2]); 3] =
    [("PASSWORD", ["", ""]), ("ODD_PASSWORD", ["a:/#?@", "@h:1/x?y=z&"]), ("SPACED_PASSWORD", ["a ", " host=x"])];

/// Stands in place of the words of secrets. No message has any four characters of it.
const NONCE: &str = "Zq9xKv7W";

thread_local! {
    static DIRECTORY: RefCell<TempDir> = RefCell::new(TempDir::new().unwrap());
}

pub fn check(bytes: &[u8]) {
    let (text, variables) = match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[][..]),
    };
    let holds = |needle: &str| bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
    // A device named as a password file is read as one: it may wait for ever. Half a marker is none of ours.
    if holds("/dev/") || holds("/proc/") || holds(&MARKER[..4]) {
        return;
    }
    if nonce_parts().any(holds) {
        return;
    }
    let rewritten = str::from_utf8(text).ok().map(with_nonces);
    let text = rewritten.as_ref().map_or(text, |text| text.as_bytes());
    DIRECTORY.with_borrow(|directory| {
        let file = directory.path().join("bridge.yaml");
        fs::write(&file, text).unwrap();
        let request = LoadRequest {
            file: Some(file),
            overrides: Vec::new(),
            environment: environment(variables),
            not_text: BTreeSet::new(),
            hostname: "host1".to_owned(),
            text: None,
            directory: directory.path().to_owned(),
            system_file: directory.path().join("etc.yaml"),
            needs: Needs::everything(),
        };
        match load(&request) {
            Ok(config) => {
                check_config(&config);
                check_hidden(&shown(&config));
            }
            Err(report) => check_report(&report, text),
        }
    });
}

fn nonce_parts() -> impl Iterator<Item = &'static str> {
    (0..=NONCE.len() - 4).map(|from| &NONCE[from..from + 4])
}

fn check_hidden(shown: &str) {
    assert!(nonce_parts().all(|part| !shown.contains(part)), "part of a secret is shown:\n{shown}");
}

/// Everything that a command or the log may print of a configuration.
fn shown(config: &Config) -> String {
    let mut shown = format!("{config:?} {}", config.bridge);
    for url in &config.mqtt.urls {
        shown.push_str(&format!(" {url} {url:?}"));
    }
    for database in &config.databases {
        if let DatabaseUrl::Postgres(url) = &database.url {
            shown.push_str(&format!(" {url} {url:?}"));
        }
    }
    shown
}

/// The text with [`NONCE`] for the words of its secrets; as it is where texts go over several lines, of which a line may
/// look like the key of a secret.
fn with_nonces(text: &str) -> String {
    let goes_on = |line: &str| {
        let odd = |quote: char| line.matches(quote).count() % 2 == 1;
        odd('"') || odd('\'') || line.trim_end().ends_with(['|', '>', '-', '+', '\\'])
    };
    if text.lines().any(goes_on) {
        return text.to_owned();
    }
    let lines = text.split_inclusive('\n').map(|line| {
        let begin = line.len() - line.trim_start_matches([' ', '-', '{', '"', '\'']).len();
        let Some(colon) = line[begin..].find(':').map(|at| begin + at) else { return line.to_owned() };
        let key = line[begin..colon].trim_matches([' ', '"', '\'']).to_ascii_lowercase();
        let value = &line[colon + 1..];
        let is_file = value.trim_start_matches([' ', '"', '\'']).starts_with("sqlite:");
        let end = match key.as_str() {
            "url" | "urls" if !is_file => value.rfind('@').unwrap_or(0),
            // In { password: a, user: b } the next key follows.
            key if names_a_secret(key) => value.find(", ").unwrap_or(value.len()),
            _ => 0,
        };
        // The scheme of an address is none of its user.
        let from = if names_a_secret(&key) { 0 } else { value[..end].find("://").map_or(0, |at| at + 3) };
        format!("{}{}{}{}", &line[..=colon], &value[..from], nonces_for_words(&value[from..end]), &value[end..])
    });
    lines.collect()
}

fn names_a_secret(key: &str) -> bool {
    let is_word = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    is_word && !key.ends_with("_file") && ["password", "secret", "token"].iter().any(|word| key.contains(word))
}

fn nonces_for_words(text: &str) -> String {
    let mut replaced = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        // The name of a variable is to be told if it is not set.
        let is_variable = replaced.ends_with("${");
        let ends = |c: char| !(c.is_ascii_alphanumeric() || (is_variable && c == '_'));
        let word_len = rest.find(ends).unwrap_or(rest.len());
        let word = &rest[..word_len];
        replaced.push_str(if word_len >= 4 && !is_variable { NONCE } else { word });
        let other = rest[word_len..].chars().next();
        replaced.extend(other);
        rest = &rest[word_len + other.map_or(0, char::len_utf8)..];
    }
    replaced
}

fn environment(variables: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(variables);
    // No system has a variable without a name.
    let given = text.lines().filter_map(|line| line.split_once('=')).filter(|(name, _)| !name.is_empty());
    let mut environment: BTreeMap<String, String> =
        given.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    // Real files of the machine have no say.
    environment.insert("HOME".to_owned(), "/nonexistent".to_owned());
    for (name, [before, after]) in SECRETS {
        environment.insert(name.to_owned(), format!("{before}{MARKER}{after}"));
    }
    environment
}

/// What the model promises of every configuration.
fn check_config(config: &Config) {
    assert!(!config.databases.is_empty() && !config.mqtt.urls.is_empty());
    for rule in &config.rules {
        assert!(!rule.topics.is_empty() && rule.database < config.databases.len());
        let same_name = config.rules.iter().filter(|other| other.name == rule.name).count();
        assert_eq!(same_name, 1, "the name {} is used twice", rule.name);
    }
    let shown = format!("{config:?}");
    for secret in config.mqtt.password.iter().filter_map(|source| source.read().ok()) {
        let is_ours = secret.expose().len() >= 8 && secret.expose().contains(MARKER);
        assert!(!is_ours || !shown.contains(secret.expose()), "a secret is shown:\n{shown}");
    }
}

fn check_report(report: &Report, text: &[u8]) {
    assert!(!report.findings().is_empty(), "refused without a reason");
    let shown = format!("{report}\n{report:?}");
    assert!(!shown.contains(MARKER), "a secret is shown:\n{report}");
    check_hidden(&shown);
    // As YAML counts them: a carriage return alone ends a line too.
    let text = String::from_utf8_lossy(text).replace("\r\n", "\n");
    let lines: Vec<&str> = text.split(['\n', '\r']).collect();
    for finding in report.findings() {
        assert!(!finding.problem.is_empty());
        match &finding.place {
            Place::File { position, .. } => {
                assert!(position.line >= 1 && position.column >= 1, "{finding}");
                // The end of the file may count as a line of its own.
                assert!(position.line <= lines.len() + 1, "{finding}\nlies behind the last of {} lines", lines.len());
                let columns = lines.get(position.line - 1).map_or(1, |line| line.len() + 1);
                assert!(position.column <= columns, "{finding}\nlies behind the end of its line");
            }
            Place::Variable(name) => assert!(!name.is_empty()),
            Place::Flag(_) => panic!("no flag was given: {finding}"),
            Place::Nowhere => panic!("a mistake without a position: {finding}"),
        }
    }
}
