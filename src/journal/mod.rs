//! The durable log between broker and databases.
//!
//! One thread writes ([`Journal::spawn`]). The session submits records through an [`Intake`]; each database reads
//! through a [`Reader`] of its own. The directory listing is the only index: there is no cursor file and no manifest.
//!
//! The code refers to these invariants by number:
//!
//! - J1: a message is acknowledged only after the fdatasync that covers it. With `durability` as a duration this is
//!   given up.
//! - J2: group commit. Messages that arrive during an fdatasync form the next group.
//! - J3: rotation syncs the old segment, then creates, preallocates and syncs the new one and its directory, then
//!   writes.
//! - J4: a torn tail exists only in the newest segment, behind the last valid record. It is zeroed and synced before
//!   anything else.
//! - J5: damage anywhere else is never cut silently. The bytes are copied to the quarantine directory, and the lost
//!   sequence numbers are reported.
//! - J6: after a failed write or fsync the file handle is not used again. The journal is reopened through recovery; an
//!   fsync is never repeated.
//! - J7: segments are preallocated, so a full disk shows at rotation.
//! - J8: a segment is removed only if every database has committed all of its messages.
//! - J9: recovery is a function of the bytes alone. It can be repeated, is bounded in time and memory, and never
//!   panics.
//! - J10: the directory is synced after each create, rename and unlink.
//! - J11: a reader returns durable records only, so no database's offset can pass the disk. If a database still knows
//!   numbers that this journal never assigned (a restored disk image), the journal gets a new id, reported at ERROR.
//! - J12: a database without an offset row starts at the journal's oldest record.
//!
//! The journal trusts the disk in one point: a write that a power cut interrupts damages only the bytes that it was to
//! write ("powersafe overwrite", which SQLite assumes too). Every other fault is detected by checksums, dense numbers,
//! the files' lengths and the marks at their ends.
//!
//! With `durability: delivered` the same journal is in memory ([`MemoryFs`]) and ends with the process. A message is
//! then acknowledged once every database has committed it (`awaited.rs`).
//!
//! Messages can be missing without a damaged byte only in the newest segment. How much is then known:
//! - A cut or missing newest segment is always noticed, but not how many messages it held (at least one is reported).
//!   An empty directory without the id file looks like a new journal; only the databases' offset rows show the loss.
//! - Everything before the last commit group, and everything at the last orderly stop, is known to the message.
//! - After a crash only the last commit group itself proves that it exists. Damage to it looks like the write that the
//!   crash tore: the journal ends there, even if records of the same write follow (a copy of them is kept). This is
//!   reported as a torn tail (WARN, counter, `verify`), not as a loss. If the bytes of the last groups read as zeros,
//!   or an older copy of the newest file replaces it, the journal cannot notice. A database that has the messages knows
//!   more (J11); no single copy on a disk can.

mod active;
mod awaited;
mod dropping;
mod events;
mod fs;
mod handle;
mod id_file;
pub mod inspect;
mod intake;
mod lock_file;
mod memory_fs;
mod numbering;
mod pace;
#[cfg(any(test, feature = "fault-injection"))]
mod proof;
mod qos2;
mod quarantine;
mod reader;
mod real_fs;
mod record;
mod recovery;
mod reopen;
mod replay;
mod retention;
mod rotation;
mod scan;
mod segment;
mod shared;
#[cfg(any(test, feature = "fault-injection"))]
mod sim_fs;
mod storage;
#[cfg(test)]
mod tests;
mod trailer;
mod writer;

pub use fs::{Fs, FsFile};
pub(crate) use fs::{read_file, replace_file};
pub use handle::{DIRECTORY, Entry, Journal, JournalError, JournalHandle, JournalStatus, Lost, OpenError, Watermark};
pub use intake::Intake;
pub use memory_fs::MemoryFs;
#[cfg(any(test, feature = "fault-injection"))]
pub use proof::fuzzing;
pub use qos2::{Qos2Table, Qos2Verdict};
pub use reader::Reader;
pub use real_fs::RealFs;
#[cfg(any(test, feature = "fault-injection"))]
pub use sim_fs::{SimFault, SimFs};
pub use storage::{Places, Storage};
#[cfg(test)]
pub(crate) use writer::{Step, Writer};
