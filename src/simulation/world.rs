//! A script: the events of a world, drawn from its seed, step by step.

mod lives;
mod trouble;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Runtime;

use super::actor::{Actor, Alarm};
use super::broker::Broker;
use super::database::Server;
use super::figures::Figures;
use super::link::Network;
use super::messages::{Message, Messages, Number, topic_of};
use super::process::{self, FILTERS, Process};
use super::promises::Promises;
use super::random::Random;
use super::seams;
use super::trace::Trace;
use crate::config::Config;
use crate::journal::SimFs;

/// Steps before the faults end.
const STEPS: u64 = 260;

/// What kinds of faults a world has: none of some kinds leaves room for the others to come through.
#[derive(Debug, Clone, Copy)]
struct Weather {
    disk: bool,
    network: bool,
    database: bool,
    restores: bool,
    sessions_lost: bool,
}

pub(super) struct World<'r> {
    runtime: &'r Runtime,
    random: Random,
    weather: Weather,
    pub(super) config: Config,
    fs: SimFs,
    /// Delivered messages may have given way.
    pub(super) disk_was_full: bool,
    /// Reads that may still fail, one at a time: fewer than count as damage.
    reads_to_fail: u64,
    alarm: Arc<Alarm>,
    pub(super) process: Option<Process>,
    /// Workers of processes that are gone for everybody but the database.
    zombies: Vec<Process>,
    broker: Broker,
    pub(super) servers: Vec<Arc<Mutex<Server>>>,
    pub(super) messages: Messages,
    pub(super) promises: Promises,
    trace: Arc<Mutex<Trace>>,
    pub(super) figures: Figures,
}

/// Runs the script of a seed to its end and checks everything; returns what happened and a hash over it.
pub(super) fn run(seed: u64) -> (Figures, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _context = runtime.enter();
    let network = Arc::new(Network::default());
    let _entered = seams::enter(Arc::clone(&network), Random::new(seed, 1));
    let trace = Arc::new(Mutex::new(Trace::new(seed)));
    let mut world = World::begin(&runtime, seed, network, &trace);
    for _ in 0..STEPS {
        world.step();
        world.observe();
    }
    world.drain();
    let hash = trace.lock().unwrap().hash();
    (world.figures, hash)
}

impl<'r> World<'r> {
    fn begin(runtime: &'r Runtime, seed: u64, network: Arc<Network>, trace: &Arc<Mutex<Trace>>) -> World<'r> {
        let mut random = Random::new(seed, 0);
        let config = process::config(&mut random);
        let server =
            |index: usize| Arc::new(Mutex::new(Server::new(Random::new(seed, 10 + index as u64), Arc::clone(trace))));
        let weather = Weather {
            disk: random.once_in(2),
            network: random.once_in(2),
            database: random.once_in(2),
            // What an older copy lacks may be in no journal any more.
            restores: random.once_in(4) && !process::is_delivered(&config),
            sessions_lost: random.once_in(4),
        };
        let servers: Vec<_> = (0..config.databases.len()).map(server).collect();
        if weather.database {
            for server in &servers {
                let mut server = server.lock().unwrap();
                server.wrong_once_in = random.pick(&[0, 4, 20]);
                server.refuses_whole_once_in = random.pick(&[0, 0, 6]);
            }
        }
        World {
            broker: Broker::new(&config, network, Random::new(seed, 2)),
            fs: SimFs::new(seed),
            disk_was_full: false,
            reads_to_fail: 4,
            alarm: Arc::default(),
            process: None,
            zombies: Vec::new(),
            messages: Messages::new(),
            promises: Promises::default(),
            trace: Arc::clone(trace),
            figures: Figures::default(),
            runtime,
            random,
            weather,
            config,
            servers,
        }
    }

    fn note(&self, what: &'static str, a: u64, b: u64) {
        self.trace.lock().unwrap().note(what, a, b);
    }

    fn step(&mut self) {
        if self.process.is_none() && self.random.once_in(3) {
            self.start();
        }
        match self.random.below(100) {
            0..30 => self.poll_one(),
            30..44 => self.write(),
            44..56 => self.broker_turn(),
            56..66 => {
                let max = self.random.pick(&[1, 7, 60, usize::MAX]);
                self.broker.carry(max);
            }
            66..74 => {
                for _ in 0..1 + self.random.below(4) {
                    self.publish();
                }
            }
            74..84 => self.pass_some(),
            84..88 if self.weather.network => self.trouble_network(),
            88..91 if self.weather.disk => self.trouble_disk(),
            91..96 if self.weather.database => self.trouble_database(),
            96 if self.weather.restores => self.restore(),
            97 if self.weather.sessions_lost && self.random.once_in(2) => {
                self.note("session lost", 0, 0);
                self.figures.sessions_lost += 1;
                self.broker.lose_session(&mut self.messages);
            }
            98 => self.end_process(),
            99 => self.reload(),
            _ => self.broker_turn(),
        }
    }

    /// All rules in another version: whatever is under way, each message stays once and in its order.
    fn reload(&mut self) {
        self.note("reload", 0, 0);
        if let Some(process) = &self.process {
            self.figures.reloads += 1;
            process.publish(&self.config);
        }
    }

    /// Things that go on without faults, many at once: otherwise nothing ever gets far.
    fn broker_turn(&mut self) {
        self.broker.step(&mut self.messages, &mut self.trace.lock().unwrap());
        if !self.weather.network || self.random.once_in(2) {
            self.broker.carry(usize::MAX);
        }
    }

    fn actors(&mut self) -> impl Iterator<Item = &mut Actor> {
        self.process.iter_mut().chain(&mut self.zombies).flat_map(|process| &mut process.actors)
    }

    fn poll_one(&mut self) {
        let woken = self.actors().filter(|actor| actor.is_woken()).count() as u64;
        if woken == 0 {
            return;
        }
        let choice = self.random.below(woken);
        self.note("poll", choice, woken);
        let actor = self.actors().filter(|actor| actor.is_woken()).nth(choice as usize);
        actor.expect("counted just now").poll();
    }

    fn write(&mut self) {
        self.observe();
        if let Some(process) = &mut self.process {
            let worked = process.write();
            let next_seq = process.handle.status().next_seq.0;
            self.note("write", u64::from(worked), next_seq);
        }
        self.observe();
    }

    fn publish(&mut self) {
        let number = self.messages.len() as Number;
        let qos = self.random.pick(&[0, 1, 1, 2, 2]);
        self.publish_at(number, qos);
    }

    fn publish_at(&mut self, number: Number, qos: u8) {
        self.messages.push(Message {
            topic: topic_of(number),
            qos,
            due: None,
            is_excused: false,
            is_repeated: false,
            is_acknowledged: false,
            is_found: false,
        });
        self.broker.publish(number, &mut self.messages);
    }

    fn pass_some(&mut self) {
        let limit = Duration::from_millis(self.random.pick(&[1, 10, 200, 2_000, 35_000]));
        if self.random.once_in(3) {
            self.any_server().lock().unwrap().decide();
        }
        if self.random.once_in(6) {
            // Nobody gets the processor meanwhile.
            self.runtime.block_on(tokio::time::sleep(limit));
        } else {
            self.pass(limit);
        }
    }

    /// Time passes until an actor can go on, at most `limit`. Work off the event loop gets done.
    fn pass(&mut self, limit: Duration) {
        let (runtime, alarm) = (self.runtime, Arc::clone(&self.alarm));
        let woken = |world: &mut World<'_>| world.actors().any(|actor| actor.is_woken());
        runtime.block_on(async {
            tokio::task::yield_now().await;
            let somebody = std::future::poll_fn(|context| {
                alarm.set(context.waker());
                if woken(self) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
            });
            tokio::select! {
                biased;
                () = somebody => {}
                () = tokio::time::sleep(limit) => {}
            }
        });
    }

    fn any_server(&mut self) -> Arc<Mutex<Server>> {
        Arc::clone(&self.servers[self.random.below(self.servers.len() as u64) as usize])
    }

    fn observe(&mut self) {
        if let Some(process) = &self.process {
            self.promises.observe(process, &mut self.figures);
        }
        if process::is_delivered(&self.config) {
            self.check_acknowledged();
        }
    }

    /// All faults end, and everything gets where it belongs (I11).
    fn drain(&mut self) {
        self.note("drain", 0, 0);
        self.broker.is_calm = true;
        self.broker.refuses_filters = false;
        self.broker.network.set_refuses(false);
        self.fs.set_capacity(u64::MAX);
        for server in &self.servers {
            let mut server = server.lock().unwrap();
            (server.wrong_once_in, server.refuses_whole_once_in) = (0, 0);
            (server.is_down, server.is_held) = (false, false);
            server.restart();
        }
        self.settle();
        self.zombies.clear();
        for qos in [1, 2] {
            let number = self.messages.len() as Number;
            self.publish_at(number, qos);
            assert!(self.messages[number as usize].due.is_some(), "the session takes a fresh message");
        }
        self.settle();
        self.figures.connections = self.broker.connections;
        self.figures.redelivered = self.broker.redelivered;
        self.check();
    }

    fn settle(&mut self) {
        // Refused filters are asked for again after ten minutes; all the rest is quicker.
        for _ in 0..20_000 {
            if self.process.is_none() {
                self.start();
            }
            for polls in 0.. {
                if !self.actors().any(|actor| actor.is_woken()) {
                    break;
                }
                self.poll_one();
                assert!(polls < 10_000, "an actor goes on for ever without anything to do");
            }
            while self.process.as_mut().is_some_and(Process::write) {
                self.observe();
            }
            self.observe();
            self.broker.step(&mut self.messages, &mut self.trace.lock().unwrap());
            self.broker.carry(usize::MAX);
            if self.is_settled() {
                return;
            }
            self.pass(Duration::from_secs(1));
        }
        panic!("with all faults over, the backlog does not drain");
    }

    fn is_settled(&self) -> bool {
        let Some(process) = &self.process else { return false };
        let status = process.handle.status();
        let is_delivered = |server: &Arc<Mutex<Server>>| {
            let server = server.lock().unwrap();
            server.state.offsets.get(&status.id) == Some(&status.next_seq.0) && server.state.parked.is_empty()
        };
        self.broker.is_settled(&FILTERS) && self.servers.iter().all(is_delivered)
    }
}
