//! The order of the modules: ARCHITECTURE.md has it, and the source keeps to it.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// The rank of each module in ARCHITECTURE.md's table, the top one first. Modules of one row have the same.
fn ranks(architecture: &str) -> HashMap<String, usize> {
    let rows = architecture.lines().skip_while(|line| !line.starts_with("| module |")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let names = rows.enumerate().flat_map(|(rank, row)| {
        let cell = row.split('|').nth(1).unwrap_or_default();
        let names = cell.split('`').skip(1).step_by(2);
        names.map(move |name| (name.trim_end_matches('/').trim_end_matches(".rs").to_owned(), rank))
    });
    names.collect()
}

/// The lines of a file that are no comment and in no test.
fn product_lines(text: &str) -> Vec<&str> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut lines = Vec::new();
    let mut is_skipped = false;
    for line in text.lines() {
        let code = line.trim_start();
        if !is_skipped && !code.starts_with("//") {
            lines.push(code);
        }
        // The item behind it is one line everywhere.
        is_skipped = code.starts_with("#[cfg(test)]") || code.starts_with("#[cfg(any(test");
    }
    lines
}

/// The modules of this crate that a line names.
fn named(line: &str) -> impl Iterator<Item = &str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    line.split("crate::").skip(1).map(move |rest| rest.split(|c: char| !is_name(c)).next().unwrap_or_default())
}

fn files(folder: &Path, visit: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "tests" {
            files(&path, visit);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            visit(&path);
        }
    }
}

#[test]
fn modules_use_only_those_below_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ranks = ranks(&fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap());
    let (mut wrong, mut uses) = (Vec::new(), 0);
    files(&root.join("src"), &mut |path| {
        let within = path.strip_prefix(root.join("src")).unwrap();
        let module = within.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if module == "lib" {
            return;
        }
        let Some(rank) = ranks.get(module) else {
            wrong.push(format!("{module} is not in the table"));
            return;
        };
        let text = fs::read_to_string(path).unwrap();
        for used in product_lines(&text).into_iter().flat_map(named).filter(|used| *used != module) {
            uses += 1;
            // What is no module is a macro.
            if ranks.get(used).is_some_and(|used| used <= rank) {
                wrong.push(format!("{}: {module} uses {used}, which does not stand below it", within.display()));
            }
        }
    });
    assert!(uses > 200, "only {uses} uses were found");
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn a_use_of_what_stands_above_is_seen() {
    let ranks = ranks("| module | holds |\n|---|---|\n| `a/` | |\n| `b.rs`, `c/` | |\n\n| `d/` | |\n");
    let expected = [("a", 0), ("b", 1), ("c", 1)].map(|(name, rank)| (name.to_owned(), rank));
    assert_eq!(ranks, HashMap::from(expected));
    let text = "use crate::a::X;\n// crate::b\n#[cfg(test)]\nuse crate::c;\nfn f() { crate::d::g(); }\n#[cfg(test)]\nmod tests {\nuse crate::e;";
    let used: Vec<&str> = product_lines(text).into_iter().flat_map(named).collect();
    assert_eq!(used, ["a", "d"]);
}
