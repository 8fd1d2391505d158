//! Every directory under examples/ is a configuration that is right and whose golden tests pass.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::bridge::Bridge;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// The directories, by name.
fn examples() -> BTreeMap<String, PathBuf> {
    let directories = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    directories.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), path)).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_example_is_right_and_passes_its_golden_tests() {
    let examples = examples();
    assert!(!examples.is_empty(), "there are no examples in {}", folder().display());
    let list = read(&folder().join("README.md"));
    let mut faults = Vec::new();
    for (name, path) in &examples {
        assert!(list.contains(&format!("({name}/)")), "examples/README.md does not list {name}");
        assert!(read(&path.join("README.md")).starts_with("# "), "{name}/README.md has no title");
        // A copy, so that nothing is left in the source.
        let bridge = Bridge::bare(&read(&path.join("bridge.yaml")));
        fs::create_dir(bridge.path("tests")).unwrap();
        for beside in [path.clone(), path.join("tests")] {
            for file in fs::read_dir(&beside).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file())
            {
                fs::copy(&file, bridge.path(file.strip_prefix(path).unwrap().to_str().unwrap())).unwrap();
            }
        }
        for arguments in [&["check", "--offline"][..], &["test"]] {
            let output = bridge.command(arguments);
            if !output.status.success() {
                let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                faults.push(format!("{name}: {}\n{}", arguments.join(" "), said.concat()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
