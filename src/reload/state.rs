//! The configuration's state in `status`, and the result of a reload for the process that asked for it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::clock;

/// Shared between the reloader, which writes, and `status`.
#[derive(Debug)]
pub struct ReloadState(Mutex<ReloadReport>);

#[derive(Debug, Clone, Serialize)]
pub struct ReloadReport {
    /// The process that reloads on SIGHUP.
    pub pid: u32,
    /// 1 since the start; each reload that succeeds adds one.
    pub version: u64,
    /// When the configuration in use was read.
    pub loaded_at: String,
    /// What the last reload that succeeded changed.
    pub changes: Vec<String>,
    /// Reloads that were begun, and that were ended, since the start.
    pub reloads_begun: u64,
    pub reloads_ended: u64,
    /// Every mistake that the last reload met, with its position, if it failed.
    pub last_error: Option<String>,
}

impl Default for ReloadState {
    fn default() -> ReloadState {
        ReloadState(Mutex::new(ReloadReport {
            pid: std::process::id(),
            version: 1,
            loaded_at: clock::now().to_string(),
            changes: Vec::new(),
            reloads_begun: 0,
            reloads_ended: 0,
            last_error: None,
        }))
    }
}

impl ReloadState {
    pub fn report(&self) -> ReloadReport {
        self.lock().clone()
    }

    pub(super) fn begun(&self) {
        self.lock().reloads_begun += 1;
    }

    pub(super) fn loaded(&self, version: u64, changes: Vec<String>) {
        let mut report = self.lock();
        (report.version, report.changes) = (version, changes);
        report.loaded_at = clock::now().to_string();
        report.last_error = None;
        report.reloads_ended = report.reloads_begun;
    }

    pub(super) fn failed(&self, mistakes: String) {
        let mut report = self.lock();
        report.last_error = Some(mistakes);
        report.reloads_ended = report.reloads_begun;
    }

    fn lock(&self) -> MutexGuard<'_, ReloadReport> {
        // For people: half an update is better than none.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
