//! The places at which the program asks the outside for something, and a simulation on this thread answers instead: a
//! connection to the broker, a random number, the time of day, and work that runs off the event loop.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use tokio::time::Instant;

use super::link::{Link, Network};
use super::random::Random;
use crate::clock::Timestamp;

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

struct World {
    network: Arc<Network>,
    random: Random,
    began: Instant,
}

/// Ends the simulation's answers when dropped.
pub(super) struct Entered;

/// From now on this thread is in the simulated world. To be called within its runtime.
pub(super) fn enter(network: Arc<Network>, random: Random) -> Entered {
    WORLD.with_borrow_mut(|world| *world = Some(World { network, random, began: Instant::now() }));
    Entered
}

impl Drop for Entered {
    fn drop(&mut self) {
        WORLD.with_borrow_mut(|world| *world = None);
    }
}

/// A connection to the simulated broker; `None` outside of a simulation.
pub(crate) fn open_link() -> Option<io::Result<Link>> {
    WORLD.with_borrow(|world| world.as_ref().map(|world| world.network.connect()))
}

/// A random number that follows from the seed; `None` outside of a simulation.
pub(crate) fn random() -> Option<u32> {
    WORLD.with_borrow_mut(|world| world.as_mut().map(|world| world.random.below(1 << 32) as u32))
}

/// The simulated time of day; `None` outside of a simulation.
pub(crate) fn now() -> Option<Timestamp> {
    // 2026-01-01.
    const BEGINNING_US: i64 = 1_767_225_600_000_000;
    WORLD.with_borrow(|world| {
        world.as_ref().map(|world| Timestamp(BEGINNING_US + world.began.elapsed().as_micros() as i64))
    })
}

/// Whether work that blocks must stay on this thread, where the simulation decides when it is done.
pub(crate) fn is_simulated() -> bool {
    WORLD.with_borrow(Option::is_some)
}
