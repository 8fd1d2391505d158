//! Turns of long statements on the processors.
//!
//! SQLite runs inside the bridge, so its statements use the processors that take and store messages. A statement that has
//! run for [`FREE`], or one of many for [`FREE_AMONG_MANY`], continues only with a turn. There are fewer turns than
//! processors, so one processor is left to everything else (with a single one, there is one turn). A turn lasts [`SLICE`]
//! if others wait for it; they get it in the order in which they came. Statements that end soon never wait.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than the statements that a page or a device asks for every second.
const FREE: Duration = Duration::from_millis(10);

/// The same while more statements run than there are turns: together, short ones take the processors as well.
const FREE_AMONG_MANY: Duration = Duration::from_millis(1);

/// Long against the change from one thread to another, short against the two seconds that a statement has by default.
const SLICE: Duration = Duration::from_millis(10);

/// The turns of all statements of a process.
pub(super) struct Turns {
    state: Mutex<State>,
    freed: Condvar,
    waiting: AtomicUsize,
    /// Statements, with a turn or without.
    running: AtomicUsize,
    count: usize,
}

struct State {
    free: usize,
    next_ticket: u64,
    queue: VecDeque<u64>,
}

impl Turns {
    pub(super) fn of_this_process() -> Arc<Turns> {
        static TURNS: OnceLock<Arc<Turns>> = OnceLock::new();
        let processors = || thread::available_parallelism().map_or(1, usize::from);
        Arc::clone(TURNS.get_or_init(|| Arc::new(Turns::new(processors().saturating_sub(1).max(1)))))
    }

    fn new(count: usize) -> Turns {
        let state = State { free: count, next_ticket: 0, queue: VecDeque::new() };
        let (waiting, running) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Turns { state: Mutex::new(state), freed: Condvar::new(), waiting, running, count }
    }

    /// Waits for a turn; `false` if there is none until `deadline`.
    fn take(&self, deadline: Instant) -> bool {
        let mut state = self.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.queue.push_back(ticket);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let has_turn = loop {
            if state.free > 0 && state.queue.front() == Some(&ticket) {
                state.free -= 1;
                break true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break false;
            }
            state = self.freed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        };
        state.queue.retain(|waiting| *waiting != ticket);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        // The next in the queue may have one as well.
        self.freed.notify_all();
        has_turn
    }

    fn give_back(&self) {
        self.lock().free += 1;
        self.freed.notify_all();
    }

    /// How long a statement runs without a turn that begins while so many others run.
    fn free_among(&self, others: usize) -> Duration {
        if others < self.count { FREE } else { FREE_AMONG_MANY }
    }

    fn is_waited_for(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time and the turn of the statement at hand, for the handler that SQLite calls in the statement's own thread.
pub(super) struct Clock {
    turns: Arc<Turns>,
    /// All times are microseconds after it.
    began: Instant,
    /// When the statement is to end.
    deadline: AtomicU64,
    /// When it needs a turn, or another one.
    free_until: AtomicU64,
    /// Turns that it has: 0 or 1.
    held: AtomicUsize,
}

/// A statement that runs. Its turn ends with it.
pub(super) struct Running<'c>(&'c Clock);

impl Clock {
    pub(super) fn new(turns: Arc<Turns>) -> Clock {
        let (deadline, free_until) = (AtomicU64::new(u64::MAX), AtomicU64::new(u64::MAX));
        Clock { turns, began: Instant::now(), deadline, free_until, held: AtomicUsize::new(0) }
    }

    /// Begins a statement; `None` if its time is over already.
    pub(super) fn start(&self, deadline: Instant) -> Option<Running<'_>> {
        let now = self.now();
        let deadline = micros(deadline.saturating_duration_since(self.began));
        if now > deadline {
            return None;
        }
        let others = self.turns.running.fetch_add(1, Ordering::Relaxed);
        let free = self.turns.free_among(others);
        self.deadline.store(deadline, Ordering::Relaxed);
        self.free_until.store(now + micros(free), Ordering::Relaxed);
        Some(Running(self))
    }

    /// Whether the statement is to end. Waits for a turn if it needs one.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        let now = self.now();
        if now > self.deadline.load(Ordering::Relaxed) {
            return true;
        }
        now >= self.free_until.load(Ordering::Relaxed) && !self.has_turn()
    }

    /// Sees to it that the statement has a turn; `false` if its time ends before.
    #[cold]
    fn has_turn(&self) -> bool {
        let is_held = self.held.load(Ordering::Relaxed) > 0;
        if !is_held || self.turns.is_waited_for() {
            self.give_back();
            let deadline = self.began + Duration::from_micros(self.deadline.load(Ordering::Relaxed));
            if !self.turns.take(deadline) {
                return false;
            }
            self.held.store(1, Ordering::Relaxed);
        }
        self.free_until.store(self.now() + micros(SLICE), Ordering::Relaxed);
        true
    }

    fn give_back(&self) {
        if self.held.swap(0, Ordering::Relaxed) > 0 {
            self.turns.give_back();
        }
    }

    fn now(&self) -> u64 {
        micros(self.began.elapsed())
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.give_back();
        self.0.turns.running.fetch_sub(1, Ordering::Relaxed);
        // Between statements nothing is bounded.
        self.0.deadline.store(u64::MAX, Ordering::Relaxed);
        self.0.free_until.store(u64::MAX, Ordering::Relaxed);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(30);

    #[test]
    fn no_more_statements_run_than_there_are_turns_and_each_comes_to_its_end() {
        let turns = Arc::new(Turns::new(2));
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let ended = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        assert!(turns.take(Instant::now() + SOON));
                        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        thread::yield_now();
                        running.fetch_sub(1, Ordering::SeqCst);
                        turns.give_back();
                    }
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        assert_eq!(ended.into_inner(), 6);
        assert!((1..=2).contains(&most.into_inner()));
        assert!(!turns.is_waited_for());
        assert_eq!(turns.lock().free, 2);
    }

    #[test]
    fn a_turn_goes_to_whoever_waits_longest() {
        let turns = Arc::new(Turns::new(1));
        assert!(turns.take(Instant::now() + SOON));
        let order = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for name in 0..4 {
                let before = turns.waiting.load(Ordering::Relaxed);
                scope.spawn({
                    let (turns, order) = (&turns, &order);
                    move || {
                        assert!(turns.take(Instant::now() + SOON));
                        order.lock().unwrap().push(name);
                        turns.give_back();
                    }
                });
                while turns.waiting.load(Ordering::Relaxed) == before {
                    thread::yield_now();
                }
            }
            turns.give_back();
        });
        assert_eq!(order.into_inner().unwrap(), [0, 1, 2, 3]);
    }

    #[test]
    fn a_statement_that_gets_no_turn_ends_with_its_time_and_leaves_the_queue() {
        let turns = Arc::new(Turns::new(1));
        let clock = Clock::new(Arc::clone(&turns));
        assert!(turns.take(Instant::now() + SOON));
        let running = clock.start(Instant::now() + SOON).unwrap();
        clock.free_until.store(0, Ordering::Relaxed);
        clock.deadline.store(clock.now() + 20_000, Ordering::Relaxed);
        assert!(clock.is_over());
        drop(running);
        assert!(!turns.is_waited_for());
        assert!(clock.start(Instant::now() - FREE).is_none());
        assert_eq!(turns.running.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_turn_lasts_until_the_statement_ends() {
        let turns = Arc::new(Turns::new(1));
        let clock = Clock::new(Arc::clone(&turns));
        let running = clock.start(Instant::now() + SOON).unwrap();
        for _ in 0..3 {
            clock.free_until.store(0, Ordering::Relaxed);
            assert!(!clock.is_over());
            assert_eq!(turns.lock().free, 0);
        }
        drop(running);
        assert_eq!(turns.lock().free, 1);
    }

    #[test]
    fn among_many_statements_each_needs_a_turn_sooner() {
        let turns = Arc::new(Turns::new(1));
        let clocks = [(); 2].map(|()| Clock::new(Arc::clone(&turns)));
        let both = clocks.each_ref().map(|clock| clock.start(Instant::now() + SOON).unwrap());
        assert_eq!(turns.running.load(Ordering::Relaxed), 2);
        assert_eq!([0, 1, 2].map(|others| turns.free_among(others)), [FREE, FREE_AMONG_MANY, FREE_AMONG_MANY]);
        drop(both);
        assert_eq!(turns.running.load(Ordering::Relaxed), 0);
    }
}
