//! `rowbridge completions SHELL`: commands, options and file names for the shell's TAB key.

use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;

use super::examples;

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell that completes
    shell: Shell,
}

pub(super) fn run(arguments: &CompletionsArgs) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut examples::command(), "rowbridge", &mut script);
    say!("{}", String::from_utf8_lossy(&script).trim_end());
    ExitCode::SUCCESS
}
