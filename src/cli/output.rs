//! Standard output and standard error of all commands. A closed pipe (`| head`) on standard output ends a command quietly,
//! because the reader has enough; one whose exit code is its result goes on without output. Any other write error there is printed to standard error and ends the command with exit
//! code 1. Write errors of standard error are ignored: the exit code still gives the result.

use std::fmt;
use std::io::{self, Write};
use std::process::{self, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};

use super::EXIT_FAILED;

/// Prints a line.
pub(super) fn print_line(line: fmt::Arguments<'_>) {
    written(writeln!(io::stdout(), "{line}"));
}

/// Prints a line to standard error.
pub(super) fn print_note(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Prints a text without a line end to standard error, such as progress that replaces itself on a terminal.
pub(super) fn print_progress(text: fmt::Arguments<'_>) {
    let mut stderr = io::stderr();
    let _ = write!(stderr, "{text}").and_then(|()| stderr.flush());
}

/// The command's exit code is its result: a closed pipe does not end it.
static HAS_VERDICT: AtomicBool = AtomicBool::new(false);

/// To be called by a command whose exit code is its result, as that of `check` is.
pub(super) fn has_verdict() {
    HAS_VERDICT.store(true, Ordering::Relaxed);
}

/// Ends the process if a write to standard output failed.
pub(super) fn written(result: io::Result<()>) {
    let Err(error) = result else { return };
    if error.kind() == io::ErrorKind::BrokenPipe {
        if HAS_VERDICT.load(Ordering::Relaxed) {
            return;
        }
        process::exit(0);
    }
    note!("rowbridge: standard output cannot be written: {error}");
    process::exit(EXIT_FAILED.into());
}

/// Ends the process with clap's text: help and version on standard output, a wrong command line on standard error.
pub(super) fn end_by(text: &clap::Error) -> ! {
    if !text.use_stderr() {
        written(text.print().and_then(|()| io::stdout().flush()));
        process::exit(0);
    }
    text.exit()
}

/// The exit code of a command whose work is done, once all output is written.
pub(super) fn flushed(code: ExitCode) -> ExitCode {
    written(io::stdout().flush());
    code
}
