//! The JSON Schema of `rowbridge schema config`, as an editor applies it: it takes every configuration of this repository, and
//! finds the mistake of each file in tests/data/broken. `rowbridge check --offline` agrees about all of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::bridge::Bridge;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(here(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The first mistake that the schema finds in each file, by Python's jsonschema, which knows nothing of ours.
fn validated(files: &[PathBuf]) -> BTreeMap<PathBuf, Option<String>> {
    let bridge = Bridge::bare("");
    let schema = bridge.path("schema.json");
    fs::write(&schema, bridge.command(&["schema", "config"]).stdout).unwrap();
    // Debian's own, which scripts/test installs the modules for; another one in PATH may lack them.
    let mut python = Command::new("/usr/bin/python3");
    let output = python.arg(here("tests/data/validate.py")).arg(schema).args(files).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_schema_takes_every_configuration_of_the_repository() {
    let mut right: Vec<PathBuf> = files("examples").into_iter().map(|folder| folder.join("bridge.yaml")).collect();
    right.retain(|path| path.exists());
    right.extend([here("bridge.yaml"), here("deploy/bridge.yaml")]);
    assert!(right.len() > 10, "{right:?}");
    let refused: Vec<_> = validated(&right).into_iter().filter(|(_, mistake)| mistake.is_some()).collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn the_schema_and_check_both_find_the_mistake_of_each_broken_file() {
    let broken = files("tests/data/broken");
    assert!(broken.len() >= 50, "{} broken files", broken.len());
    let missed: Vec<_> = validated(&broken).into_iter().filter(|(_, mistake)| mistake.is_none()).collect();
    assert!(missed.is_empty(), "the schema takes {missed:#?}");
    for path in broken {
        let name = path.display();
        let bridge = Bridge::bare(&fs::read_to_string(&path).unwrap());
        let output = bridge.command(&["check", "--offline"]);
        let report = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(2), "{name}: {report}");
        let findings = report.matches("bridge.yaml:").count();
        assert_eq!(findings, 1, "{name} is one mistake: {report}");
        // The same file without it is right: nothing else was refused in its place.
        assert!(report.ends_with("1 mistake in the configuration\n"), "{name}: {report}");
    }
}
