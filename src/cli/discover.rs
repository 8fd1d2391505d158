//! `rowbridge discover`: writes a configuration for the messages that are published.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use rustix::fs::Access;

use super::{EXIT_FAILED, EXIT_USAGE, Layers};
use crate::config::{self, LoadRequest, Mqtt, Needs};
use crate::rule::TopicPattern;
use crate::tools::discover::{self, DiscoverError, Discovery, Progress, Request};

/// Where there is no configuration yet: what of it concerns the broker.
const BROKER_ALONE: &str = "mqtt: { url: 'mqtt://localhost:1883' }\ndatabases: { local: { url: 'sqlite:none.db' } }\n\
                            rules: [ { topic: none, table: none, columns: { payload: payload } } ]\n";

/// Between two lines about the progress, where they go into a file.
const LINE_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct DiscoverArgs {
    /// How long to listen; Ctrl-C ends it early and keeps what was heard
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = duration)]
    time: Duration,
    /// Only topics of this filter (may be repeated) [default: all]
    #[arg(long, value_name = "FILTER", value_parser = filter)]
    filter: Vec<String>,
    /// Write the configuration here, and the SQL of its tables beside it with the ending .sql [default: print both]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The broker [default: the configuration's, else mqtt://localhost:1883]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The database that the configuration is to name
    #[arg(long, value_name = "URL", default_value = "sqlite:rowbridge.db")]
    database: String,
}

pub(super) fn run(layers: &Layers, arguments: &DiscoverArgs) -> ExitCode {
    let sql_file = arguments.output.as_deref().map(|file| file.with_extension("sql"));
    if sql_file.is_some() && sql_file == arguments.output {
        note!(
            "rowbridge discover: the SQL of the tables goes into the file with the ending .sql; name another one with -o"
        );
        return ExitCode::from(EXIT_USAGE);
    }
    for file in arguments.output.iter().chain(&sql_file) {
        let refusal = match (file.symlink_metadata(), may_be_made(file)) {
            (Ok(_), _) => "is there already".to_owned(),
            (Err(_), Err(error)) => format!("cannot be written: {error}"),
            (Err(_), Ok(())) => continue,
        };
        note!("rowbridge discover: {} {refusal}; name another file with -o", file.display());
        return ExitCode::from(EXIT_USAGE);
    }
    let (mqtt, load) = match broker(layers, arguments.url.as_deref()) {
        Ok(found) => found,
        Err(code) => return code,
    };
    let request =
        Request { mqtt: &mqtt, filters: &arguments.filter, time: arguments.time, database: &arguments.database };
    let mut reporter = Reporter::new(arguments.time);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("an event loop needs only a few file descriptors");
    let stop = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let found = runtime.block_on(Box::pin(discover::discover(
        &request,
        &load,
        &mut |progress| reporter.report(progress),
        stop,
    )));
    reporter.end();
    // A name that is still being looked up holds nobody up.
    runtime.shutdown_background();
    match found {
        Ok(discovery) => hand_over(&discovery, arguments.output.as_deref(), sql_file.as_deref()),
        Err(error) => {
            note!("rowbridge discover: {error}");
            ExitCode::from(match error {
                DiscoverError::Request(_) => EXIT_USAGE,
                DiscoverError::Listening(_) => EXIT_FAILED,
            })
        }
    }
}

/// Whether the directory takes a new file, tested before the time of listening.
fn may_be_made(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.metadata()?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// The broker of the configuration, if there is one.
fn broker(layers: &Layers, url: Option<&str>) -> Result<(Mqtt, LoadRequest), ExitCode> {
    let mut request = LoadRequest { needs: Needs::secrets_later(), ..layers.request()? };
    request.overrides.extend(url.map(|url| ("mqtt.url".to_owned(), url.to_owned())));
    let loaded = match config::find_file(&request) {
        Ok(_) => config::load(&request),
        Err(report) if request.file.is_some() => Err(report),
        Err(_) => config::load_text(&request, BROKER_ALONE),
    };
    match loaded {
        Ok(config) => Ok((config.mqtt, request)),
        Err(report) => {
            note!("{report}");
            Err(ExitCode::from(EXIT_USAGE))
        }
    }
}

fn hand_over(discovery: &Discovery, output: Option<&Path>, sql_file: Option<&Path>) -> ExitCode {
    for note in &discovery.notes {
        note!("note: {note}");
    }
    if discovery.rules == 0 {
        note!(
            "rowbridge discover: {}",
            match discovery.messages {
                0 => "nothing was published; listen longer with --for, or look at the filters",
                _ => "no rule was found for what was published; the notes above name the topics",
            }
        );
        return ExitCode::from(EXIT_FAILED);
    }
    if std::io::stderr().is_terminal() {
        note!("\n{}", discovery.picture);
    }
    let (Some(file), Some(sql_file)) = (output, sql_file) else {
        say!("{}", discovery.yaml);
        for line in discovery.sql.lines() {
            say!("# {line}");
        }
        return ExitCode::SUCCESS;
    };
    for (file, text) in [(file, &discovery.yaml), (sql_file, &discovery.sql)] {
        let written = OpenOptions::new().write(true).create_new(true).open(file);
        if let Err(error) = written.and_then(|mut opened| opened.write_all(text.as_bytes())) {
            note!("rowbridge discover: {}: {error}", file.display());
            return ExitCode::from(EXIT_FAILED);
        }
    }
    let Discovery { messages, topics, rules, .. } = discovery;
    note!(
        "{messages} messages of {topics} topics: {rules} rules in {}, tables in {}",
        file.display(),
        sql_file.display()
    );
    note!("Next: read it, then rowbridge check -c {}", file.display());
    ExitCode::SUCCESS
}

fn duration(text: &str) -> Result<Duration, String> {
    config::duration(text).filter(|time| !time.is_zero()).ok_or_else(|| "write a time such as 60s or 10m".to_owned())
}

fn filter(text: &str) -> Result<String, String> {
    match TopicPattern::parse(text) {
        Ok(_) if text.starts_with("$share/") => {
            Err("a member of a group would take messages from the others; leave $share/GROUP/ out".to_owned())
        }
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Tells how it goes on: one line that changes on a terminal, otherwise a line now and then.
struct Reporter {
    is_terminal: bool,
    time: Duration,
    told: Option<Instant>,
}

impl Reporter {
    fn new(time: Duration) -> Reporter {
        Reporter { is_terminal: std::io::stderr().is_terminal(), time, told: None }
    }

    fn report(&mut self, progress: Progress) {
        let is_due = self.told.is_none_or(|told| told.elapsed() >= LINE_EVERY);
        if !self.is_terminal && !is_due {
            return;
        }
        self.told = Some(Instant::now());
        let Progress { messages, topics, elapsed } = progress;
        let line = format!(
            "listening, {} of {} s: {messages} messages of {topics} topics",
            elapsed.as_secs(),
            self.time.as_secs()
        );
        match self.is_terminal {
            true => progress!("\r\x1b[K{line}"),
            false => note!("{line}"),
        }
    }

    fn end(&self) {
        if self.is_terminal {
            note!("");
        }
    }
}
