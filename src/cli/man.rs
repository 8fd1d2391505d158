//! `rowbridge man`: the man page of `rowbridge`, or of all commands as files.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::{EXIT_FAILED, examples};
use crate::tools::man::{self, Page};

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Write one page per command into this directory instead, which is made if it is missing
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(arguments: &ManArgs) -> ExitCode {
    let pages = man::pages(examples::command(), examples::of).expect("memory takes all that is written to it");
    let Some(directory) = &arguments.dir else {
        say!("{}", String::from_utf8_lossy(&pages[0].text).trim_end());
        return ExitCode::SUCCESS;
    };
    match write(directory, &pages) {
        Ok(()) => ExitCode::SUCCESS,
        Err((path, error)) => {
            let remedy = "give a directory that you may write to";
            note!("rowbridge man: {} cannot be written: {error}; {remedy}", path.display());
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// An error names what could not be written.
fn write(directory: &Path, pages: &[Page]) -> Result<(), (PathBuf, std::io::Error)> {
    std::fs::create_dir_all(directory).map_err(|error| (directory.to_owned(), error))?;
    for page in pages {
        let path = directory.join(&page.file_name);
        std::fs::write(&path, &page.text).map_err(|error| (path, error))?;
    }
    Ok(())
}
