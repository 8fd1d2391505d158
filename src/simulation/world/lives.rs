//! The runs of the process: it starts, is stopped, killed or loses power, and its last transactions may still be
//! applied. Between two runs there is only the disk, as the first one left it.

use std::time::Duration;

use super::World;
use crate::journal::SimFs;
use crate::simulation::process::{self, Process};
use crate::simulation::promises::Promises;

impl World<'_> {
    pub(super) fn start(&mut self) {
        self.figures.starts += 1;
        let begun = Process::begin(self.figures.starts, &self.fs, &self.config, &self.servers, &self.alarm);
        self.note("start", self.figures.starts, u64::from(begun.is_ok()));
        match begun {
            Ok(process) => {
                if process::is_delivered(&self.config) {
                    self.figures.volatile_starts += 1;
                    self.promises = Promises::default();
                }
                self.promises.started(&process);
                if !self.zombies.is_empty() {
                    self.servers.iter().for_each(|server| server.lock().unwrap().is_unsure_of(process.number));
                }
                self.process = Some(process);
            }
            // Whoever starts it tries again. The locks and handles are gone with it; the disk is as it left it.
            Err(_) => self.fs = self.end_of_life(),
        }
    }

    pub(super) fn end_process(&mut self) {
        if self.process.is_none() {
            return;
        }
        if self.random.once_in(4) {
            return self.stop();
        }
        // In the middle of whatever it does with the disk.
        if self.random.once_in(2) {
            self.fail_call();
            self.write();
            self.poll_one();
        }
        self.kill();
    }

    /// The process is gone without a word.
    fn kill(&mut self) {
        self.observe();
        self.fs = self.end_of_life();
        let Some(mut process) = self.process.take() else { return };
        if self.zombies.is_empty() && self.random.once_in(6) {
            self.figures.zombies += 1;
            self.note("zombie", process.number, 0);
            process.behead();
            for server in &self.servers {
                server.lock().unwrap().is_unsure_of(process.number);
                server.lock().unwrap().zombie = process.number;
            }
            self.zombies.push(process);
        } else if self.random.once_in(2) {
            self.zombies.clear();
        }
    }

    /// The disk after a kill or a power cut.
    fn end_of_life(&mut self) -> SimFs {
        if self.random.once_in(2) {
            self.note("kill", 0, 0);
            self.figures.kills += 1;
            return self.fs.kill();
        }
        self.note("power cut", 0, 0);
        self.figures.power_cuts += 1;
        self.fs.crash(self.random.below(u64::MAX))
    }

    /// As `app.rs` stops it, within a grace.
    fn stop(&mut self) {
        self.note("stop", 0, 0);
        self.figures.stops += 1;
        self.process.iter().for_each(Process::stop_source);
        for phase in 0..2 {
            for _ in 0..40 {
                self.poll_one();
                self.write();
                self.broker_turn();
                self.pass(Duration::from_millis(125));
                let is_done =
                    |process: &Process| if phase == 0 { process.actors[0].is_done() } else { process.is_over() };
                if self.process.as_ref().is_none_or(is_done) {
                    break;
                }
            }
            self.process.iter().for_each(Process::stop_rest);
        }
        self.kill();
    }
}
