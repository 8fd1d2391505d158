//! Lists dead letters. Parked messages are listed separately, because the bridge will write them itself.

use std::process::ExitCode;

use clap::Args;

use super::selection::{PARKED, SelectionArgs};
use super::store::Store;
use super::{Ended, broken, chosen, only, open};
use crate::cli::EXIT_FAILED;
use crate::cli::figures::{count, counted, plain};
use crate::config::{Config, Database};
use crate::sink::{DeadLetterFilter, SinkError, StoredDeadLetter};

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(super) selection: SelectionArgs,
    /// At most this many of each database, and as many parked ones
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Only those before this number: the next page
    #[arg(long, value_name = "ID")]
    before: Option<i64>,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The number that `list` prints
    id: i64,
    /// The database in which it lies; needed when there are several
    #[arg(long, value_name = "NAME")]
    pub(super) database: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A page of one database.
struct Page {
    letters: Vec<StoredDeadLetter>,
    /// How many the selection holds in all.
    total: u64,
}

pub(super) async fn list(config: &Config, arguments: &ListArgs) -> Result<ExitCode, Ended> {
    let name = arguments.selection.database.as_deref();
    let databases = match arguments.before {
        Some(_) => vec![only(config, "list", name, "numbers are counted in each")?],
        None => chosen(config, "list", name)?,
    };
    let mut is_empty = true;
    let (stores, mut ended) = open(config, "list", databases, &arguments.selection).await?;
    for (database, mut store) in stores {
        let pages = match pages(config, &mut store, arguments).await {
            Ok(pages) => pages,
            Err(error) => {
                ended = Some(broken(database, &error));
                continue;
            }
        };
        store.close().await;
        is_empty &= pages.iter().all(|page| page.letters.is_empty());
        if arguments.json {
            pages.iter().flat_map(|page| &page.letters).for_each(|letter| print_json(database, letter));
        } else {
            print_pages(database, &pages, arguments);
        }
    }
    if is_empty && !arguments.json && ended.is_none() {
        say!("no dead letters");
    }
    Ok(ended.unwrap_or(ExitCode::SUCCESS))
}

/// Dead letters, and parked messages.
async fn pages(config: &Config, store: &mut Store, arguments: &ListArgs) -> Result<[Page; 2], SinkError> {
    let mut pages = [(); 2].map(|()| Page { letters: Vec::new(), total: 0 });
    for (page, parked) in pages.iter_mut().zip([false, true]) {
        let selection = DeadLetterFilter {
            before: arguments.before,
            parked: Some(parked),
            ..arguments.selection.of_bridge(&config.bridge)
        };
        page.letters = store.page(&selection, arguments.limit).await?;
        let is_all = page.letters.len() < arguments.limit as usize;
        page.total = if is_all { page.letters.len() as u64 } else { store.extent(&selection).await?.letters };
    }
    Ok(pages)
}

fn print_pages(database: &Database, pages: &[Page; 2], arguments: &ListArgs) {
    let [letters, parked] = pages;
    if !letters.letters.is_empty() {
        say!("database {}", database.name);
        letters.letters.iter().for_each(print_line);
    }
    if !parked.letters.is_empty() {
        let messages = counted(parked.total, "message");
        say!(
            "parked in database {}: {messages}; they go in by themselves when their table is mended, unless their rule is gone or has another database now",
            database.name
        );
        parked.letters.iter().for_each(print_line);
    }
    for page in pages {
        let hidden = page.total.saturating_sub(page.letters.len() as u64);
        if let (Some(last), 1..) = (page.letters.last(), hidden) {
            let what = if last.reason == PARKED { "parked " } else { "" };
            say!(
                "{} older {what}ones: add --database {} --before {} (or a greater --limit than {})",
                count(hidden),
                database.name,
                last.id,
                arguments.limit
            );
        }
    }
}

fn print_line(letter: &StoredDeadLetter) {
    let rule = plain(letter.rule.as_deref().unwrap_or("-"));
    let error = plain(&letter.error).replace('\n', " ");
    let topic = plain(&letter.topic).replace('\n', "\\n");
    say!("{:>8}  {}  {rule}  {}  {topic}  {error}", letter.id, letter.created_at, letter.reason);
}

pub(super) async fn show(config: &Config, arguments: &ShowArgs) -> Result<ExitCode, Ended> {
    let database = only(config, "show", arguments.database.as_deref(), "numbers are counted in each")?;
    let selection =
        DeadLetterFilter { ids: Some(vec![arguments.id]), ..SelectionArgs::default().of_bridge(&config.bridge) };
    let mut store = Store::open(database).await.map_err(|error| broken(database, &error))?;
    let letters = store.page(&selection, 1).await.map_err(|error| broken(database, &error))?;
    store.close().await;
    let Some(letter) = letters.first() else {
        note!("rowbridge dead-letters show: there is no dead letter {} in {}", arguments.id, database.name);
        return Err(ExitCode::from(EXIT_FAILED));
    };
    if arguments.json {
        print_json(database, letter);
    } else {
        print_whole(database, letter);
    }
    Ok(ExitCode::SUCCESS)
}

fn print_json(database: &Database, letter: &StoredDeadLetter) {
    let mut value = letter.to_json();
    value["database"] = serde_json::Value::from(database.name.as_ref());
    value["parked"] = (letter.reason == PARKED).into();
    say!("{value}");
}

fn print_whole(database: &Database, letter: &StoredDeadLetter) {
    let what = if letter.reason == PARKED { "parked      " } else { "dead letter " };
    say!("{what} {} in {}", letter.id, database.name);
    say!("rule         {}", plain(letter.rule.as_deref().unwrap_or("- (none took it)")));
    say!("reason       {}: {}", letter.reason, plain(&letter.error));
    say!("attempts     {}", letter.attempts);
    say!("message      {}, received {}, kept {}", letter.seq, letter.received_at, letter.created_at);
    let retained = if letter.retain { ", retained" } else { "" };
    say!("topic        {}  QoS {}{retained}", plain(&letter.topic), letter.qos);
    if let Some(properties) = &letter.properties {
        say!("properties   {properties}");
    }
    say!("payload      {} bytes", letter.payload.len());
    say!("{}", letter.payload_text());
}
