//! `rowbridge status`: the state of the running bridge, a verdict first. The exit code is 1 if the bridge does not
//! answer, so the command also serves as a container's health check.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use super::output::written;
use super::summary::Looks;
use super::{EXIT_FAILED, EXIT_USAGE, Layers, figures, http, installation};
use crate::config::{Config, Http};

/// How often `--watch` looks again.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// Between the two looks that rates are made from.
const RATE_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Print the JSON of GET /status
    #[arg(long)]
    json: bool,
    /// Look again every two seconds, until ctrl-C; goes on through a restart of the bridge
    #[arg(long)]
    watch: bool,
}

pub(super) fn run(layers: &Layers, arguments: &StatusArgs) -> ExitCode {
    let config = match installation::load_access(layers) {
        Ok(config) => config,
        Err(code) => return code,
    };
    if config.http == Http::Off {
        note!("rowbridge status: http is off in the configuration; set http.listen to ask a running bridge");
        return ExitCode::from(EXIT_USAGE);
    }
    if arguments.watch {
        return watch(&config, arguments.json);
    }
    let shown = look(&config).and_then(|first| {
        let before = parsed(&first)?;
        if arguments.json {
            say!("{first}");
            return Ok(());
        }
        let taken = Instant::now();
        std::thread::sleep(RATE_INTERVAL);
        let now = parsed(&look(&config)?)?;
        show(&Looks { before: Some((&before, taken.elapsed())), now: &now }.lines());
        Ok(())
    });
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            note!("rowbridge status: {why}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// For ever.
fn watch(config: &Config, json: bool) -> ExitCode {
    let mut before: Option<(Value, Instant)> = None;
    let mut away: Option<Instant> = None;
    loop {
        let looked = look(config).and_then(|body| Ok((parsed(&body)?, body)));
        match looked {
            Ok((_, body)) if json => say!("{body}"),
            Ok((now, _)) => {
                let earlier = before.as_ref().map(|(before, at)| (before, at.elapsed()));
                frame(&Looks { before: earlier, now: &now }.lines());
                before = Some((now, Instant::now()));
                away = None;
            }
            Err(why) if json => note!("rowbridge status: {why}"),
            Err(why) => {
                let gone = away.get_or_insert_with(Instant::now).elapsed().as_secs_f64();
                frame(&[format!("{why} (for {})", figures::span(gone))]);
                before = None;
            }
        }
        std::thread::sleep(WATCH_INTERVAL);
    }
}

/// The body of `/status`, or in a line why there is none and what to do.
fn look(config: &Config) -> Result<String, String> {
    let Http::Listen(address) = config.http else { return Err("http is off in the configuration".to_owned()) };
    match http::get(address, &config.http_access, "/status") {
        Ok((200, body)) => Ok(body),
        other => Err(no_answer(address, other)),
    }
}

/// Why the bridge did not answer as it should, and what to do.
pub(super) fn no_answer(address: SocketAddr, answer: io::Result<(u16, String)>) -> String {
    let remedy = match answer {
        Ok((401, _)) => "answers 401: its token is another one; set http.token_file to the bridge's".to_owned(),
        Ok((503, body)) => format!("answers 503: {}", figures::plain(body.trim())),
        Ok((code, _)) => format!("answers {code}: another program has this address; see http.listen"),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            "nothing listens there; start the bridge, or name its configuration (-c)".to_owned()
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => format!(
            "no answer within {} s; the bridge hangs, or another program has this address: see http.listen",
            http::TIMEOUT.as_secs()
        ),
        Err(error) => format!("{error}; is the bridge started, and with this configuration (-c)?"),
    };
    format!("no running bridge at http://{address}: {remedy}")
}

fn parsed(body: &str) -> Result<Value, String> {
    let status: Value = serde_json::from_str(body)
        .map_err(|error| format!("the answer is not JSON ({error}): another program has http.listen"))?;
    match status["bridge"].is_string() {
        true => Ok(status),
        false => Err("what answers at http.listen is no bridge: another program has the address".to_owned()),
    }
}

fn show(lines: &[String]) {
    for line in lines {
        say!("{line}");
    }
}

/// Shows a state in the place of the one before; where no terminal is, below it.
fn frame(lines: &[String]) {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        show(lines);
        say!("");
        return;
    }
    let size = rustix::termios::tcgetwinsize(&stdout).ok().filter(|size| size.ws_row > 1 && size.ws_col > 1);
    let (rows, columns) = size.map_or((24, 80), |size| (usize::from(size.ws_row), usize::from(size.ws_col)));
    let mut wrapped: Vec<String> = lines.iter().flat_map(|line| wrap(line, columns)).collect();
    if wrapped.len() >= rows {
        wrapped.truncate(rows - 2);
        wrapped.push("… (the window is too low for the rest)".to_owned());
    }
    // Home, each line with its rest erased, then whatever is below: nothing flickers.
    let mut text = "\x1b[H".to_owned();
    for line in wrapped {
        text.extend([line.as_str(), "\x1b[K\r\n"]);
    }
    text.push_str("\x1b[J");
    let mut stdout = stdout.lock();
    written(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()));
}

/// Cuts a line into pieces that fit.
fn wrap(line: &str, columns: usize) -> Vec<String> {
    let chars: Vec<char> = line.chars().collect();
    if chars.is_empty() {
        return vec![String::new()];
    }
    chars.chunks(columns).map(|piece| piece.iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_that_hangs_is_told_in_words() {
        let address = SocketAddr::from(([127, 0, 0, 1], 9469));
        for kind in [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut] {
            let said = no_answer(address, Err(io::Error::from(kind)));
            assert!(said.contains("no answer within 5 s") && !said.contains("unavailable"), "{said}");
        }
    }
}
