//! The functions that fuzz targets call. A violated property is a panic.

use std::path::PathBuf;

use super::*;
use crate::journal::record::{self, RECORD_HEADER_LEN, RecordHeader};

/// Bytes of files that one input may bring; a larger input is ignored.
const DIRECTORY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// F1: opens a journal over a directory of arbitrary files, given as names and contents. It never panics, reads every
/// number up to its end once, as a message or as lost, takes a new message, and says the same when it is opened again.
/// `halt` never changes a file that it refuses.
pub fn recover_directory(files: &[(String, Vec<u8>)]) {
    if files.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() > DIRECTORY_BYTES_MAX {
        return;
    }
    let fs = SimFs::new(1);
    for (name, bytes) in files {
        // A name is one name, not a way out of the directory.
        let name: String = name.chars().filter(|&c| c != '/' && c != '\0').collect();
        if !name.is_empty() && name != "." && name != ".." {
            fs.put(&data_dir().join("journal").join(name), bytes);
        }
    }
    refuses_or_opens(&fs);
    check_recovery(&fs);
}

/// `halt` opens what is sound, and leaves the rest as it is.
fn refuses_or_opens(fs: &SimFs) {
    let fs = fs.kill();
    let halting = config::Journal { on_corruption: Corruption::Halt, ..config() };
    let segments = |fs: &SimFs| -> Vec<(PathBuf, u64)> {
        fs.files().into_iter().filter(|(path, _)| segment::base_of(path).is_some()).collect()
    };
    let before = segments(&fs);
    if let Err(OpenError::Damaged { .. }) = Life::try_begin(&fs, &halting) {
        assert_eq!(segments(&fs), before, "halt changed what it refused");
    }
}

fn check_recovery(fs: &SimFs) {
    let _ = inspect::verify(fs, data_dir(), &mut |_| {});
    let _ = inspect::status(fs, data_dir());
    if let Ok(mut dump) = inspect::dump(fs, data_dir(), Seq(1)) {
        loop {
            match dump.next() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                // A whole header of a version that is not known.
                Err(inspect::InspectError::Io { source, .. }) if source.kind() == std::io::ErrorKind::Unsupported => {
                    break;
                }
                Err(error) => panic!("dump: {error}"),
            }
        }
    }
    let mut life = match Life::try_begin(fs, &config()) {
        Ok(life) => life,
        // A whole header of a version that is not known.
        Err(OpenError::Io { source, .. }) if source.kind() == std::io::ErrorKind::Unsupported => return,
        Err(error) => panic!("quarantine did not open: {error}"),
    };
    let Some(entries) = read_to_the_end(&life) else { return };
    let mut expected = life.handle.status().oldest_seq.0;
    for entry in &entries {
        let (from, to) = match *entry {
            Got::Message(seq, _) => (seq, seq + 1),
            Got::Lost(from, to) => (from, to),
        };
        assert!(from == expected && from < to, "{from}..{to} where {expected} was due");
        expected = to;
    }
    assert_eq!(expected, life.handle.status().next_seq.0, "not read to the end");
    let again = Life::begin(&fs.crash(1), &config());
    assert_eq!(read_to_the_end(&again), Some(entries), "another start says something else");
    drop(again);
    life.commit(b"goes on");
}

/// `None` if a sealed segment is of a version that is not known, which readers wait over.
fn read_to_the_end(life: &Life) -> Option<Vec<Got>> {
    let mut reader = life.handle.reader();
    let mut entries = Vec::new();
    loop {
        match reader.next() {
            Ok(Some(entry)) => entries.push(got(entry)),
            Ok(None) => return Some(entries),
            Err(error) if error.source.kind() == std::io::ErrorKind::Unsupported => return None,
            Err(error) => panic!("{error}"),
        }
    }
}

/// F2: decodes bytes as a record, and encodes a message of them, which must come back.
pub fn decode_record(bytes: &[u8]) {
    if let Some(header) = bytes.first_chunk::<RECORD_HEADER_LEN>().and_then(RecordHeader::parse) {
        let rest = &bytes[RECORD_HEADER_LEN..];
        assert!(header.record_len() >= RECORD_HEADER_LEN as u64 + u64::from(header.len));
        let _ = header.following_seq(rest);
        let _ = record::release_body(rest).count();
        if let Some((_, body)) = record::message_body(header.flags, rest)
            && let Ok(message) = Message::decode(header.seq, header.flags & record::MESSAGE_FLAGS, body)
        {
            let mut encoded = Vec::new();
            message.encode(&mut encoded);
            assert_eq!(Message::decode(header.seq, message.flags(), &encoded).as_ref(), Ok(&message));
        }
    }
    let mut staged = Vec::new();
    record::stage_message(&mut staged, &message(bytes), None);
    record::seal(&mut staged, Seq(7), 3, record::seed(9));
    let header = staged.first_chunk().and_then(RecordHeader::parse).expect("it was just made");
    assert_eq!(header.crc, record::checksum(record::seed(9), &staged));
    let read = Message::decode(Seq(7), header.flags & record::MESSAGE_FLAGS, record::body(&staged)).unwrap();
    assert_eq!(read.payload, bytes);
}

/// F3: a journal whose content the first bytes choose, and local changes that the others make, against the reference.
pub fn mutate_and_compare(bytes: &[u8]) {
    let mut choices = Choices::scripted(bytes);
    let written = damaged::write(1, &mut choices);
    while !choices.is_exhausted() {
        damaged::damage(&written, &mut choices);
    }
    let bytes = damaged::files(&written.fs).into_iter();
    let certain = reference::certain(&bytes.map(|(path, bytes)| (segment::name_of(&path), bytes)).collect::<Vec<_>>());
    refuses_or_opens(&written.fs);
    let life = Life::begin(&written.fs.kill(), &written.config);
    let entries = read_to_the_end(&life).expect("no other version was written");
    for (seq, payload) in certain {
        assert!(entries.contains(&Got::Message(seq, payload)), "{seq} is whole and does not come back");
    }
    for entry in &entries {
        assert!(matches!(entry, Got::Lost(..)) || written.entries.contains(entry), "{entry:?} was never written");
    }
    check_recovery(&written.fs.kill());
}

/// F4: the bytes are the decisions of one simulation, crashes and failing calls among them.
pub fn run_script(bytes: &[u8]) {
    let mut choices = Choices::scripted(bytes);
    let mode = Mode { faults: choices.once_in(2), rot: choices.once_in(4), lies: false };
    World::begin(1, choices).run(mode);
}
