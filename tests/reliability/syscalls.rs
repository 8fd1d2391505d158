//! The kernel refuses: a system call of the real binary fails, at the first, second … Nth call of its kind in each of its
//! threads, on the journal's files, on the SQLite database or on the rest of `data_dir`.
//!
//! strace injects the errors; it sees every call, also those that do not go through libc. A round whose fault did not
//! happen proves nothing: it ends its series, or fails the campaign if the series has had none at all.

use std::path::Path;

use rowbridge::campaign::Campaign;
use serde_json::Value;

use crate::support::bridge::{Bridge, readings};
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::oracle::Tally;
use crate::support::process::program;
use crate::support::publisher::{Load, reading};
use crate::support::wait_for;

/// Messages of a round: with their ballast some ten segments, so that segments come and go all the time.
const COUNT: u64 = 240;

/// Published after the fault, to a bridge that nothing disturbs any more.
const AFTERWARDS: u64 = 20;

const RATE: u64 = 400;

const SMALL_SEGMENTS: &str = "journal: { segment_size: 32KiB, max_size: 8MiB, keep: 0s }\n";

/// Which files the fault is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Journal,
    /// The SQLite file with its write-ahead log and that one's index.
    Database,
    /// `subscriptions.json` and `unreached/`.
    State,
}

/// Faults that differ in the number of the call alone.
#[derive(Debug)]
struct Series {
    calls: &'static str,
    error: &'static str,
    /// Calls that fail in a row.
    in_a_row: u32,
    target: Target,
    /// Whether the bridge that meets the fault finds a journal left by a kill, with messages on their way.
    after_a_kill: bool,
    /// Which call the quick campaign takes.
    quick: u32,
}

const fn series(
    target: Target,
    calls: &'static str,
    error: &'static str,
    in_a_row: u32,
    after_a_kill: bool,
    quick: u32,
) -> Series {
    Series { calls, error, in_a_row, target, after_a_kill, quick }
}

const CREATE: &str = "rename,renameat,renameat2,unlink,unlinkat";
const WRITE: &str = "write,pwrite64,pwritev,writev";
const READ: &str = "read,pread64";

const ALL: &[Series] = &[
    series(Target::Journal, WRITE, "EIO", 1, false, 5),
    series(Target::Journal, "fdatasync", "EIO", 1, true, 4),
    series(Target::Journal, "fallocate", "ENOSPC", 3, false, 3),
    series(Target::Database, WRITE, "ENOSPC", 2, false, 12),
    series(Target::Journal, "fsync", "EIO", 1, false, 3),
    series(Target::State, CREATE, "EIO", 1, true, 1),
    series(Target::Journal, CREATE, "EIO", 1, true, 2),
    series(Target::Database, "fdatasync,fsync", "EIO", 1, true, 6),
    series(Target::Journal, READ, "EIO", 1, true, 9),
    series(Target::Database, READ, "EIO", 1, true, 4),
    series(Target::Journal, "openat", "ENOSPC", 2, true, 3),
    series(Target::State, "write,fsync", "ENOSPC", 2, false, 2),
    series(Target::Journal, WRITE, "ENOSPC", 3, true, 7),
    series(Target::Database, "ftruncate,unlink", "EIO", 1, true, 1),
    series(Target::State, "openat,read", "EIO", 1, true, 1),
    series(Target::Journal, "fdatasync", "EINTR", 2, false, 2),
    series(Target::Database, "openat", "EIO", 1, true, 1),
    series(Target::Journal, WRITE, "EINTR", 2, true, 3),
    series(Target::Database, WRITE, "EIO", 1, true, 12),
    series(Target::Journal, READ, "EINTR", 2, true, 2),
    series(Target::Journal, "fallocate", "EIO", 1, true, 2),
    series(Target::Database, "fdatasync,fsync", "EINTR", 1, false, 3),
    series(Target::Journal, "fallocate", "EOPNOTSUPP", 1, false, 1),
    series(Target::Journal, "fdatasync", "EIO", 4, false, 6),
];

/// One round's fault.
struct Fault {
    series: &'static Series,
    call: u32,
}

impl Series {
    /// Whether it may be got over without a word: a call is tried again, a delivered segment makes room for the next one,
    /// SQLite does without the success of its tidying up.
    fn is_overcome(&self) -> bool {
        match self.error {
            "EINTR" | "EOPNOTSUPP" => true,
            "ENOSPC" => self.target == Target::Journal,
            _ => self.target == Target::Database && self.calls.contains("unlink"),
        }
    }

    /// Whether a single read of the journal fails in each thread.
    fn is_one_read(&self) -> bool {
        self.calls == READ && self.target == Target::Journal && self.in_a_row == 1
    }
}

impl Fault {
    /// Seeds go round all series; in the first round each takes its quick call, then calls 1, 2, 3 …
    fn of(seed: u64) -> (usize, Fault) {
        let length = ALL.len() as u64;
        let index = ((seed - 1) % length) as usize;
        let call = match (seed - 1) / length {
            0 => ALL[index].quick,
            lap => lap as u32,
        };
        (index, Fault { series: &ALL[index], call })
    }

    /// The files, under every name that they can have: strace compares an open file by its absolute path, a name by
    /// what the program says, and `data_dir` is relative here.
    fn paths(&self, bridge: &Bridge) -> Vec<String> {
        let folder = bridge.path("").canonicalize().unwrap();
        let names: Vec<String> = match self.series.target {
            Target::Journal => {
                let segment = |base| ["seg", "new"].map(|suffix| format!("data/journal/{base:020}.{suffix}"));
                let others = ["data/journal", "data/journal/id", "data/journal/id.tmp", "data/journal/LOCK"];
                (1..=COUNT + 1).flat_map(segment).chain(others.map(str::to_owned)).collect()
            }
            Target::Database => ["", "-wal", "-shm"].map(|suffix| format!("rows.db{suffix}")).into(),
            Target::State => ["", "/subscriptions.json", "/subscriptions.json.tmp"]
                .into_iter()
                .chain(["/unreached", "/unreached/local", "/unreached/local.new"])
                .map(|name| format!("data{name}"))
                .collect(),
        };
        names.into_iter().flat_map(|name| [folder.join(&name).display().to_string(), name]).collect()
    }

    fn tracer(&self, bridge: &Bridge) -> Vec<String> {
        let Series { calls, error, in_a_row, .. } = self.series;
        let until = self.call + in_a_row - 1;
        tracer(bridge, calls, &format!("error={error}:when={}..{until}", self.call), self.paths(bridge))
    }
}

/// strace as a grandchild of the bridge, which so stays this process's child.
fn tracer(bridge: &Bridge, calls: &str, fault: &str, paths: Vec<String>) -> Vec<String> {
    let mut tracer = vec![program("strace").display().to_string()];
    tracer.extend(["-D", "-f", "-Y", "--seccomp-bpf", "--quiet=attach,path-resolution", "-o"].map(str::to_owned));
    tracer.push(bridge.path("trace").display().to_string());
    tracer.extend(["-e".to_owned(), format!("trace={calls}"), "-e".to_owned(), format!("inject={calls}:{fault}")]);
    tracer.extend(paths.into_iter().flat_map(|path| ["-P".to_owned(), path]));
    tracer
}

/// What a round came to.
#[derive(Debug, Default)]
struct Round {
    /// Calls that failed as asked.
    injected: u64,
    ended_at_start: bool,
    /// At QoS 1.
    repeated: u64,
}

/// A message that fills its segment.
fn bulky(id: u64) -> (String, Vec<u8>) {
    let (topic, _) = reading(id);
    (topic, format!(r#"{{"id":{id},"temp":1,"ballast":"{}"}}"#, "x".repeat(1_000)).into_bytes())
}

fn run(fault: &Fault, qos: u8) -> Round {
    let mut round = Round::default();
    let broker = Mosquitto::with(DEEP_QUEUE);
    let mut bridge = Bridge::new(broker.port(), &format!("{SMALL_SEGMENTS}{}", readings(qos)));
    let load = |first, count| Load::new(broker.port(), qos, count).numbered_from(first).made_by(bulky);
    // The session exists from the first start on, so nothing that is published later is lost by the broker.
    let mut running = None;
    if fault.series.after_a_kill {
        bridge.start();
        running = Some(load(0, COUNT).per_second(RATE).start());
        bridge.wait_alive("some are journaled", |bridge| (bridge.journaled() >= COUNT / 3).then_some(()));
        bridge.kill();
    }
    bridge.start_by(fault.tracer(&bridge));
    bridge.spawn();
    let traced = bridge.pid();
    round.ended_at_start = !wait_for("the bridge starts or gives up", || {
        if let Some(status) = bridge.ended() {
            assert_eq!(status.code(), Some(1), "a start that the disk refuses ends with exit code 1");
            return Some(false);
        }
        bridge.get("/readyz").is_some_and(|response| response.status == 200).then_some(true)
    });
    if round.ended_at_start {
        // As systemd does.
        bridge.start_by(Vec::new());
        bridge.start();
    }
    running.unwrap_or_else(|| load(0, COUNT).per_second(RATE).start()).finish();
    bridge.wait_ids("readings", COUNT);
    bridge.wait_drained("local");
    assert_accounts_closed(&mut bridge);
    let status = bridge.stop();
    assert!(status.success(), "it stops as asked: {status}");
    let threads = injected(&bridge.path("trace"), traced);
    round.injected = threads.len() as u64;
    if round.injected == 0 {
        return round;
    }
    // A start reads again at once what it could not read, and says nothing if that helps.
    let is_reread = fault.series.is_one_read() && threads.iter().all(|thread| *thread == traced);
    let is_told = fault.series.is_overcome() || is_reread || is_told(fault, &bridge.log());
    assert!(is_told, "the log does not say what failed, and where: {}", injected_lines(&bridge.path("trace"), traced));
    // Nothing of it lingers.
    bridge.start_by(Vec::new());
    bridge.start();
    load(COUNT, AFTERWARDS).run();
    bridge.wait_ids("readings", COUNT + AFTERWARDS);
    bridge.wait_drained("local");
    assert!(bridge.stop().success());
    let verified = bridge.command(&["journal", "verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let tally = Tally::of_sqlite(&bridge.rows(), "readings", 0..COUNT + AFTERWARDS);
    match qos {
        2 => tally.assert_each_once("readings"),
        _ => tally.assert_none_lost("readings"),
    }
    round.repeated = tally.repeated() as u64;
    round
}

/// The threads whose calls failed as asked, one for each call, once the tracer has seen the end of its process.
fn injected(trace: &Path, process: u32) -> Vec<u32> {
    // As in `1234<journal>`.
    let thread = |line: &str| line.split(['<', ' ']).next().and_then(|word| word.parse::<u32>().ok());
    let is_end = |line: &str| thread(line) == Some(process) && line.split_whitespace().nth(1) == Some("+++");
    let text = wait_for("strace has seen the end", || {
        let text = std::fs::read_to_string(trace).unwrap();
        text.lines().any(is_end).then_some(text)
    });
    text.lines()
        .filter(|line| line.contains("(INJECTED)"))
        .map(|line| thread(line).expect("a thread's number"))
        .collect()
}

/// The calls that failed as asked, for a failure's message. The threads are those of the process with number `process`.
fn injected_lines(trace: &Path, process: u32) -> String {
    let text = std::fs::read_to_string(trace).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("(INJECTED)")).collect();
    format!("process {process}\n{}", lines.join("\n"))
}

fn assert_accounts_closed(bridge: &mut Bridge) {
    bridge.wait_alive("the accounts are closed", |bridge| {
        let status = bridge.status();
        let database = &status["databases"]["local"];
        let next = |value: &Value| value["next_seq"].as_u64();
        let positions = next(&status["journal"])? == next(database)? + database["pending"].as_u64()?;
        let rule = &status["rules"][0];
        let sum = |names: &[&str]| names.iter().map(|name| rule[name].as_u64()).sum::<Option<u64>>();
        let outcomes = rule["matched"].as_u64()? == sum(&["written", "filtered", "dead_lettered", "dropped"])?;
        (positions && outcomes).then_some(())
    });
    let lost = bridge.metrics().value("rowbridge_messages_lost_total", &[]);
    assert_eq!(lost.unwrap_or(0.0), 0.0, "nothing may be lost");
    assert_eq!(bridge.status()["rules"][0]["dead_lettered"], 0, "no message is at fault");
}

/// Whether the log, or the last words of a start that failed, name the trouble's place.
fn is_told(fault: &Fault, log: &str) -> bool {
    let names: &[&str] = match fault.series.target {
        Target::Journal => &["data/journal"],
        Target::Database => &["rows.db"],
        Target::State => &["data/subscriptions.json", "data/unreached", "data/journal"],
    };
    let is_serious = |line: &&str| ["WARN", "ERROR", "rowbridge: "].iter().any(|word| line.contains(word));
    log.lines().filter(is_serious).any(|line| names.iter().any(|name| line.contains(name)))
}

#[test]
fn a_refused_system_call_loses_nothing_and_the_bridge_goes_on() {
    let mut campaign = Campaign::begin("syscalls", 12);
    let mut ended = vec![None; ALL.len()];
    let (mut faulty, mut refused, mut ended_at_start, mut repeated, mut skipped) = (0, 0, 0, 0, 0);
    while let Some(seed) = campaign.next_seed() {
        let (index, fault) = Fault::of(seed);
        let lap = (seed as usize - 1) / ALL.len();
        let qos = if (index + lap).is_multiple_of(3) { 1 } else { 2 };
        let Series { calls: name, error, in_a_row, target, after_a_kill, .. } = fault.series;
        if ended[index].is_some_and(|end| fault.call >= end) {
            skipped += 1;
            continue;
        }
        println!(
            "seed {seed}: {error} at call {} of {name}, {in_a_row} in a row, on {target:?}{}, QoS {qos} \
             (alone: ROWBRIDGE_PROVE_SYSCALLS=1 ROWBRIDGE_PROVE_SEED={seed})",
            fault.call,
            if *after_a_kill { " after a kill" } else { "" },
        );
        let round = run(&fault, qos);
        if round.injected == 0 {
            println!("the run makes fewer than {} such calls", fault.call);
            assert!(seed > ALL.len() as u64 && fault.call > 1, "the fault did not happen: this proves nothing");
            ended[index] = Some(fault.call);
            continue;
        }
        faulty += 1;
        refused += round.injected;
        ended_at_start += u64::from(round.ended_at_start);
        repeated += round.repeated;
    }
    let ends = ended.iter().flatten().count() as u64;
    campaign.proved(&[
        ("faulty_runs", faulty),
        ("refused_calls", refused),
        ("starts_given_up", ended_at_start),
        ("repeated_at_qos_1", repeated),
        ("series_at_their_end", ends),
        ("rounds_past_the_end", skipped),
    ]);
}

#[test]
fn a_database_that_cannot_be_closed_cleanly_is_told_and_loses_nothing() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &readings(2));
    bridge.start();
    assert!(bridge.stop().success());
    // The file itself, not its log, is synced by checkpoints alone, and so few rows see none before the stop.
    let file = bridge.rows().canonicalize().unwrap().display().to_string();
    bridge.start_by(tracer(&bridge, "fsync,fdatasync", "error=EIO", vec![file]));
    bridge.start();
    let traced = bridge.pid();
    Load::new(broker.port(), 2, AFTERWARDS).run();
    bridge.wait_ids("readings", AFTERWARDS);
    bridge.wait_drained("local");
    assert!(bridge.stop().success());
    assert!(!injected(&bridge.path("trace"), traced).is_empty(), "the fault did not happen: this proves nothing");
    let log = bridge.log();
    assert!(log.contains("was not closed cleanly") && log.contains("rows.db"), "{log}");
    bridge.start_by(Vec::new());
    bridge.start();
    assert!(bridge.stop().success());
    Tally::of_sqlite(&bridge.rows(), "readings", 0..AFTERWARDS).assert_each_once("readings");
}

#[test]
fn a_read_of_the_journal_that_fails_amid_a_backlog_is_told_even_if_the_next_one_works() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let mut bridge = Bridge::new(broker.port(), &format!("{SMALL_SEGMENTS}{}", readings(2)));
    bridge.set_environment("ROWBRIDGE__DATABASES__LOCAL__BATCH__MAX_ROWS", "5");
    bridge.start();
    bridge.wait_drained("local");
    // Nothing goes into the file while somebody else writes to it.
    let other = rusqlite::Connection::open(bridge.rows()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    Load::new(broker.port(), 2, COUNT).made_by(bulky).run();
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= COUNT).then_some(()));
    bridge.kill();
    drop(other);
    // Each segment takes two reads and holds some thirty messages: the first batch is read by then, the last one is not.
    let (_, of_journal) = Fault::of(1);
    assert_eq!(of_journal.series.target, Target::Journal);
    bridge.start_by(tracer(&bridge, "pread64", "error=EIO:when=6", of_journal.paths(&bridge)));
    bridge.start();
    let traced = bridge.pid();
    bridge.wait_ids("readings", COUNT);
    bridge.wait_drained("local");
    assert!(bridge.stop().success());
    let threads = injected(&bridge.path("trace"), traced);
    assert!(threads.iter().any(|thread| *thread != traced), "the fault did not happen: this proves nothing");
    assert!(bridge.log().contains("the journal cannot be read; trying again"), "{}", bridge.log());
    Tally::of_sqlite(&bridge.rows(), "readings", 0..COUNT).assert_each_once("readings");
}
