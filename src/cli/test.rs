//! `rowbridge test`: golden tests.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{EXIT_FAILED, EXIT_USAGE, Layers, output};
use crate::config::Needs;
use crate::tools::explain::Tables;
use crate::tools::golden::{self, Outcome, Results, TestResult};

#[derive(Debug, Args)]
pub(super) struct TestArgs {
    /// Files of tests, or folders of them [default: tests/*.yaml beside bridge.yaml]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Rewrite what is expected where it differs; everything else of the files stays
    #[arg(long)]
    update: bool,
    /// Write the results as JUnit XML, too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(layers: &Layers, arguments: &TestArgs) -> ExitCode {
    output::has_verdict();
    let config = match layers.load(Needs::no_secrets()) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let usage = |error: String| {
        note!("rowbridge test: {error}");
        ExitCode::from(EXIT_USAGE)
    };
    let files = match golden::files(&arguments.files, config.file.as_deref()) {
        Ok(files) => files,
        Err(error) => return usage(error),
    };
    let tables = Tables::assumed(&config);
    let results = golden::run(&config, &tables, &files, arguments.update);
    if !results.mistakes.is_empty() {
        results.mistakes.iter().for_each(|mistake| note!("{mistake}"));
        let count = results.mistakes.len();
        return usage(format!("{count} mistake{} in the tests; nothing was run", if count == 1 { "" } else { "s" }));
    }
    if let Some(file) = &arguments.junit
        && let Err(error) = std::fs::write(file, golden::junit(&results))
    {
        return usage(format!("{}: {error}", file.display()));
    }
    if arguments.json {
        print_json(&results)
    } else {
        print(&results)
    }
    if results.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) }
}

fn print(results: &Results) {
    for file in &results.files {
        for test in &file.tests {
            let place = format!("{}:{}", file.path.display(), test.position.line);
            match &test.outcome {
                Outcome::Passed => say!("ok      {place}  {}", test.name),
                Outcome::Updated => say!("updated {place}  {}", test.name),
                Outcome::Failed(differences) => {
                    say!("FAILED  {place}  {}", test.name);
                    for line in differences.iter().flat_map(|difference| difference.lines()) {
                        say!("          {line}");
                    }
                }
            }
            for other in &test.unexpected {
                say!("          note: also {other}");
            }
        }
    }
    let count = |is: fn(&TestResult) -> bool| results.tests().filter(|test| is(test)).count();
    let passed = count(|test| test.outcome == Outcome::Passed);
    let updated = count(|test| test.outcome == Outcome::Updated);
    let updated = if updated == 0 { String::new() } else { format!(", {updated} updated") };
    say!("{passed} passed, {} failed{updated}", results.failed());
}

fn print_json(results: &Results) {
    let tests = results.files.iter().flat_map(|file| file.tests.iter().map(move |test| (file, test)));
    let tests: Vec<serde_json::Value> = tests
        .map(|(file, test)| {
            let (outcome, differences) = match &test.outcome {
                Outcome::Passed => ("passed", &[][..]),
                Outcome::Updated => ("updated", &[][..]),
                Outcome::Failed(differences) => ("failed", &differences[..]),
            };
            json!({
                "file": file.path.display().to_string(),
                "line": test.position.line,
                "name": test.name,
                "outcome": outcome,
                "differences": differences,
                "also": test.unexpected,
            })
        })
        .collect();
    let passed = results.tests().filter(|test| test.has_passed()).count();
    say!("{}", json!({ "passed": passed, "failed": results.failed(), "tests": tests }));
}
