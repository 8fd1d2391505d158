//! The log subscriber.

use std::io::IsTerminal;

use thiserror::Error;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Libraries whose finer levels print what goes over the wire, a login with its password included.
const NEVER_FINER_THAN_INFO: [&str; 5] = ["tungstenite", "tokio_tungstenite", "rustls", "tokio_postgres", "hyper"];

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
    let mut filter = EnvFilter::try_new(&log.level).map_err(|source| LogError { level: log.level.clone(), source })?;
    let is_finer = filter.max_level_hint().is_none_or(|level| level > LevelFilter::INFO);
    for library in NEVER_FINER_THAN_INFO.iter().filter(|_| is_finer) {
        filter = filter.add_directive(format!("{library}=info").parse().expect("a crate's name and a level"));
    }
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let under_systemd = std::env::var_os("JOURNAL_STREAM").is_some();
    match log.format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Auto if under_systemd => builder.with_ansi(false).without_time().init(),
        LogFormat::Auto | LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).init(),
    }
    Ok(())
}
