//! The durable log between broker and databases.
//!
//! One thread writes ([`Journal::spawn`]); the session feeds it through an [`Intake`]; each database reads through a
//! [`Reader`] of its own. The directory listing is the only truth: no index, no cursor, no manifest.

mod fs;
mod handle;
mod id;
mod qos2;

pub use fs::{Fs, FsFile, RealFs};
pub use handle::{
    AppendRejected, Entry, Intake, Journal, JournalError, JournalHandle, JournalStatus, Lost, OpenError, Reader,
    Watermark,
};
pub use id::JournalId;
pub use qos2::{Qos2Table, Qos2Verdict};
