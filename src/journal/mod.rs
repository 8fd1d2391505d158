//! The durable log between broker and databases.
//!
//! One thread writes ([`Journal::spawn`]); the session feeds it through an [`Intake`]; each database reads through a
//! [`Reader`] of its own. The directory listing is the only truth: no index, no cursor, no manifest.
//!
//! The disk is trusted with one thing: a write that a power cut interrupts damages no bytes but those it was to write
//! ("powersafe overwrite", which SQLite assumes too). Whatever else it does is detected by checksums, dense numbers, the
//! files' lengths and the marks at their ends.
//!
//! With `durability: delivered` the same journal lies in memory ([`MemoryFs`]) and ends with the process; a message is then
//! acknowledged once every database has it (`awaited.rs`).
//!
//! What can be known of messages that are gone without a damaged byte, in the newest segment alone:
//! - A cut or missing newest segment is always noticed, and how much it held is a guess (one message at least), unless the
//!   folder is as empty as a new one: with the id file gone too, only the databases' offset rows say so.
//! - What was there at the last orderly stop, and everything before the last commit group, is known to the message.
//! - After a crash the last commit group is known by itself alone. Damage to it looks like the write that the crash tore:
//!   the journal ends there, also where records of the same write follow (a copy of them is kept). It is told as a torn tail (WARN, counter, `verify`), not as a loss. If the bytes of the last groups read as
//!   zeros, or an older copy of the newest file stands in its place, nothing is left to be told here. A database that
//!   has the messages knows more (J11); no disk that holds one copy can.

mod active;
mod awaited;
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
pub use handle::{Entry, Journal, JournalError, JournalHandle, JournalStatus, Lost, OpenError, Watermark};
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
