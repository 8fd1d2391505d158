//! `rowbridge reload`: makes the running bridge read its configuration again, and prints the result.
//!
//! The command sends SIGHUP, so only users who may signal the daemon may reload it, and HTTP stays read-only. `/status`
//! has the process id and the result.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use super::{EXIT_FAILED, EXIT_USAGE, Layers, http, installation, status};
use crate::admin::Paths;
use crate::config::{Config, Http, Needs};

/// Reading and checking ten thousand rules takes seconds on a small device.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The name of our process in the kernel. If somebody renamed the program, its processes have the new name, like this
/// one.
const PROCESS_NAME: &str = "rowbridge";

/// Of `/status`.
#[derive(Deserialize)]
struct Answer {
    config: Report,
    #[serde(default)]
    paths: Paths,
}

#[derive(Deserialize)]
struct Report {
    pid: u32,
    version: u64,
    changes: Vec<String>,
    reloads_begun: u64,
    reloads_ended: u64,
    last_error: Option<String>,
}

pub(super) fn run(layers: &Layers) -> ExitCode {
    let config = match installation::load(layers, Needs::only(&["http"])) {
        Ok(config) => config,
        Err(code) => return code,
    };
    if config.http == Http::Off {
        note!("rowbridge reload: http is off in the configuration: send the bridge SIGHUP and look into its log");
        return ExitCode::from(EXIT_USAGE);
    }
    let report = match look(&config) {
        Ok(before) => match other_file(&config, &before) {
            Some(why) => {
                note!("rowbridge reload: {why}");
                return ExitCode::from(EXIT_USAGE);
            }
            None => reload(&config, &before.config),
        },
        Err(why) => Err(why),
    };
    let report = match report {
        Ok(report) => report,
        Err(why) => {
            note!("rowbridge reload: {why}");
            return ExitCode::from(EXIT_FAILED);
        }
    };
    match report.last_error {
        None => {
            let version = report.version;
            say!("reloaded: the rules are version {version} since the bridge was started");
            report.changes.iter().for_each(|change| say!("  {change}"));
            if report.changes.is_empty() {
                say!("  no difference found; all rules were compiled again");
            }
            ExitCode::SUCCESS
        }
        Some(mistakes) => {
            note!("{mistakes}\nrowbridge reload: nothing was changed, the bridge goes on as before");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// What is wrong if the bridge runs with another file than this command was given. `None` also where that cannot be known:
/// the bridge's file may be in another container, or be gone.
fn other_file(config: &Config, before: &Answer) -> Option<String> {
    let (ours, theirs) = (config.file.as_deref()?, before.paths.config.as_deref()?);
    let seen = as_seen_by(before.config.pid, Path::new(theirs))?;
    let identity = |path: &Path| path.metadata().ok().map(|file| (file.dev(), file.ino()));
    if identity(ours)? == identity(&seen)? {
        return None;
    }
    let given = std::path::absolute(ours).unwrap_or_else(|_| ours.to_owned());
    Some(format!(
        "the bridge runs with {theirs}, and this command was given {}: change the bridge's file and name it (-c {theirs}), or \
         restart the bridge with the other file",
        given.display()
    ))
}

/// A path of the bridge's process, which may be in a container; `None` if the process is not the bridge.
fn as_seen_by(pid: u32, path: &Path) -> Option<PathBuf> {
    let name = process_name(&pid.to_string())?;
    if name != PROCESS_NAME && Some(name) != process_name("self") {
        return None;
    }
    let root = Path::new("/proc").join(pid.to_string()).join("root");
    // Another user may not look there, nor signal the process.
    if root.metadata().is_err() {
        return Some(path.to_owned());
    }
    Some(root.join(path.strip_prefix("/").ok()?))
}

fn reload(config: &Config, before: &Report) -> Result<Report, String> {
    let pid = i32::try_from(before.pid).ok().and_then(Pid::from_raw).ok_or("the bridge does not report its pid")?;
    let name = process_name(&before.pid.to_string());
    // SIGHUP ends a process that does not expect it.
    if name.is_some() && name.as_deref() != Some(PROCESS_NAME) && name != process_name("self") {
        return Err(format!(
            "process {pid} is not the bridge: it runs in a container or on another machine; run the command there, or send \
             it SIGHUP (docker kill --signal HUP CONTAINER)",
            pid = before.pid
        ));
    }
    kill_process(pid, Signal::HUP).map_err(|error| {
        let advice = match error {
            rustix::io::Errno::PERM => "; run the command as root, or as the user of the bridge",
            _ => "",
        };
        format!("process {} cannot be signalled: {}{advice}", before.pid, io::Error::from(error))
    })?;
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        std::thread::sleep(LOOK_INTERVAL);
        let now = look(config)?.config;
        // One that was begun after the look before the signal: it has read what the file holds now.
        if now.reloads_ended > before.reloads_begun {
            return Ok(now);
        }
    }
    Err(format!("no answer within {} s; see the bridge's log", PATIENCE.as_secs()))
}

/// `None` if the kernel does not say.
fn process_name(pid: &str) -> Option<String> {
    let name = std::fs::read_to_string(Path::new("/proc").join(pid).join("comm")).ok()?;
    Some(name.trim_end().to_owned())
}

fn look(config: &Config) -> Result<Answer, String> {
    let Http::Listen(address) = config.http else {
        return Err("http is off in the configuration: send the bridge SIGHUP and look into its log".to_owned());
    };
    match http::get(address, &config.http_access, "/status") {
        Ok((200, body)) => serde_json::from_str::<Answer>(&body)
            .map_err(|error| format!("http://{address} does not answer as this version of the bridge does ({error})")),
        Ok((code, _)) => Err(format!("http://{address} answers {code}: see http.listen and http.token_file")),
        Err(error) => Err(status::no_answer(address, Err(error))),
    }
}
