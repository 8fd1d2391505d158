//! The configuration as a whole, from files on disk.

mod create;
mod homes;
mod layers;
mod mistakes;
mod needs;
mod postgres;
mod publish;
mod queries;
mod rules_from;
mod schema;
mod secrets;
mod statement;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::{Config, LoadRequest, Needs, Place, Report, load};

/// Databases and rules that are right, for tests of the other sections.
const REST: &str = "databases: {local: {url: 'sqlite:x.db'}}\nrules: [{topic: a, table: t, columns: {p: payload}}]\n";

/// A rule's other keys; the rule under test begins at line 2.
const LOCAL: &str = "databases: {local: {url: 'sqlite:x.db'}}\n";

struct Bench {
    directory: TempDir,
    request: LoadRequest,
}

impl Bench {
    fn new(text: &str) -> Bench {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("bridge.yaml");
        fs::write(&file, text).unwrap();
        let request = LoadRequest {
            file: Some(file),
            overrides: Vec::new(),
            environment: BTreeMap::new(),
            not_text: BTreeSet::new(),
            hostname: "host1".to_owned(),
            text: None,
            directory: directory.path().to_owned(),
            system_file: directory.path().join("etc.yaml"),
            needs: Needs::everything(),
        };
        Bench { directory, request }
    }

    /// The same bench with another configuration.
    fn with_text(self, text: &str) -> Bench {
        fs::write(self.directory.path().join("bridge.yaml"), text).unwrap();
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Bench {
        self.request.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    fn flag(mut self, path: &str, value: &str) -> Bench {
        self.request.overrides.push((path.to_owned(), value.to_owned()));
        self
    }

    fn needing(mut self, needs: Needs) -> Bench {
        self.request.needs = needs;
        self
    }

    /// A file beside the configuration; its path.
    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn config(&self) -> Config {
        load(&self.request).unwrap_or_else(|report| panic!("{report}"))
    }

    fn report(&self) -> Report {
        load(&self.request).expect_err("a report")
    }

    /// Each finding as `line:column key: problem`.
    fn findings(&self) -> Vec<String> {
        let place = |place: &Place| match place {
            Place::File { position, .. } => position.to_string(),
            Place::Variable(name) => name.clone(),
            Place::Flag(path) => format!("--{path}"),
            Place::Nowhere => "-".to_owned(),
        };
        let report = self.report();
        let lines = report.findings().iter();
        lines.map(|finding| format!("{} {}: {}", place(&finding.place), finding.key, finding.problem)).collect()
    }
}

/// The only finding of a text, as `line:column key: problem`, and the whole report.
fn only_finding(text: &str) -> (String, String) {
    let bench = Bench::new(text);
    let findings = bench.findings();
    assert_eq!(findings.len(), 1, "{text}\n{}", bench.report());
    (findings[0].clone(), bench.report().to_string())
}

fn assert_finding(text: &str, expected: &str) {
    assert_eq!(only_finding(text).0, expected, "{text}");
}
