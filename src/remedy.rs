//! Remedies for errors of the operating system, in one table, so that a lack of file descriptors is not reported as a
//! full disk.

use std::io;

use rustix::io::Errno;

const FILES_OF_PROCESS: &str = "too many files are open in this process: raise its limit (systemd: LimitNOFILE=, a shell: \
                                ulimit -n)";
const FILES_OF_MACHINE: &str = "too many files are open on this machine: raise fs.file-max, or find the process that \
                                holds them";

/// Of a file whose format this program does not know.
const OTHER_FORMAT: &str = "another version of Rowbridge made it: run that one until nothing is pending, stop it, and remove \
                            the journal's folder; or name another data_dir";

/// What helps against the error of a file or directory.
pub(crate) fn of_file(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::NOSPC | Errno::DQUOT) => "make room on the disk, or raise the quota",
        Some(Errno::ACCESS | Errno::PERM) => "give the bridge's user the right to read and write there",
        Some(Errno::ROFS) => "the file system is read-only: mount it for writing, or set another data_dir",
        Some(Errno::IO) => "the disk fails: look at the kernel's log",
        Some(Errno::NOENT | Errno::NOTDIR | Errno::ISDIR | Errno::NAMETOOLONG | Errno::LOOP) => {
            "the path is not what it should be: look at what lies there"
        }
        // Ours: the operating system's has a number.
        None if error.kind() == io::ErrorKind::Unsupported => OTHER_FORMAT,
        _ => of_descriptors(error).unwrap_or("look at the path, the bridge's rights there, and the disk"),
    }
}

/// The remedy for a lack of file descriptors, whatever they were needed for.
pub(crate) fn of_descriptors(error: &io::Error) -> Option<&'static str> {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => Some(FILES_OF_PROCESS),
        Some(Errno::NFILE) => Some(FILES_OF_MACHINE),
        _ => None,
    }
}

/// Whether file descriptors are lacking now: for libraries that do not tell why they could not open a file.
pub(crate) fn lack_of_descriptors() -> Option<&'static str> {
    of_descriptors(&std::fs::File::open("/").err()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_a_remedy_of_its_own() {
        for (errno, words) in [
            (Errno::NOSPC, "room on the disk"),
            (Errno::MFILE, "LimitNOFILE"),
            (Errno::NFILE, "fs.file-max"),
            (Errno::ACCESS, "right"),
            (Errno::ROFS, "mount"),
            (Errno::IO, "kernel's log"),
            (Errno::ISDIR, "path"),
            (Errno::INTR, "look at"),
        ] {
            let remedy = of_file(&errno.into());
            assert!(remedy.contains(words), "{errno}: {remedy}");
            assert_eq!(remedy.contains("room"), errno == Errno::NOSPC, "{errno}: {remedy}");
        }
        assert!(of_file(&io::ErrorKind::Unsupported.into()).contains("another version"));
        assert_eq!(lack_of_descriptors(), None);
    }
}
