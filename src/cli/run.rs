//! `rowbridge run`: the daemon.

use std::process::ExitCode;

use clap::Args;

use super::{EXIT_FAILED, EXIT_USAGE, Layers, failed, with_causes};
use crate::app;
use crate::config::{LogFormat, Needs};
use crate::signals::Starting;
use crate::telemetry::log;

#[derive(Debug, Default, Args)]
pub(super) struct RunArgs {
    /// Reload when the configuration file changes, as on SIGHUP
    #[arg(long)]
    watch_config: bool,
}

pub(super) fn run(layers: &Layers, arguments: &RunArgs) -> ExitCode {
    // Reading a large configuration or journal takes a while.
    let starting = match Starting::new() {
        Ok(starting) => starting,
        Err(error) => {
            note!("rowbridge: signals: {error}");
            return ExitCode::from(EXIT_FAILED);
        }
    };
    let request = match layers.request() {
        Ok(request) => request,
        Err(code) => return code,
    };
    let config = match layers.load(Needs::everything()) {
        Ok(config) => config,
        Err(code) => return code,
    };
    if let Err(error) = log::start(&config.log) {
        note!("rowbridge: {error}");
        return ExitCode::from(EXIT_USAGE);
    }
    let is_json = config.log.format == LogFormat::Json;
    match app::run(config, request, arguments.watch_config, starting) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_json && tracing::enabled!(tracing::Level::ERROR) => {
            tracing::error!(error = with_causes(&error, ": "), "the bridge ends");
            ExitCode::from(EXIT_FAILED)
        }
        Err(error) => failed(&error),
    }
}
