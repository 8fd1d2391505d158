//! The faults of a world outside the process: network, disk, databases. Each call draws one fault, or the end of one.

use super::World;
use crate::journal::SimFault;
use crate::simulation::link::End;

impl World<'_> {
    pub(super) fn trouble_network(&mut self) {
        let kind = self.random.below(12);
        self.note("network", kind, 0);
        match kind {
            0..4 => {
                let end = self.random.pick(&[End::Closed, End::Reset, End::Silent]);
                self.broker.cut(end);
            }
            4 => self.broker.network.set_refuses(true),
            5..7 => self.broker.network.set_refuses(false),
            7..9 => self.broker.repeat(&mut self.trace.lock().unwrap()),
            9 => self.broker.refuses_filters = true,
            10 => self.broker.take_over(),
            _ => self.broker.talk_nonsense(),
        }
    }

    pub(super) fn trouble_disk(&mut self) {
        let kind = self.random.below(8);
        self.note("disk", kind, 0);
        match kind {
            0 => {
                self.disk_was_full = true;
                let used: u64 = self.fs.files().iter().map(|(_, len)| len).sum();
                self.fs.set_capacity(used + self.random.below(3000));
            }
            1..3 => self.fs.set_capacity(u64::MAX),
            3..5 if self.reads_to_fail > 0 => {
                self.reads_to_fail -= 1;
                self.fs.fail_reads(1);
            }
            _ => self.fail_call(),
        }
    }

    pub(super) fn fail_call(&mut self) {
        let fault = self.random.pick(&[SimFault::Io, SimFault::Short, SimFault::Full]);
        self.disk_was_full |= fault == SimFault::Full;
        self.fs.fail_call(self.random.below(10), fault);
    }

    pub(super) fn trouble_database(&mut self) {
        let server = self.any_server();
        let mut server = server.lock().unwrap();
        match self.random.below(12) {
            0 => server.is_down = true,
            1..3 => server.is_down = false,
            3 => server.is_held = true,
            4..6 => server.is_held = false,
            6 => server.restart(),
            7..9 => server.definition += 1,
            _ => server.decide(),
        }
    }

    pub(super) fn restore(&mut self) {
        let at = self.random.below(self.servers.len() as u64) as usize;
        if self.servers[at].lock().unwrap().restore() {
            let current = self.process.iter().map(|process| process.number);
            let numbers: Vec<u64> = current.chain(self.zombies.iter().map(|zombie| zombie.number)).collect();
            numbers.into_iter().for_each(|number| self.servers[at].lock().unwrap().is_unsure_of(number));
        }
    }
}
