//! `rowbridge run`: the daemon.

use std::process::ExitCode;

use clap::Args;

use super::{EXIT_USAGE, Layers, failed};
use crate::app;
use crate::config::Needs;
use crate::telemetry::log;

#[derive(Debug, Default, Args)]
pub(super) struct RunArgs {
    /// Reload when the configuration file changes, as on SIGHUP
    #[arg(long)]
    watch_config: bool,
}

pub(super) fn run(layers: &Layers, arguments: &RunArgs) -> ExitCode {
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
    match app::run(config, request, arguments.watch_config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}
