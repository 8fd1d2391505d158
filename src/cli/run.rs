//! `rowbridge run`: the daemon.

use std::process::ExitCode;

use super::{EXIT_USAGE, Layers, failed};
use crate::app;
use crate::config::Needs;
use crate::telemetry::log;

pub(super) fn run(layers: &Layers) -> ExitCode {
    let config = match layers.load(Needs::everything()) {
        Ok(config) => config,
        Err(code) => return code,
    };
    if let Err(error) = log::start(&config.log) {
        eprintln!("rowbridge: {error}");
        return ExitCode::from(EXIT_USAGE);
    }
    match app::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}
