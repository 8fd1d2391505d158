//! Since when a database has not been reached: what tells a restored disk image from a database that is merely ahead.
//!
//! A database cannot know messages that were journaled while nobody spoke to it. So from the start of a process until
//! the first offset is read, `data_dir/unreached/NAME` holds where the journal ended when that began: `JOURNAL_ID SEQ`.
//! It outlives restarts in between, and is removed before the first write. An offset beyond that number was made by
//! another journal under the same id: one that this one is an older copy of (DESIGN J11).

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::journal::JournalId;
use crate::message::Seq;
use crate::sink::{Class, SinkError};

const DIRECTORY: &str = "unreached";

/// The file of one database.
#[derive(Debug)]
pub(super) struct FirstContact {
    path: PathBuf,
}

impl FirstContact {
    /// Returns the number beyond which the database cannot know a message, as long as it was not reached.
    ///
    /// `ids` are the journal's, newest last; `journal_end` is where it ended when this process began.
    pub(super) fn awaited(
        data_dir: &Path,
        database: &str,
        ids: &[(JournalId, Seq)],
        journal_end: Seq,
    ) -> (FirstContact, Seq) {
        let contact = FirstContact { path: data_dir.join(DIRECTORY).join(file_name(database)) };
        let earlier = contact.read().filter(|(id, _)| ids.iter().any(|(known, _)| known == id));
        if let Some((_, end)) = earlier {
            return (contact, end.min(journal_end));
        }
        let newest = ids.last().expect("a journal has an id").0;
        if let Err(error) = contact.write(newest, journal_end) {
            // Costs nothing unless the data directory is also put back from an image before the database is reached.
            let path = contact.path.display();
            tracing::warn!(%path, %error, "cannot note that the database was not reached yet");
        }
        (contact, journal_end)
    }

    /// The offset was read. On an error nothing may be written to the database yet.
    pub(super) fn made(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed?,
        }
        crash_point!("delivery.contact.made");
        self.sync_directory()
    }

    /// Why nothing is delivered although the database was reached.
    pub(super) fn not_noted(&self, error: &io::Error) -> SinkError {
        SinkError {
            class: Class::Transient,
            code: "data_dir".to_owned(),
            message: format!("cannot note that the database was reached: removing {}: {error}", self.path.display()),
            advice: "look at the disk that holds data_dir; delivery tries again by itself",
        }
    }

    fn read(&self) -> Option<(JournalId, Seq)> {
        let text = fs::read_to_string(&self.path).ok()?;
        let (id, seq) = text.trim_end().split_once(' ')?;
        Some((id.parse().ok()?, Seq(seq.parse().ok()?)))
    }

    fn write(&self, journal: JournalId, end: Seq) -> io::Result<()> {
        fs::create_dir_all(self.directory())?;
        let unfinished = self.path.with_extension("new");
        let mut file = File::create(&unfinished)?;
        file.write_all(format!("{journal} {end}\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, &self.path)?;
        crash_point!("delivery.contact.noted");
        self.sync_directory()
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(self.directory())?.sync_all()
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

    const OLD: JournalId = JournalId([1; 16]);
    const NEW: JournalId = JournalId([2; 16]);

    fn awaited(directory: &TempDir, ids: &[(JournalId, Seq)], end: u64) -> (FirstContact, Seq) {
        FirstContact::awaited(directory.path(), "a/b.c", ids, Seq(end))
    }

    #[test]
    fn the_first_of_several_starts_without_contact_counts() {
        let directory = TempDir::new().unwrap();
        let ids = [(OLD, Seq(1))];
        assert_eq!(awaited(&directory, &ids, 500).1, Seq(500));
        assert_eq!(awaited(&directory, &ids, 800).1, Seq(500));
        let (contact, _) = awaited(&directory, &[(OLD, Seq(1)), (NEW, Seq(600))], 900);
        contact.made().unwrap();
        contact.made().unwrap();
        assert_eq!(awaited(&directory, &ids, 900).1, Seq(900));
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
