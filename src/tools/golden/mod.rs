//! Golden tests: messages, and the rows that the rules should make of them. `rowbridge test` needs neither a broker nor
//! a database: tables are assumed from the rules, as in `explain --offline`.

mod file;
mod judge;
mod junit;
mod rewrite;
mod value;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use self::file::Test;
pub use self::junit::junit;
use crate::config::{Config, Finding, Place, Position};
use crate::message::{Message, Properties, Property, Qos, Seq};
use crate::tools::explain::{Explanation, Tables, explain};

/// Far above any file that people write.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The folder beside bridge.yaml that is looked through when no file is named.
pub const FOLDER: &str = "tests";

/// What became of all files.
#[derive(Debug, Default)]
pub struct Results {
    pub files: Vec<FileResults>,
    /// Files that are no tests: then nothing was run.
    pub mistakes: Vec<Finding>,
}

#[derive(Debug)]
pub struct FileResults {
    pub path: PathBuf,
    pub tests: Vec<TestResult>,
}

#[derive(Debug)]
pub struct TestResult {
    pub name: String,
    pub position: Position,
    pub outcome: Outcome,
    /// The results of other rules for the message.
    pub unexpected: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    /// It failed, and its `expect` was rewritten.
    Updated,
    /// What differs, each in a few lines.
    Failed(Vec<String>),
}

impl TestResult {
    pub fn has_passed(&self) -> bool {
        !matches!(self.outcome, Outcome::Failed(_))
    }
}

impl Results {
    pub fn tests(&self) -> impl Iterator<Item = &TestResult> {
        self.files.iter().flat_map(|file| &file.tests)
    }

    pub fn failed(&self) -> usize {
        self.tests().filter(|test| !test.has_passed()).count()
    }
}

/// The files of tests: the named ones, a directory's `*.yaml` and `*.yml`, and without any name those of the directory
/// [`FOLDER`] beside the configuration. The error is a sentence.
pub fn files(named: &[PathBuf], configuration: Option<&Path>) -> Result<Vec<PathBuf>, String> {
    if !named.is_empty() {
        let mut files = Vec::new();
        for path in named {
            if path.is_dir() { files.extend(within(path)?) } else { files.push(path.clone()) }
        }
        return Ok(files);
    }
    let beside = configuration.and_then(Path::parent).unwrap_or(Path::new("")).join(FOLDER);
    within(&beside).map_err(|error| format!("{error}; name the files: rowbridge test FILE…"))
}

fn within(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error: io::Error| format!("{}: {error}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() { Err(format!("{} holds no *.yaml", folder.display())) } else { Ok(files) }
}

/// Runs all tests of these files; with `update`, those that fail are rewritten to expect what was found.
pub fn run(config: &Config, tables: &[Tables], files: &[PathBuf], update: bool) -> Results {
    let mut results = Results::default();
    let mut read = Vec::new();
    for path in files {
        match read_file(path).and_then(|text| Ok((file::read(path, &text)?, text))) {
            Ok((tests, text)) => read.push((path, tests, text)),
            Err(findings) => results.mistakes.extend(findings),
        }
    }
    if !results.mistakes.is_empty() {
        return results;
    }
    for (path, tests, text) in read {
        let mut file = FileResults { path: path.clone(), tests: Vec::new() };
        let mut to_update = Vec::new();
        for (index, test) in tests.iter().enumerate() {
            let found = outcome_of(config, tables, test);
            let differences = judge::judge(test, &found);
            let outcome = if differences.is_empty() { Outcome::Passed } else { Outcome::Failed(differences) };
            let unexpected = judge::unexpected(test, &found);
            if update && outcome != Outcome::Passed {
                to_update.push((index, found));
            }
            file.tests.push(TestResult { name: test.name.clone(), position: test.position, outcome, unexpected });
        }
        if !to_update.is_empty() {
            rewrite_file(path, text, &tests, &to_update, &mut file.tests);
        }
        results.files.push(file);
    }
    results
}

/// Rewrites the tests with what was found of each, the last one first, so that the places of the others stay right.
fn rewrite_file(path: &Path, text: String, tests: &[Test], found: &[(usize, Explanation)], results: &mut [TestResult]) {
    let mut rewritten = text;
    for (index, found) in found.iter().rev() {
        match rewrite::rewrite(&rewritten, &tests[*index], found) {
            Ok(text) => {
                rewritten = text;
                results[*index].outcome = Outcome::Updated;
            }
            Err(why) => results[*index].add(format!("not updated: {why}")),
        }
    }
    let is_updated = |result: &TestResult| result.outcome == Outcome::Updated;
    // What was written must mean what was found, and nothing else another thing than before; a file of a form that is not
    // understood is left alone.
    let is_right = |now: &[Test]| {
        let mut updated = found.iter().filter(|(index, _)| is_updated(&results[*index]));
        now.len() == tests.len()
            && now.iter().zip(tests).all(|(now, before)| now.has_message_of(before))
            && updated.all(|(index, found)| judge::judge(&now[*index], found).is_empty())
    };
    let written = match file::read(path, &rewritten) {
        Ok(now) if is_right(&now) => {
            fs::write(path, &rewritten).map_err(|error| format!("not updated: {}: {error}", path.display()))
        }
        _ => Err("not updated: the file is of a form that cannot be rewritten; correct `expect` by hand".to_owned()),
    };
    if let Err(why) = written {
        for result in results.iter_mut().filter(|result| is_updated(result)) {
            result.outcome = Outcome::Failed(vec![why.clone()]);
        }
    }
}

impl TestResult {
    fn add(&mut self, words: String) {
        if let Outcome::Failed(differences) = &mut self.outcome {
            differences.push(words);
        }
    }
}

fn read_file(path: &Path) -> Result<String, Vec<Finding>> {
    let fail = |problem: String| {
        let position = Position { line: 1, column: 1 };
        let place = Place::File { file: path.to_owned(), position };
        vec![Finding { place, key: String::new(), problem, excerpt: None, accepted: None, suggestion: None }]
    };
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX => Err(fail("is larger than 64 MiB".to_owned())),
        _ => fs::read_to_string(path).map_err(|error| fail(format!("cannot be read: {error}"))),
    }
}

fn outcome_of(config: &Config, tables: &[Tables], test: &Test) -> Explanation {
    let mut properties = Vec::new();
    for (key, value) in &test.properties {
        Property::User(key.as_bytes(), value.as_bytes()).encode(&mut properties);
    }
    if let Some(content_type) = &test.content_type {
        Property::ContentType(content_type.as_bytes()).encode(&mut properties);
    }
    let message = Message {
        topic: &test.topic,
        payload: &test.payload,
        qos: Qos::from_level(test.qos).unwrap_or(Qos::AtLeastOnce),
        retain: test.retain,
        dup: false,
        properties: Properties::from_encoded(&properties),
        received_at: test.received_at,
        fault: None,
        seq: Seq::FIRST,
    };
    explain(config, tables, &message)
}
