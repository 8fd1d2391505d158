//! `rowbridge check`: whether the configuration is right, and whether the bridge can run with it.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use tracing_subscriber::layer::SubscriberExt as _;

use super::installation::{self, Asking, Installed, Refusal};
use super::{EXIT_USAGE, Layers, output};
use crate::config::{Config, DatabaseUrl, Finding as Mistake, Needs, Place, Reply};
use crate::identity;
use crate::tools::check::{self, Finding, Heard, Level};

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Look at the configuration only; connect to nothing
    #[arg(long)]
    offline: bool,
    /// Insist that every secret, key and certificate exists and can be read
    #[arg(long)]
    secrets: bool,
    /// Messages per second, to tell how long an outage the journal holds
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(layers: &Layers, arguments: &CheckArgs) -> ExitCode {
    output::has_verdict();
    let needs = match (arguments.offline, arguments.secrets) {
        (_, true) => Needs::everything(),
        (true, false) => Needs::no_secrets(),
        (false, false) => Needs::secrets_later(),
    };
    let asking = if arguments.offline { Asking::WithoutToken } else { Asking::WithToken };
    let Installed { mut config, awaited } = match load(layers, needs, asking, arguments.json) {
        Ok(installed) => installed,
        Err(code) => return code,
    };
    let configured = (config.mqtt.client_id.clone(), config.bridge.to_string());
    identity::adopt_remembered(&mut config);
    if !arguments.json {
        summarize(&config, &configured);
    }
    let printer = Printer::new(arguments.json);
    let mut findings = check::promises(&config);
    if arguments.offline {
        findings.extend(check::of_rules(&config));
    }
    findings.iter().for_each(|finding| printer.print(finding));
    if !arguments.offline {
        let circumstances = check::Circumstances { rate: arguments.rate, awaited };
        look(&config, &circumstances, &mut |finding| {
            printer.print(&finding);
            findings.push(finding);
        });
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (problems, warnings) = (count(Level::Problem), count(Level::Warning));
    if arguments.json {
        say!("{}", json!({ "ok": problems == 0, "problems": problems, "warnings": warnings, "findings": findings }));
    } else if !arguments.offline || !findings.is_empty() {
        say!("{}", verdict(problems, warnings));
    }
    if problems == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_USAGE) }
}

/// Mistakes of the configuration are printed as text to standard error, or as JSON to standard output.
fn load(layers: &Layers, needs: Needs, asking: Asking, json: bool) -> Result<Installed, ExitCode> {
    if !json {
        return installation::load_installed(layers, needs, asking);
    }
    installation::find_installed(layers, needs, asking).map_err(|refusal| match refusal {
        Refusal::Said(code) => code,
        Refusal::Mistakes(report) => {
            let findings: Vec<Value> = report.findings().iter().map(mistake).collect();
            say!("{}", json!({ "ok": false, "problems": findings.len(), "warnings": 0, "findings": findings }));
            ExitCode::from(EXIT_USAGE)
        }
    })
}

/// A mistake in the form of a finding, with its place as far as it is known.
fn mistake(mistake: &Mistake) -> Value {
    let accepted = mistake.accepted.iter().map(|accepted| format!("accepted: {accepted}"));
    let suggestion = mistake.suggestion.iter().map(|suggestion| format!("did you mean `{suggestion}`?"));
    let remedy: Vec<String> = accepted.chain(suggestion).collect();
    let mut finding = json!({
        "level": Level::Problem, "subject": "configuration", "finding": mistake.to_string().lines().next(),
        "remedy": (!remedy.is_empty()).then(|| remedy.join("\n")),
        "key": (!mistake.key.is_empty()).then_some(&mistake.key), "message": mistake.problem,
        "file": null, "line": null, "column": null,
    });
    match &mistake.place {
        Place::Nowhere => {}
        Place::File { file, position } => {
            finding["file"] = file.display().to_string().into();
            finding["line"] = position.line.into();
            finding["column"] = position.column.into();
        }
        Place::Variable(name) => finding["variable"] = name.as_str().into(),
        Place::Flag(key) => finding["flag"] = key.as_str().into(),
    }
    finding
}

/// Asks everything that the bridge would use. What the daemon's parts would log becomes findings.
fn look(config: &Config, circumstances: &check::Circumstances, tell: &mut dyn FnMut(Finding)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("an event loop needs only a few file descriptors");
    let heard = Heard::default();
    let listening = tracing_subscriber::registry().with(heard.clone());
    tracing::subscriber::with_default(listening, || {
        runtime.block_on(Box::pin(check::everything(config, circumstances, &heard, tell)));
    });
    // A name that is still being looked up holds nobody up.
    runtime.shutdown_background();
}

fn summarize(config: &Config, configured: &(String, String)) {
    let remembered = |was: &str, is: &str| match was == is {
        true => String::new(),
        false => format!(" (remembered in {}; by its default it would be {was})", config.data_dir.display()),
    };
    let file = config.file.as_ref().map_or("the environment".to_owned(), |file| file.display().to_string());
    say!("{file}: the configuration is right");
    say!("  bridge    {}{}", config.bridge, remembered(&configured.1, &config.bridge));
    say!("  client id {}{}", config.mqtt.client_id, remembered(&configured.0, &config.mqtt.client_id));
    say!("  data      {}", config.data_dir.display());
    for url in &config.mqtt.urls {
        say!("  broker    {url}");
    }
    if let Some(Ok(topic)) = config.mqtt.status_topic.as_ref().map(|topic| topic.of(&config.bridge)) {
        say!("  status    {topic}: online, offline");
    }
    for database in &config.databases {
        let place = match &database.url {
            DatabaseUrl::Sqlite(path) => format!("SQLite, {}", path.display()),
            DatabaseUrl::Postgres(url) => format!("Postgres, {url}"),
        };
        say!("  database  {}: {place}", database.name);
    }
    for rule in config.rules.iter().filter(|rule| !rule.is_copy()) {
        let topics: Vec<&str> = rule.topics.iter().map(|topic| topic.as_str()).collect();
        let database = rule.chooser.as_ref().map_or(&*config.databases[rule.database].name, |chooser| chooser.shown());
        let goal = match rule.statement {
            Some(_) => "a statement".to_owned(),
            None => format!("table {}", rule.table),
        };
        let answers = match &rule.reply {
            None => String::new(),
            Some(Reply { prefix: None, .. }) => ", answers".to_owned(),
            Some(Reply { prefix: Some(prefix), .. }) => format!(", answers to {prefix} and below"),
        };
        say!("  rule      {}: {} → {database}, {goal}{answers}", rule.name, topics.join(", "));
    }
    let database = |index: usize| &config.databases[index].name;
    for entry in &config.publish {
        say!("  publish   {}: {}, table {} → {}", entry.name, database(entry.database), entry.table, entry.topic);
    }
    for query in &config.queries {
        say!("  query     {}: {} → {}", query.name, query.topic.as_str(), database(query.database));
    }
}

fn verdict(problems: usize, warnings: usize) -> String {
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    match (problems, warnings) {
        (0, 0) => "nothing is wrong".to_owned(),
        (0, warnings) => format!("nothing prevents running; {}", counted(warnings, "warning")),
        (problems, warnings) => format!("{}, {}", counted(problems, "problem"), counted(warnings, "warning")),
    }
}

/// Prints findings as they come, in colour on a terminal.
struct Printer {
    is_silent: bool,
    has_colours: bool,
}

impl Printer {
    /// <https://no-color.org>: any value but an empty one means no colours.
    fn new(is_silent: bool) -> Printer {
        let is_wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Printer { is_silent, has_colours: is_wanted && std::io::stdout().is_terminal() }
    }

    fn print(&self, finding: &Finding) {
        if self.is_silent {
            return;
        }
        let (word, colour) = match finding.level {
            Level::Ok => ("ok", "32"),
            Level::Warning => ("warning", "33"),
            Level::Problem => ("PROBLEM", "1;31"),
        };
        let (on, off) = if self.has_colours { (format!("\x1b[{colour}m"), "\x1b[0m") } else { (String::new(), "") };
        say!("{on}{word:<8}{off} {}: {}", finding.subject, finding.finding);
        for line in finding.remedy.iter().flat_map(|remedy| remedy.lines()) {
            say!("           → {line}");
        }
    }
}
