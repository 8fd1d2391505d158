//! The durable log between broker and databases.
//!
//! One thread writes ([`Journal::spawn`]); the session feeds it through an [`Intake`]; each database reads through a
//! [`Reader`] of its own. The directory listing is the only truth: no index, no cursor, no manifest.
//!
//! The disk is trusted with one thing: a write that a power cut interrupts damages no bytes but those it was to write
//! ("powersafe overwrite", which SQLite assumes too). Whatever else it does is detected by checksums and dense numbers.

mod events;
mod fs;
mod handle;
mod id;
mod id_file;
pub mod inspect;
mod intake;
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
#[cfg(test)]
mod tests;
mod writer;

pub use fs::{Fs, FsFile};
pub(crate) use fs::{read_file, replace_file};
pub use handle::{Entry, Journal, JournalError, JournalHandle, JournalStatus, Lost, OpenError, Watermark};
pub use id::{JournalId, JournalIdError};
pub use intake::Intake;
pub use qos2::{Qos2Table, Qos2Verdict};
pub use reader::Reader;
pub use real_fs::RealFs;
#[cfg(any(test, feature = "fault-injection"))]
pub use sim_fs::{SimFault, SimFs};
#[cfg(test)]
pub(crate) use writer::{Step, Writer};
