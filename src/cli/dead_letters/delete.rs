//! Deletes dead letters in steps of bounded size, so that the bridge can write in between.

use std::io::{self, BufRead, IsTerminal};
use std::process::ExitCode;

use clap::Args;

use super::selection::{PARKED, SelectionArgs};
use super::store::Store;
use super::{Ended, broken, chosen, only, open, say_absent, wrong};
use crate::cli::EXIT_FAILED;
use crate::cli::figures::{count, counted, stay};
use crate::config::{Config, Database};
use crate::sink::{DeadLetterExtent, DeadLetterFilter, SinkError};

/// A transaction's share: some milliseconds, as in the purge.
const LETTERS_PER_DELETE: u32 = 1_000;

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The numbers that `list` prints
    #[arg(value_name = "ID")]
    ids: Vec<i64>,
    #[command(flatten)]
    pub(super) selection: SelectionArgs,
    /// All that lie there, where nothing else says which
    #[arg(long)]
    all: bool,
    /// Parked messages too, which would go in by themselves once their table is mended: they are lost
    #[arg(long)]
    parked: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// What is to be deleted in one database.
struct Work<'a> {
    database: &'a Database,
    store: Store,
    selection: DeadLetterFilter,
    extent: DeadLetterExtent,
    /// How many of these are parked, and how many parked ones stay although they were selected.
    parked: u64,
    spared: u64,
}

pub(super) async fn delete(config: &Config, arguments: &DeleteArgs) -> Result<ExitCode, Ended> {
    let name = arguments.selection.database.as_deref();
    let databases = match arguments.ids.is_empty() {
        true => chosen(config, "delete", name)?,
        false => vec![only(config, "delete", name, "numbers are counted in each")?],
    };
    check(arguments)?;
    let (stores, mut failed) = open(config, "delete", databases, &arguments.selection).await?;
    let mut works = Vec::new();
    for (database, mut store) in stores {
        if say_absent("delete", &config.bridge, &arguments.ids, (database, &mut store)).await? {
            failed = Some(ExitCode::from(EXIT_FAILED));
        }
        match plan(config, arguments, database, store).await {
            Ok(work) => works.push(work),
            Err(error) => failed = Some(broken(database, &error)),
        }
    }
    for work in &works {
        if work.spared > 0 {
            let (spared, stay) = (counted(work.spared, "parked message"), stay(work.spared));
            say!("{spared} in database {} {stay}; add --parked to delete parked messages too", work.database.name);
        }
    }
    works.retain(|work| work.extent.letters > 0);
    if works.is_empty() && failed.is_none() {
        say!("nothing to delete");
    }
    if !works.is_empty() && !arguments.yes {
        ask(&works)?;
    }
    for mut work in works {
        match work.run().await {
            Ok(deleted) => say!("{} deleted from database {}", counted(deleted, "dead letter"), work.database.name),
            Err(error) => failed = Some(broken(work.database, &error)),
        }
        work.store.close().await;
    }
    Ok(failed.unwrap_or(ExitCode::SUCCESS))
}

/// That it is said which, and meant.
fn check(arguments: &DeleteArgs) -> Result<(), Ended> {
    if arguments.ids.is_empty() && !arguments.selection.is_narrowed() && !arguments.all {
        return Err(wrong("delete", "say which: IDs, --rule, --reason, --since, --until; or --all"));
    }
    if arguments.selection.reason.as_deref() == Some(PARKED) && !arguments.parked {
        let why = "messages of reason `table` are parked and go in by themselves once their table is mended; to lose them, \
                   add --parked";
        return Err(wrong("delete", why));
    }
    Ok(())
}

async fn plan<'a>(
    config: &Config,
    arguments: &DeleteArgs,
    database: &'a Database,
    mut store: Store,
) -> Result<Work<'a>, SinkError> {
    let ids = (!arguments.ids.is_empty()).then(|| arguments.ids.clone());
    let all = DeadLetterFilter { ids, ..arguments.selection.of_bridge(&config.bridge) };
    let parked = store.extent(&DeadLetterFilter { parked: Some(true), ..all.clone() }).await?.letters;
    let selection = DeadLetterFilter { parked: if arguments.parked { None } else { Some(false) }, ..all };
    let extent = store.extent(&selection).await?;
    // Letters that arrive from now on were not part of the confirmation.
    let selection = DeadLetterFilter { before: extent.newest.checked_add(1), ..selection };
    let (parked, spared) = if arguments.parked { (parked, 0) } else { (0, parked) };
    Ok(Work { database, store, selection, extent, parked, spared })
}

fn ask(works: &[Work<'_>]) -> Result<(), Ended> {
    let total: u64 = works.iter().map(|work| work.extent.letters).sum();
    if !io::stdin().is_terminal() {
        let why =
            format!("this deletes {} for good; give --yes where nobody can be asked", counted(total, "dead letter"));
        return Err(wrong("delete", &why));
    }
    for work in works {
        let parked = match work.parked {
            0 => String::new(),
            parked => format!(", {} of them parked", count(parked)),
        };
        note!("database {}: {}{parked}", work.database.name, counted(work.extent.letters, "dead letter"));
    }
    progress!("Delete {} for good? [y/N] ", counted(total, "dead letter"));
    let mut answer = String::new();
    let is_yes = io::stdin().lock().read_line(&mut answer).is_ok()
        && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
    if is_yes {
        return Ok(());
    }
    note!("nothing deleted");
    Err(ExitCode::from(EXIT_FAILED))
}

impl Work<'_> {
    /// Deletes until nothing of it is left; how many these were.
    async fn run(&mut self) -> Result<u64, SinkError> {
        let shows_progress = io::stderr().is_terminal() && self.extent.letters > u64::from(LETTERS_PER_DELETE);
        let mut deleted = 0;
        loop {
            let gone = self.store.delete(&self.selection, LETTERS_PER_DELETE).await?;
            deleted += gone;
            if shows_progress {
                progress!("\r{} of {} deleted", count(deleted), count(self.extent.letters));
            }
            if gone < u64::from(LETTERS_PER_DELETE) {
                break;
            }
        }
        if shows_progress {
            note!("");
        }
        Ok(deleted)
    }
}
