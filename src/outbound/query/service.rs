//! The queue of requests and its threads.
//!
//! The service runs on the main thread's event loop, where it only determines the query of a request and checks for
//! room. A thread is started if a request finds no idle one, and ends if no request came for [`IDLE`].

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::job::{Clerk, Job};
use super::{IDLE, RUNNING_MAX, WAITING_MAX};
use crate::config::query::Query;
use crate::config::{Bridge, Config, Database};
use crate::jq;
use crate::outbound::{Outbound, Request};
use crate::rule::TopicPattern;
use crate::telemetry::Metrics;

/// By how much the priority of the threads is lowered. Statements for SQLite run on these threads. On two processors that
/// other programs used too, eight endless statements raised the 99th percentile of the messages' latency from 85 to 1,263 ms;
/// with this value from 76 to 169 ms. A thread at 10 gets a tenth of the time of a thread at 0, so queries still make
/// progress on a busy machine.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// After an answer that was beyond a limit a thread rests so many times as long as the statement took, which cost as much as a
/// useful one: together, all threads then take the time of one.
const REST: u32 = RUNNING_MAX as u32 - 1;
const REST_MAX: Duration = Duration::from_secs(1);

/// A database that stays away is logged this often.
const REPEAT_EVERY: Duration = Duration::from_secs(300);

/// The queries of one version of the configuration.
pub struct QuerySet {
    pub(super) bridge: Bridge,
    pub(super) databases: Vec<Database>,
    pub(super) queries: Vec<Query>,
    /// When it was last logged that a database cannot be reached.
    told: Mutex<Option<Instant>>,
}

impl QuerySet {
    pub fn new(config: &Config) -> QuerySet {
        QuerySet {
            bridge: Arc::clone(&config.bridge),
            databases: config.databases.clone(),
            queries: config.queries.clone(),
            told: Mutex::new(None),
        }
    }

    /// The query that takes requests on this topic: the first.
    pub(super) fn find(&self, topic: &str) -> Option<usize> {
        self.queries.iter().position(|query| query.topic.takes(topic))
    }

    pub(super) fn unavailable(&self, query: &Query, database: &str, error: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let query = &*query.name;
        if told.is_none_or(|told| told.elapsed() >= REPEAT_EVERY) {
            *told = Some(Instant::now());
            tracing::warn!(query, database, error, "a query's database cannot be reached; requests are refused");
        } else {
            tracing::debug!(query, database, error, "a query's database cannot be reached; requests are refused");
        }
    }

    /// Those that no other one covers: a broker may bring a message once for each filter. Of two that cover each other (`#` and
    /// `+/#`), the first.
    fn filters(&self) -> Vec<String> {
        let topics = || self.queries.iter().map(|query| &query.topic).enumerate();
        let is_covered = |at: usize, topic: &TopicPattern| {
            topics().any(|(other, wide)| other != at && wide.covers(topic) && (other < at || !topic.covers(wide)))
        };
        topics().filter(|&(at, topic)| !is_covered(at, topic)).map(|(_, topic)| topic.filter().to_owned()).collect()
    }
}

/// What the service and its threads share.
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    threads: usize,
    idle: usize,
    is_over: bool,
}

/// Answers requests, until the sender of the sets is dropped. To be called on the event loop.
pub fn start(
    config: &Config,
    outbound: Outbound,
    requests: mpsc::Receiver<Request>,
    metrics: Arc<Metrics>,
) -> watch::Sender<Arc<QuerySet>> {
    let (sets, set) = watch::channel(Arc::new(QuerySet::new(config)));
    let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
    tokio::spawn(Service { shared, outbound, metrics, set }.run(requests));
    sets
}

struct Service {
    shared: Arc<Shared>,
    outbound: Outbound,
    metrics: Arc<Metrics>,
    set: watch::Receiver<Arc<QuerySet>>,
}

impl Service {
    async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut set = self.take_set();
        let mut clerk = Clerk::new(self.outbound.clone(), Arc::clone(&self.metrics), Arc::clone(&set));
        loop {
            tokio::select! {
                changed = self.set.changed() => match changed {
                    Ok(()) => set = self.take_set(),
                    Err(_) => break,
                },
                request = requests.recv() => match request {
                    // A topic that is not asked for any more may still bring some.
                    Some(request) => match set.find(&request.topic) {
                        Some(query) => {
                            self.take(Job { set: Arc::clone(&set), query, request }, &mut clerk);
                            // A refusal is worked out here, beside the session that takes messages.
                            tokio::task::yield_now().await;
                        }
                        None => tracing::debug!(topic = request.topic, "no query takes this request"),
                    },
                    None => break,
                },
            }
        }
        self.shared.lock().is_over = true;
        self.shared.changed.notify_all();
    }

    fn take_set(&mut self) -> Arc<QuerySet> {
        let set = Arc::clone(&self.set.borrow_and_update());
        self.metrics.queries.name(set.queries.iter().map(|query| Arc::clone(&query.name)).collect());
        if !set.queries.is_empty() {
            self.outbound.open();
        }
        self.outbound.subscribe(set.filters());
        set
    }

    /// Queues a request, or refuses it.
    fn take(&self, job: Job, clerk: &mut Clerk) {
        let mut state = self.shared.lock();
        if state.waiting.len() >= WAITING_MAX {
            drop(state);
            return clerk.refuse(&job, "too many queries wait; ask again later");
        }
        let needs_thread = state.idle <= state.waiting.len() && state.threads < RUNNING_MAX;
        state.waiting.push_back(job);
        if needs_thread {
            state.threads += 1;
            if let Err(error) = self.spawn() {
                state.threads -= 1;
                tracing::debug!(%error, "no further thread for queries");
                if state.threads == 0 {
                    let job = state.waiting.pop_back().expect("it was pushed above");
                    drop(state);
                    return clerk.refuse(&job, "the bridge has no room for queries at present");
                }
            }
        }
        drop(state);
        self.shared.changed.notify_one();
    }

    fn spawn(&self) -> io::Result<()> {
        let (shared, outbound, metrics) = (Arc::clone(&self.shared), self.outbound.clone(), Arc::clone(&self.metrics));
        let set = Arc::clone(&self.set.borrow());
        // Room for jq programs; what is not used is only addresses.
        let builder = thread::Builder::new().name("query".to_owned()).stack_size(jq::STACK_BYTES);
        builder.spawn(move || {
            jq::has_stack();
            yield_to_messages();
            work(&shared, &mut Clerk::new(outbound, metrics, set));
        })?;
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Whatever panicked held it for a push or a pop.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next request; `None`: the thread ends.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.is_over {
                break;
            }
            if let Some(job) = state.waiting.pop_front() {
                return Some(job);
            }
            state.idle += 1;
            let (woken, waited) = self.changed.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if waited.timed_out() && state.waiting.is_empty() {
                break;
            }
        }
        state.threads -= 1;
        None
    }
}

/// Gives the calling thread a lower priority than those that take and store messages have.
fn yield_to_messages() {
    // Elsewhere a priority is the whole process's.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!(%error, "a thread for queries keeps its priority");
    }
}

fn work(shared: &Shared, clerk: &mut Clerk) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::debug!(%error, "no event loop for a thread of queries");
            shared.lock().threads -= 1;
            return;
        }
    };
    while let Some(job) = shared.next() {
        runtime.block_on(clerk.answer(&job));
        if let Some(wasted) = clerk.wasted.take() {
            thread::sleep(wasted.saturating_mul(REST).min(REST_MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LoadRequest, load_text};

    #[test]
    fn what_another_filter_brings_is_not_asked_for_twice() {
        let text = "mqtt: { url: 'mqtt://localhost' }\ndatabases: { d: { url: 'sqlite:d.db' } }\nqueries:\n  - { topic: q/latest, sql: \
                    select 1 }\n  - { topic: 'q/{x}', sql: select 1 }\n  - { topic: 'r/#', sql: select 1 }\n  - { topic: 'r/+/#', sql: \
                    select 1 }\n  - { topic: '#', sql: select 1 }\n  - { topic: '+/#', sql: select 1 }\n";
        let load = |text: &str| load_text(&LoadRequest::from_process(None, Vec::new()), text);
        let config = load(text).unwrap_or_else(|found| panic!("{found}"));
        assert_eq!(QuerySet::new(&config).filters(), ["#"]);
        let (narrow, _) = text.split_once("  - { topic: '#'").unwrap();
        let config = load(narrow).unwrap_or_else(|found| panic!("{found}"));
        assert_eq!(QuerySet::new(&config).filters(), ["q/+", "r/#"]);
    }
}
