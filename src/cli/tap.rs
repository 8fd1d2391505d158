//! `rowbridge tap`: follows the running bridge and prints every message.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::tap_line::Lines;
use super::{EXIT_FAILED, EXIT_USAGE, Layers, http, installation, status};
use crate::config::{self, Config, Http};

/// Between two questions while messages come: what comes together is told together.
const PAUSE: Duration = Duration::from_millis(100);

/// Between two questions while the bridge does not answer.
const PAUSE_AWAY: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct TapArgs {
    /// Only messages that this rule takes (may be repeated)
    #[arg(long, value_name = "NAME")]
    rule: Vec<String>,
    /// End after this time, e.g. 30s [default: ctrl-C ends it]
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    time: Option<Duration>,
    /// Show at most so many messages a second, and as many that gave no row
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rate: u16,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(layers: &Layers, arguments: &TapArgs) -> ExitCode {
    let config = match installation::load_access(layers) {
        Ok(config) => config,
        Err(code) => return code,
    };
    if config.http == Http::Off {
        note!("rowbridge tap: http is off in the configuration; set http.listen to ask a running bridge");
        return ExitCode::from(EXIT_USAGE);
    }
    let follower = Follower {
        config,
        query: query(arguments),
        is_json: arguments.json,
        lines: Lines::new(io::stdout().is_terminal()),
        told: Map::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("an event loop needs only a few file descriptors");
    // Whatever it waits for when it is told to end.
    runtime.block_on(async {
        let (Ok(mut interrupted), Ok(mut terminated)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return follower.run();
        };
        let (ends, ended) = oneshot::channel();
        std::thread::spawn(move || ends.send(follower.run()));
        tokio::select! {
            code = ended => code.unwrap_or(ExitCode::FAILURE),
            Some(()) = interrupted.recv() => ExitCode::SUCCESS,
            Some(()) = terminated.recv() => ExitCode::SUCCESS,
            () = tokio::time::sleep(arguments.time.unwrap_or_default()), if arguments.time.is_some() => ExitCode::SUCCESS,
        }
    })
}

fn query(arguments: &TapArgs) -> String {
    let mut query = format!("/tap?rate={}", arguments.rate);
    for rule in &arguments.rule {
        query.push_str(&format!("&rule={}", utf8_percent_encode(rule, NON_ALPHANUMERIC)));
    }
    query
}

fn duration(text: &str) -> Result<Duration, String> {
    config::duration(text).filter(|time| !time.is_zero()).ok_or_else(|| "write a time such as 30s or 10m".to_owned())
}

struct Follower {
    config: Config,
    /// That begins it.
    query: String,
    is_json: bool,
    lines: Lines,
    /// The last printed state of the broker and each database.
    told: Map<String, Value>,
}

enum Answer {
    Told(Value),
    /// The bridge forgot about us, or is another one.
    Gone,
    /// A question that it does not take.
    Refused(String),
    Away(String),
}

/// What a bridge that answered before gives while it stops, and then.
fn is_of_a_stop(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe | ConnectionRefused)
}

impl Follower {
    fn run(mut self) -> ExitCode {
        let mut id: Option<String> = None;
        let mut has_begun = false;
        let mut is_away = false;
        loop {
            let path = id.as_ref().map_or_else(|| self.query.clone(), |id| format!("/tap?id={id}"));
            let pause = match self.ask(&path, has_begun) {
                Answer::Told(answer) => {
                    if !has_begun {
                        note!("following bridge {}; ctrl-C ends it", self.lines.plain(&answer["bridge"]));
                    } else if id.is_none() {
                        note!("following again; what came in between is not shown");
                    }
                    (has_begun, is_away) = (true, false);
                    id = answer["tap"].as_str().map(str::to_owned);
                    self.show(&answer);
                    PAUSE
                }
                Answer::Gone => {
                    id = None;
                    Duration::ZERO
                }
                Answer::Refused(why) => {
                    note!("rowbridge tap: {why}");
                    return ExitCode::from(EXIT_USAGE);
                }
                Answer::Away(why) if !has_begun => {
                    note!("rowbridge tap: {why}");
                    return ExitCode::from(EXIT_FAILED);
                }
                Answer::Away(why) => {
                    if !std::mem::replace(&mut is_away, true) {
                        note!("{why}");
                    }
                    PAUSE_AWAY
                }
            };
            std::thread::sleep(pause);
        }
    }

    fn ask(&self, path: &str, has_begun: bool) -> Answer {
        let Http::Listen(address) = self.config.http else { return Answer::Away(String::new()) };
        match http::get(address, &self.config.http_access, path) {
            Ok((200, body)) => match serde_json::from_str::<Value>(&body) {
                Ok(answer) if answer["tap"].is_string() => Answer::Told(answer),
                _ => Answer::Away(format!(
                    "what answers at http://{address} is no bridge: another program has http.listen"
                )),
            },
            Ok((400, why)) => Answer::Refused(self.lines.plain(&why.trim().into())),
            Ok((410, _)) => Answer::Gone,
            Ok((503, why)) => Answer::Away(self.lines.plain(&why.trim().into())),
            Err(error) if has_begun && is_of_a_stop(&error) => Answer::Away(format!(
                "no running bridge at http://{address}: it stopped; following goes on when it is started again"
            )),
            other => Answer::Away(status::no_answer(address, other)),
        }
    }

    fn show(&mut self, answer: &Value) {
        self.show_states(answer);
        for message in answer["messages"].as_array().into_iter().flatten() {
            match self.is_json {
                true => say!("{message}"),
                false => say!("{}", self.lines.message(message)),
            }
        }
        match answer["not_shown"].as_u64() {
            Some(0) | None => {}
            Some(count) if self.is_json => say!("{}", json!({ "not_shown": count })),
            Some(count) => say!("{}", self.lines.not_shown(count)),
        }
    }

    /// The broker and the databases: at first if something keeps messages from coming, then whenever that changes.
    fn show_states(&mut self, answer: &Value) {
        let mut states = vec![("broker".to_owned(), answer["broker"].clone())];
        let databases = answer["databases"].as_object().into_iter().flatten();
        states.extend(databases.map(|(name, state)| (format!("database {name}"), state.clone())));
        for (name, state) in states {
            let what = json!([state["connected"], state["held"]]);
            let is_well = what == json!([true, null]);
            let told = self.told.insert(name.clone(), what.clone());
            if told.map_or(is_well, |told| told == what) {
                continue;
            }
            match self.is_json {
                true => {
                    let mut line = json!({ "state_of": name });
                    if let (Some(line), Some(state)) = (line.as_object_mut(), state.as_object()) {
                        line.extend(state.clone());
                    }
                    say!("{line}");
                }
                false => say!("{}", self.lines.state(&name, &state)),
            }
        }
    }
}
