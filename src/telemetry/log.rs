//! The log subscriber.

use std::io::IsTerminal;
use std::sync::OnceLock;

use thiserror::Error;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Log, LogFormat};

/// Libraries whose finer levels print what goes over the wire, a login with its password included.
const NEVER_FINER_THAN_INFO: [&str; 5] = ["tungstenite", "tokio_tungstenite", "rustls", "tokio_postgres", "hyper"];

/// Of this process's subscriber, once it was started.
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// `log.level` is not a directive that tracing knows.
#[derive(Debug, Error)]
#[error(
    "log.level {level:?} is not a log level: {source}; write error, warn, info, debug or trace, or e.g. info,rowbridge::source=debug"
)]
pub struct LogError {
    level: String,
    source: tracing_subscriber::filter::ParseError,
}

/// Starts logging to standard error, once per process.
///
/// `auto`: coloured text on a terminal; under systemd text without time and colour, because the systemd journal adds its
/// own; plain text otherwise.
pub fn start(log: &Log) -> Result<(), LogError> {
    let (filter, handle) = reload::Layer::new(filter_of(&log.level)?);
    // Without its own messages about lines that cannot be written, for example to a full disk: it prints them by `eprintln!`,
    // which panics there.
    let lines = fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    let under_systemd = std::env::var_os("JOURNAL_STREAM").is_some();
    let lines = match log.format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Auto if under_systemd => lines.with_ansi(false).without_time().boxed(),
        LogFormat::Auto | LogFormat::Text => {
            let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            lines.with_ansi(!no_color && std::io::stderr().is_terminal()).boxed()
        }
    };
    tracing_subscriber::registry().with(filter).with(lines).init();
    let _ = FILTER.set(handle);
    Ok(())
}

/// Logs at another level from now on.
pub fn change_level(level: &str) -> Result<(), LogError> {
    let filter = filter_of(level)?;
    if let Some(handle) = FILTER.get() {
        // It fails only where the subscriber is gone.
        let _ = handle.reload(filter);
    }
    Ok(())
}

fn filter_of(level: &str) -> Result<Targets, LogError> {
    let asked: Targets = level.parse().map_err(|source| LogError { level: level.to_owned(), source })?;
    Ok(without_wire(&asked))
}

/// `asked` without directives for modules of libraries that would print secrets.
fn without_wire(asked: &Targets) -> Targets {
    let directives: Vec<(&str, LevelFilter)> = asked.iter().collect();
    let libraries =
        NEVER_FINER_THAN_INFO.iter().filter(|library| directives.iter().all(|(target, _)| target != *library));
    let clamped = directives.iter().map(|&(target, level)| {
        let is_wire = NEVER_FINER_THAN_INFO.iter().any(|library| target.starts_with(library));
        (target, if is_wire { level.min(LevelFilter::INFO) } else { level })
    });
    let rest = asked.default_level().unwrap_or(LevelFilter::OFF);
    // The longest prefix of a module's name decides, so what is asked for a shorter one has to be looked at as well.
    let of_library = |library: &str| {
        let shorter = directives.iter().filter(|(target, _)| library.starts_with(target));
        shorter.max_by_key(|(target, _)| target.len()).map_or(rest, |(_, level)| *level).min(LevelFilter::INFO)
    };
    Targets::new()
        .with_default(rest)
        .with_targets(clamped)
        .with_targets(libraries.map(|&library| (library, of_library(library))))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn what_goes_over_the_wire_is_never_printed_and_nothing_else_changes() {
        let enabled = |asked: &str, target, level| without_wire(&asked.parse().unwrap()).would_enable(target, &level);
        for asked in ["trace", "info,tungstenite::protocol=trace", "tung=trace", "tungstenite=debug", "error,t=trace"] {
            assert!(!enabled(asked, "tungstenite::protocol", Level::DEBUG), "{asked}");
        }
        assert!(enabled("trace", "tungstenite::protocol", Level::INFO));
        assert!(enabled("trace", "rowbridge::source", Level::TRACE));
        assert!(!enabled("debug,hyper=off", "hyper::client", Level::ERROR));
        assert!(!enabled("warn", "rustls", Level::INFO));
        assert!(!enabled("rowbridge=debug", "rustls", Level::ERROR));
        assert!(enabled("rowbridge=debug", "rowbridge::app", Level::DEBUG));
    }
}
