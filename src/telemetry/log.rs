//! The log subscriber.

use std::io::IsTerminal;

use thiserror::Error;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

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
    let mut filter: Targets = log.level.parse().map_err(|source| LogError { level: log.level.clone(), source })?;
    let finest = filter.iter().map(|(_, level)| level).chain(filter.default_level()).max();
    if finest > Some(LevelFilter::INFO) {
        filter = filter.with_targets(NEVER_FINER_THAN_INFO.map(|library| (library, LevelFilter::INFO)));
    }
    let lines = fmt::layer().with_writer(std::io::stderr);
    let under_systemd = std::env::var_os("JOURNAL_STREAM").is_some();
    let lines = match log.format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Auto if under_systemd => lines.with_ansi(false).without_time().boxed(),
        LogFormat::Auto | LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
    };
    tracing_subscriber::registry().with(lines).with(filter).init();
    Ok(())
}
