//! Files that match a path in which `*` matches any characters of a name.

use std::io;
use std::path::{Component, Path, PathBuf};

use crate::rule::fits_stars;

/// So many files may one pattern name: above ten thousand rules with a file for each, below a folder that is not meant.
const FILES_MAX: usize = 20_000;

/// Where rules are besides in bridge.yaml.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleFiles {
    /// With their stars.
    pub(super) patterns: Vec<PathBuf>,
}

impl RuleFiles {
    /// The files that there are now, in the order in which they are read.
    pub fn list(&self) -> Vec<PathBuf> {
        self.patterns.iter().flat_map(|pattern| files(pattern).unwrap_or_default()).collect()
    }
}

/// What kept files from being found: the folder, and why.
#[derive(Debug)]
pub(super) struct Unlisted {
    pub folder: PathBuf,
    pub why: String,
}

pub(super) fn has_wildcard(pattern: &Path) -> bool {
    pattern.as_os_str().as_encoded_bytes().contains(&b'*')
}

/// The files of a pattern, in the order of their names. A path without `*` is itself, whether the file exists or not. As in
/// a shell, `*` takes no name that begins with a dot. A folder that does not exist holds no files.
pub(super) fn files(pattern: &Path) -> Result<Vec<PathBuf>, Unlisted> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        match component {
            Component::Normal(name) if has_wildcard(name.as_ref()) => {
                let pattern = name.to_string_lossy();
                let mut below = Vec::new();
                for folder in &found {
                    let fail = |why| Unlisted { folder: folder.clone(), why };
                    below.extend(names_in(folder, &pattern).map_err(|error| fail(error.to_string()))?);
                    if below.len() > FILES_MAX {
                        return Err(fail(format!("more than {FILES_MAX} files fit")));
                    }
                }
                found = below;
            }
            component => found.iter_mut().for_each(|path| path.push(component)),
        }
    }
    if has_wildcard(pattern) {
        // A pipe would be waited for. A link that leads nowhere stays: that it cannot be read is worth a message.
        found.retain(|path| {
            path.is_file() || path.symlink_metadata().is_ok_and(|link| link.is_symlink() && !path.exists())
        });
    }
    Ok(found)
}

/// The entries of a directory whose names match.
fn names_in(folder: &Path, pattern: &str) -> io::Result<Vec<PathBuf>> {
    let shown = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = match shown.read_dir() {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        if fits_stars(pattern, &text) && (!text.starts_with('.') || pattern.starts_with('.')) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names.iter().map(|name| folder.join(name)).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn stars_stand_for_names_in_each_part_and_files_come_in_order() {
        let directory = TempDir::new().unwrap();
        for file in ["b/rules.yaml", "a/rules.yaml", "a/other.yaml", "a/.hidden.yaml", "a/x.yaml~", "c/x.yaml/y"] {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let found = |pattern: &str| {
            let found = files(&directory.path().join(pattern)).unwrap();
            let names = found.iter().map(|path| path.strip_prefix(directory.path()).unwrap().display().to_string());
            names.collect::<Vec<_>>()
        };
        assert_eq!(found("*/rules.yaml"), ["a/rules.yaml", "b/rules.yaml"]);
        assert_eq!(found("a/*.yaml"), ["a/other.yaml", "a/rules.yaml"]);
        assert_eq!(found("c/*"), Vec::<String>::new(), "a folder is no file");
        assert_eq!(found("d/*"), Vec::<String>::new());
        assert_eq!(found("d/e.yaml"), ["d/e.yaml"]);
    }
}
