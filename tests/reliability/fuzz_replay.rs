//! Every seed and every finding of the fuzz targets (`fuzz/`), through the same functions, with the stable toolchain.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

#[path = "../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, dead_code, reason = "a crate of its own in fuzz/, of which only `check` is used here")]
mod fuzz;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Runs every file of `folder` and returns how many there are.
fn replay(target: &str, folder: &Path) -> usize {
    let files = names(folder);
    for name in &files {
        let path = folder.join(name);
        let bytes = fs::read(&path).unwrap();
        let run = catch_unwind(AssertUnwindSafe(|| fuzz::check(target, &bytes)));
        assert!(run.is_ok(), "fuzz target {target} fails on {}", path.display());
    }
    files.len()
}

#[test]
fn every_seed_of_every_fuzz_target_passes() {
    let targets = names(&folder("targets"));
    let seeds = names(&folder("seeds"));
    assert_eq!(targets, seeds.iter().map(|target| format!("{target}.rs")).collect(), "each target has seeds");
    assert!(!seeds.is_empty());
    for target in &seeds {
        assert!(replay(target, &folder("seeds").join(target)) > 0, "{target} has no seeds");
    }
}

#[test]
fn nothing_that_fuzzing_found_comes_back() {
    let targets = names(&folder("regressions"));
    let count: usize = targets.iter().map(|target| replay(target, &folder("regressions").join(target))).sum();
    assert!(count > 0, "no finding is kept");
}
