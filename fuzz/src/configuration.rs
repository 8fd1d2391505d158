//! bridge.yaml and the variables over it: a configuration, or mistakes that can be found and that show no secret.
//!
//! Input: the file's text; after a NUL, if there is one, lines `NAME=VALUE` of environment variables.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;

use rowbridge::config::{Config, LoadRequest, Place, Report, load};
use tempfile::TempDir;

/// Stands in every variable that holds a secret. Nothing else in an input may hold it.
const MARKER: &str = "Xq7mARKERz2w";

/// Secrets with what an address gives a meaning to; `@` stands for [`MARKER`]'s place.
const SECRETS: [(&str, [&str; 2]); 3] =
    [("PASSWORD", ["", ""]), ("ODD_PASSWORD", ["a:/#?@", "@h:1/x?y=z&"]), ("SPACED_PASSWORD", ["a ", " host=x"])];

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
    DIRECTORY.with_borrow(|directory| {
        let file = directory.path().join("bridge.yaml");
        fs::write(&file, text).unwrap();
        let request = LoadRequest {
            file: Some(file),
            overrides: Vec::new(),
            environment: environment(variables),
            hostname: "host1".to_owned(),
            directory: directory.path().to_owned(),
            system_file: directory.path().join("etc.yaml"),
        };
        match load(&request) {
            Ok(config) => check_config(&config),
            Err(report) => check_report(&report, text),
        }
    });
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
    for secret in config.mqtt.password.iter() {
        assert!(secret.expose().len() < 8 || !secret.expose().contains(MARKER) || !shown.contains(secret.expose()));
    }
}

fn check_report(report: &Report, text: &[u8]) {
    assert!(!report.findings().is_empty(), "refused without a reason");
    let shown = format!("{report}\n{report:?}");
    assert!(!shown.contains(MARKER), "a secret is shown:\n{report}");
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
