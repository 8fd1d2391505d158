//! Maps dead letters again under the present rules, with the daemon's own mapper and sink on a connection of its own.
//! Works whether the bridge runs or not.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::selection::SelectionArgs;
use super::store::Store;
use super::{Ended, broken, chosen, did_you_mean, only, open, say_absent, wrong};
use crate::cli::EXIT_FAILED;
use crate::cli::figures::{count, counted, plain, stay};
use crate::config::{Config, Database, Rule};
use crate::delivery::{Retried, RetryFailure};
use crate::sink::{DeadLetterFilter, SinkError};

#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    /// The numbers that `list` prints
    #[arg(value_name = "ID")]
    ids: Vec<i64>,
    #[command(flatten)]
    pub(super) selection: SelectionArgs,
    /// All that lie there, where nothing else says which
    #[arg(long)]
    all: bool,
}

/// What is to be tried again in one database.
struct Work {
    selection: DeadLetterFilter,
    /// The rules with letters that can be tried, and how many each has.
    rules: Vec<(String, u64)>,
    /// Letters that belong to no rule.
    unclaimed: u64,
    /// Letters that do not hold all of their message.
    partial: u64,
    parked: u64,
}

/// The result, for the exit code.
#[derive(Default)]
struct Ending {
    tried: u64,
    staying: u64,
    /// Some numbers belong to no dead letter.
    lacks_some: bool,
}

pub(super) async fn retry(config: &Config, arguments: &RetryArgs) -> Result<ExitCode, Ended> {
    let name = arguments.selection.database.as_deref();
    let databases = match arguments.ids.is_empty() {
        true => chosen(config, "retry", name)?,
        false => vec![only(config, "retry", name, "numbers are counted in each")?],
    };
    if arguments.ids.is_empty() && !arguments.selection.is_narrowed() && !arguments.all {
        return Err(wrong("retry", "say which: IDs, --rule, --reason, --since, --until; or --all"));
    }
    let mut ending = Ending::default();
    let (stores, mut failed) = open(config, "retry", databases, &arguments.selection).await?;
    for (database, mut store) in stores {
        let done = retry_in(config, arguments, (database, &mut store), &mut ending).await;
        store.close().await;
        failed = failed.or(done.err());
    }
    if ending.tried == 0 && ending.staying == 0 && !ending.lacks_some && failed.is_none() {
        say!("nothing to retry");
    }
    let is_done = ending.staying == 0 && !ending.lacks_some;
    Ok(failed.unwrap_or(if is_done { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) }))
}

async fn retry_in(
    config: &Config,
    arguments: &RetryArgs,
    (database, store): (&Database, &mut Store),
    ending: &mut Ending,
) -> Result<(), Ended> {
    ending.lacks_some |= say_absent("retry", &config.bridge, &arguments.ids, (database, store)).await?;
    let work = plan(config, arguments, store).await.map_err(|error| broken(database, &error))?;
    work.run(config, database, store, ending).await
}

async fn plan(config: &Config, arguments: &RetryArgs, store: &mut Store) -> Result<Work, SinkError> {
    let ids = (!arguments.ids.is_empty()).then(|| arguments.ids.clone());
    let all = DeadLetterFilter { ids, ..arguments.selection.of_bridge(&config.bridge) };
    let parked = store.extent(&DeadLetterFilter { parked: Some(true), ..all.clone() }).await?.letters;
    let selection = DeadLetterFilter { parked: Some(false), ..all };
    // What comes from now on was refused by the rules as they are.
    let newest = store.extent(&selection).await?.newest;
    let selection = DeadLetterFilter { before: newest.checked_add(1), ..selection };
    let partial = store.extent(&DeadLetterFilter { whole: Some(false), ..selection.clone() }).await?.letters;
    let selection = DeadLetterFilter { whole: Some(true), ..selection };
    let rules = store.rules(&selection).await?;
    let claimed: u64 = rules.iter().map(|(_, letters)| letters).sum();
    let unclaimed = store.extent(&selection).await?.letters.saturating_sub(claimed);
    Ok(Work { selection, rules, unclaimed, partial, parked })
}

impl Work {
    async fn run(
        &self,
        config: &Config,
        database: &Database,
        store: &mut Store,
        ending: &mut Ending,
    ) -> Result<(), Ended> {
        for (name, letters) in &self.rules {
            let rule = match find(config, database, name) {
                Ok(rule) => rule,
                Err(why) => {
                    let count = counted(*letters, "dead letter");
                    note!("rowbridge dead-letters retry: {why}; {count} {}", stay(*letters));
                    ending.staying += letters;
                    continue;
                }
            };
            self.retry_rule(config, database, store, rule, *letters, ending).await?;
        }
        let place = |count| format!("in database {} {}", database.name, stay(count));
        if self.parked > 0 {
            let parked = counted(self.parked, "parked message");
            say!("{parked} {}: the bridge writes parked messages once their table is mended", place(self.parked));
        }
        if self.unclaimed > 0 {
            let unclaimed = counted(self.unclaimed, "dead letter");
            say!("{unclaimed} {}: no rule took the message", place(self.unclaimed));
        }
        if self.partial > 0 {
            let partial = counted(self.partial, "dead letter");
            say!(
                "{partial} {}: not all of the message is there, because it was too large or had no valid topic, an earlier \
                 version kept it, or it was lost",
                place(self.partial)
            );
        }
        ending.staying += self.unclaimed + self.partial;
        Ok(())
    }

    async fn retry_rule(
        &self,
        config: &Config,
        database: &Database,
        store: &mut Store,
        rule: &Arc<Rule>,
        letters: u64,
        ending: &mut Ending,
    ) -> Result<(), Ended> {
        let selection = DeadLetterFilter { rule: Some(rule.name.to_string()), ..self.selection.clone() };
        let mut progress = Progress { rule: &rule.name, letters, is_shown: io::stderr().is_terminal() };
        let (retried, result) = store
            .retry(&config.bridge, rule, database.batch.max_bytes, selection, |retried| progress.tell(retried))
            .await;
        progress.end(&retried);
        print_summary(database, rule, letters, &retried, result.is_ok());
        ending.tried += retried.letters();
        ending.staying += retried.refused;
        match result {
            Ok(()) => Ok(()),
            Err(RetryFailure::Table { reason, mend }) => {
                let left = letters.saturating_sub(retried.letters());
                note!("rowbridge dead-letters retry: {reason}");
                if let Some(mend) = mend.filter(|mend| !mend.is_empty()) {
                    note!("  to do: {mend}");
                }
                let (count, rule) = (counted(left, "dead letter"), plain(&rule.name));
                note!("  {count} of rule {rule} {} unchanged", stay(left));
                ending.staying += left.max(1);
                Ok(())
            }
            Err(RetryFailure::Database(error)) => Err(broken(database, &error)),
        }
    }
}

/// The rule, if it still writes to this database.
fn find<'a>(config: &'a Config, database: &Database, name: &str) -> Result<&'a Arc<Rule>, String> {
    let shown = plain(name);
    let mut named = config.rules.iter().filter(|rule| *rule.name == *name);
    let is_here = |rule: &&Arc<Rule>| config.databases[rule.database].name == database.name;
    let Some(rule) = named.clone().find(is_here).or_else(|| named.next()) else {
        let meant = did_you_mean(name, config.rules.iter().map(|rule| &*rule.name));
        return Err(format!("the rule {shown} is not in the configuration any more{meant}"));
    };
    match &config.databases[rule.database].name {
        now if *now == database.name => Ok(rule),
        now => Err(format!("the rule {shown} writes to database {now} now, and its letters lie in {}", database.name)),
    }
}

fn print_summary(database: &Database, rule: &Rule, letters: u64, retried: &Retried, is_through: bool) {
    let Retried { written, rows, rows_swallowed, filtered, refused, first_refused } = retried;
    let name = plain(&rule.name);
    let mut parts = vec![format!("{} written as {}", counted(*written, "message"), counted(*rows, "row"))];
    if *rows_swallowed > 0 {
        parts.push(format!("{} ignored by the table", counted(*rows_swallowed, "row")));
    }
    if *filtered > 0 {
        parts.push(format!("{} of which the rule wants no row", count(*filtered)));
    }
    if *refused > 0 {
        parts.push(format!("{} refused again", count(*refused)));
    }
    let gone = letters.saturating_sub(retried.letters());
    if gone > 0 && is_through {
        parts.push(format!("{} deleted by another process", count(gone)));
    }
    say!("rule {name} in database {}: {}", database.name, parts.join(", "));
    if let Some((id, error)) = first_refused {
        say!("  the first that was refused again, {id}: {}", plain(error).replace('\n', " "));
    }
}

/// A line on stderr that is written over.
struct Progress<'a> {
    rule: &'a str,
    letters: u64,
    is_shown: bool,
}

impl Progress<'_> {
    fn tell(&mut self, retried: &Retried) {
        if self.is_shown {
            let (done, letters) = (count(retried.letters()), count(self.letters));
            progress!("\rrule {}: {done} of {letters} retried", plain(self.rule));
        }
    }

    fn end(&mut self, retried: &Retried) {
        if self.is_shown && retried.letters() > 0 {
            note!("");
        }
    }
}
