//! The file system of a path.

use std::path::Path;

/// The type of the file system, as the kernel names it: `ext4`, `tmpfs`, `nfs4` …
pub(super) fn file_system_of(path: &Path) -> Option<String> {
    kind_in(&std::fs::read_to_string("/proc/self/mountinfo").ok()?, &path.canonicalize().ok()?)
}

/// The mount with the longest path that contains it; of two at one place, the later one hides the other.
fn kind_in(mounts: &str, path: &Path) -> Option<String> {
    let mount = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let place = before.split(' ').nth(4)?.replace("\\040", " ");
        let kind = after.split(' ').next()?.to_owned();
        path.starts_with(&place).then_some((place.len(), kind))
    };
    mounts.lines().filter_map(mount).max_by_key(|(len, _)| *len).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_and_latest_mount_counts() {
        let mounts = "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:2 / /var/lib rw shared:1 - xfs /dev/b rw\n\
                      3 1 0:3 / /var/lib\\040x rw - tmpfs none rw\n4 1 0:4 / /var/lib rw - nfs4 h:/x rw\n";
        let kind = |path: &str| kind_in(mounts, Path::new(path)).unwrap();
        assert_eq!(kind("/var/library"), "ext4");
        assert_eq!(kind("/var/lib/rowbridge"), "nfs4");
        assert_eq!(kind("/var/lib x/data"), "tmpfs");
    }
}
