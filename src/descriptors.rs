//! The limit of open files. Sockets, the journal's segments and the databases share it.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft limit to the hard one, which is what the machine's owner allows, and returns it. The usual soft limit
/// of 1024 is for programs that use select(2), which cannot count further.
pub(crate) fn raise_limit() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        // What a sandbox does not allow stays as it is.
        let _ = setrlimit(Resource::Nofile, limit);
    }
    self::limit()
}

/// The limit in force.
pub(crate) fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many are open now; `None` where the system does not tell.
pub(crate) fn open() -> Option<u64> {
    let entries = std::fs::read_dir("/proc/self/fd").ok()?;
    // One of them reads the directory.
    Some(entries.count().saturating_sub(1) as u64)
}
