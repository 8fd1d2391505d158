//! Since when a database has not been reached. This distinguishes a restored disk image from a database that is merely
//! ahead.
//!
//! A database cannot know messages that were journaled while no process was connected to it. So from the start of a
//! process until the first offset is read, `data_dir/unreached/NAME` holds the journal's end at that start:
//! `JOURNAL_ID SEQ`. The file outlives restarts in between, and is removed before the first write. An offset beyond
//! that number comes from another journal under the same id, of which this one is an older copy (J11 of the journal).

use std::io;
use std::path::{Path, PathBuf};

use crate::journal::{self, Fs};
use crate::journal_id::JournalId;
use crate::message::Seq;
use crate::remedy;
use crate::sink::{Class, SinkError};

const DIRECTORY: &str = "unreached";

/// The file of one database.
#[derive(Debug)]
pub(super) struct FirstContact {
    path: PathBuf,
    /// The file is gone for good.
    is_made: bool,
}

impl FirstContact {
    /// Returns the number beyond which the database cannot know a message, as long as it was not reached.
    ///
    /// `ids` are the journal's, newest last; `journal_end` is where it ended when this process began.
    pub(super) fn awaited(
        fs: &impl Fs,
        data_dir: &Path,
        database: &str,
        ids: &[(JournalId, Seq)],
        journal_end: Seq,
    ) -> (FirstContact, Seq) {
        let contact = FirstContact { path: data_dir.join(DIRECTORY).join(file_name(database)), is_made: false };
        let earlier = contact.read(fs).filter(|(id, _)| ids.iter().any(|(known, _)| known == id));
        if let Some((_, end)) = earlier {
            return (contact, end.min(journal_end));
        }
        let newest = ids.last().expect("a journal has an id").0;
        if let Err(error) = contact.write(fs, newest, journal_end) {
            // Costs nothing unless the data directory is also put back from an image before the database is reached.
            let path = contact.path.display();
            tracing::warn!(%path, %error, "cannot note that the database was not reached yet");
        }
        (contact, journal_end)
    }

    /// The offset was read. On an error nothing may be written to the database yet.
    pub(super) fn made(&mut self, fs: &impl Fs) -> io::Result<()> {
        if self.is_made {
            return Ok(());
        }
        match fs.remove(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        crash_point!("delivery.contact.made");
        // Also if the file is gone already: the attempt that removed it may have failed here, and a power cut would then
        // bring the file back.
        match fs.sync_dir(self.directory()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.is_made = true;
        Ok(())
    }

    /// Why nothing is delivered although the database was reached.
    pub(super) fn not_noted(&self, error: &io::Error) -> SinkError {
        SinkError {
            class: Class::Transient,
            code: "data_dir".to_owned(),
            message: format!("cannot note that the database was reached: removing {}: {error}", self.path.display()),
            advice: remedy::of_file(error),
        }
    }

    fn read(&self, fs: &impl Fs) -> Option<(JournalId, Seq)> {
        let text = String::from_utf8(journal::read_file(fs, &self.path).ok()?).ok()?;
        let (id, seq) = text.trim_end().split_once(' ')?;
        Some((id.parse().ok()?, Seq(seq.parse().ok()?)))
    }

    fn write(&self, fs: &impl Fs, journal: JournalId, end: Seq) -> io::Result<()> {
        fs.create_dir_all(self.directory())?;
        let text = format!("{journal} {end}\n");
        journal::replace_file(fs, &self.path, &self.path.with_extension("new"), text.as_bytes())
    }

    fn directory(&self) -> &Path {
        self.path.parent().expect("the path was joined from a directory and a name")
    }
}

/// The database's name, with everything but letters, digits, `-` and `_` as `%` and hexadecimal digits.
fn file_name(database: &str) -> String {
    let mut name = String::new();
    for byte in database.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            name.push(byte.into());
        } else {
            name.push_str(&format!("%{byte:02x}"));
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::journal::{RealFs, SimFault, SimFs};

    const OLD: JournalId = JournalId([1; 16]);
    const NEW: JournalId = JournalId([2; 16]);

    fn awaited(directory: &TempDir, ids: &[(JournalId, Seq)], end: u64) -> (FirstContact, Seq) {
        FirstContact::awaited(&RealFs, directory.path(), "a/b.c", ids, Seq(end))
    }

    #[test]
    fn the_first_of_several_starts_without_contact_counts() {
        let directory = TempDir::new().unwrap();
        let ids = [(OLD, Seq(1))];
        assert_eq!(awaited(&directory, &ids, 500).1, Seq(500));
        assert_eq!(awaited(&directory, &ids, 800).1, Seq(500));
        let (mut contact, _) = awaited(&directory, &[(OLD, Seq(1)), (NEW, Seq(600))], 900);
        contact.made(&RealFs).unwrap();
        contact.made(&RealFs).unwrap();
        assert_eq!(awaited(&directory, &ids, 900).1, Seq(900));
    }

    #[test]
    fn a_removal_that_failed_halfway_is_finished_before_anything_is_written() {
        let fs = SimFs::new(1);
        let directory = Path::new("data");
        let ids = [(OLD, Seq(1))];
        let (mut contact, _) = FirstContact::awaited(&fs, directory, "db", &ids, Seq(500));
        // The file is removed, the directory not synced.
        fs.fail_call(1, SimFault::Io);
        contact.made(&fs).unwrap_err();
        contact.made(&fs).unwrap();
        for seed in 0..20 {
            let known = FirstContact::awaited(&fs.crash(seed), directory, "db", &ids, Seq(900)).1;
            assert_eq!(known, Seq(900), "the file is back after power cut {seed}");
        }
    }

    #[test]
    fn what_another_journal_left_behind_says_nothing() {
        let directory = TempDir::new().unwrap();
        awaited(&directory, &[(OLD, Seq(1))], 500);
        assert_eq!(awaited(&directory, &[(NEW, Seq(1))], 700).1, Seq(700));
        std::fs::write(awaited(&directory, &[(NEW, Seq(1))], 700).0.path, "no such thing").unwrap();
        assert_eq!(awaited(&directory, &[(NEW, Seq(1))], 800).1, Seq(800));
    }

    #[test]
    fn a_database_s_name_cannot_leave_the_directory() {
        assert_eq!(file_name("../x"), "%2e%2e%2fx");
        assert_eq!(file_name("local_1-a"), "local_1-a");
    }
}
