//! The bounds of one run, and the counters that enforce them.
//!
//! The interpreter has no interrupt. It uses three of our types at every step, and each enforces a bound. The look-up
//! of a term ([`Frame`](super::frame::Frame)) happens at each step and returns a term that ends the run once a bound is
//! exceeded. The context is copied once for each unfinished step, and the copies are counted. The values count their
//! bytes when they are created. The program's `try` cannot catch any of these ends.
//!
//! The counters belong to the thread: a run never leaves it.

use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// CONTRACT: a run ends after one second. What was begun before is finished: one sort, one search.
pub(super) const TIME_MAX: Duration = Duration::from_secs(1);
/// All runs for one message: rows by the ten thousand may each take one.
const MESSAGE_TIME_MAX: Duration = Duration::from_secs(10);
/// Steps between two looks at the clock: a look costs as much as a step.
const CLOCK_STEPS: u32 = 64;
/// Strings, arrays and objects that are alive at one time. A payload of 1 MiB takes about 10 MiB.
const MEMORY_BYTES_MAX: usize = 64 << 20;
/// Contexts and iterators that are alive at one time, each of some hundred bytes.
const FRAMES_MAX: u32 = 100_000;
/// Links of the interpreter's own lists, which are dropped by recursion.
const LINKS_MAX: u32 = 10_000;
/// A thread that runs programs has at least this stack.
pub const STACK_BYTES: usize = 16 << 20;
/// The interpreter's share; the rest is for sorting, comparing and dropping values in between.
const STACK_BYTES_USED_MAX: usize = 5 << 20;

/// The bound that ended a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    Time,
    Memory,
    /// Calls within calls.
    Recursion,
    /// Arrays within arrays.
    Nesting,
    Outputs,
    OutputBytes,
}

#[derive(Debug)]
pub(super) struct Budget {
    ended: Cell<Option<Bound>>,
    /// [`TIME_MAX`], or less in tests.
    time_max: Cell<Duration>,
    /// What is left of [`MESSAGE_TIME_MAX`].
    message_time: Cell<Duration>,
    began: Cell<Option<Instant>>,
    deadline: Cell<Option<Instant>>,
    steps: Cell<u32>,
    frames: Cell<u32>,
    links: Cell<u32>,
    bytes: Cell<usize>,
    /// The lowest address the stack may reach.
    floor: Cell<usize>,
    /// The highest address of this thread's stack, if it is known to have [`STACK_BYTES`].
    base: Cell<Option<usize>>,
    /// Values are shown by their kind: for messages, which never hold a value.
    shows_kinds: Cell<bool>,
}

thread_local! {
    static BUDGET: Budget = const {
        Budget {
            ended: Cell::new(None),
            time_max: Cell::new(TIME_MAX),
            message_time: Cell::new(MESSAGE_TIME_MAX),
            began: Cell::new(None),
            deadline: Cell::new(None),
            steps: Cell::new(0),
            frames: Cell::new(0),
            links: Cell::new(0),
            bytes: Cell::new(0),
            floor: Cell::new(0),
            base: Cell::new(None),
            shows_kinds: Cell::new(false),
        }
    };
}

#[inline]
pub(super) fn budget<T>(read: impl FnOnce(&Budget) -> T) -> T {
    BUDGET.with(read)
}

/// Tells that this thread was started with [`STACK_BYTES`] of stack; to be called first thing in it.
pub fn has_stack() {
    budget(|budget| budget.base.set(Some(stack_address())));
}

/// The runs that follow on this thread are for another message.
pub fn begin_message() {
    budget(|budget| budget.message_time.set(MESSAGE_TIME_MAX));
}

/// As after ten seconds of runs for one message.
#[cfg(test)]
pub(crate) fn spend_message_time() {
    budget(|budget| budget.message_time.set(Duration::ZERO));
}

impl Budget {
    pub(super) fn knows_stack(&self) -> bool {
        self.base.get().is_some()
    }

    pub(super) fn begin(&self) {
        let top = self.base.get().unwrap_or_else(stack_address);
        self.floor.set(top.saturating_sub(STACK_BYTES_USED_MAX));
        let now = Instant::now();
        self.began.set(Some(now));
        self.deadline.set(Some(now + self.time_max.get().min(self.message_time.get())));
        self.ended.set(None);
        self.steps.set(0);
    }

    /// The run that was begun is over.
    pub(super) fn finish(&self) {
        let taken = self.began.take().map_or(Duration::ZERO, |began| began.elapsed());
        self.message_time.set(self.message_time.get().saturating_sub(taken));
    }

    /// One step of the interpreter; false if there may be no more.
    #[inline]
    pub(super) fn step(&self) -> bool {
        let steps = self.steps.get().wrapping_add(1);
        self.steps.set(steps);
        if steps.is_multiple_of(CLOCK_STEPS) && self.deadline.get().is_some_and(|deadline| Instant::now() >= deadline) {
            self.end(Bound::Time);
        }
        if stack_address() < self.floor.get() {
            self.end(Bound::Recursion);
        }
        self.ended.get().is_none()
    }

    /// As [`Budget::step`], for a step that may itself take milliseconds.
    pub(super) fn long_step(&self) -> bool {
        if self.deadline.get().is_some_and(|deadline| Instant::now() >= deadline) {
            self.end(Bound::Time);
        }
        self.step()
    }

    pub(super) fn end(&self, bound: Bound) {
        // The first is the cause.
        if self.ended.get().is_none() {
            self.ended.set(Some(bound));
        }
    }

    #[inline]
    pub(super) fn ended(&self) -> Option<Bound> {
        self.ended.get()
    }

    #[inline]
    pub(super) fn add_frame(&self) {
        let frames = self.frames.get() + 1;
        self.frames.set(frames);
        if frames > FRAMES_MAX {
            self.end(Bound::Memory);
        }
    }

    #[inline]
    pub(super) fn remove_frame(&self) {
        self.frames.set(self.frames.get() - 1);
    }

    pub(super) fn shows_kinds(&self) -> bool {
        self.shows_kinds.get()
    }

    pub(super) fn show_kinds(&self, yes: bool) {
        self.shows_kinds.set(yes);
    }

    #[cfg(test)]
    pub(super) fn set_time_max(&self, time: Duration) {
        self.time_max.set(time);
    }

    #[cfg(test)]
    pub(super) fn is_clear(&self) -> bool {
        (self.frames.get(), self.links.get(), self.bytes.get()) == (0, 0, 0)
    }
}

/// Roughly where the stack is now.
#[inline]
fn stack_address() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(black_box(&here)).addr()
}

/// Bytes that a value holds, given back when it goes.
#[derive(Debug)]
pub(super) struct Charge(usize);

impl Charge {
    pub(super) fn new(bytes: usize) -> Charge {
        budget(|budget| {
            let sum = budget.bytes.get().saturating_add(bytes);
            budget.bytes.set(sum);
            if sum > MEMORY_BYTES_MAX {
                budget.end(Bound::Memory);
            }
        });
        Charge(bytes)
    }

    pub(super) fn set(&mut self, bytes: usize) {
        if bytes != self.0 {
            *self = Charge::new(bytes);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        budget(|budget| budget.bytes.set(budget.bytes.get().saturating_sub(self.0)));
    }
}

/// Something unfinished: an iterator that holds on to what it goes through.
#[derive(Debug)]
pub(super) struct Unfinished(());

impl Unfinished {
    pub(super) fn new() -> Unfinished {
        budget(Budget::add_frame);
        Unfinished(())
    }
}

impl Clone for Unfinished {
    fn clone(&self) -> Unfinished {
        Unfinished::new()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        budget(Budget::remove_frame);
    }
}

/// A link of one of the interpreter's lists.
#[derive(Debug)]
pub(super) struct Link(());

impl Link {
    pub(super) fn new() -> Link {
        budget(|budget| {
            budget.links.set(budget.links.get() + 1);
            if budget.links.get() > LINKS_MAX {
                budget.end(Bound::Recursion);
            }
        });
        Link(())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        budget(|budget| budget.links.set(budget.links.get() - 1));
    }
}
