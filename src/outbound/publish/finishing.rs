//! Finishes units in flight once the broker has answered.

use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::events;
use super::publisher::{Publisher, Stop};
use super::unit::{Fate, Outcome, Unit, outcome};
use crate::outbound::Published;
use crate::sink::{ChangeFeed, ChangeKey, Done};

impl<F: ChangeFeed> Publisher<F> {
    /// The broker answered for all messages of a unit.
    pub(super) fn settle(&mut self, index: usize, published: Published) {
        crash_point!("publish.acknowledged");
        let unit = &mut self.units[index];
        for refused in unit.settle(published.refused) {
            events::refused(&self.state, &refused, unit.marks[refused.index].offset);
        }
    }

    /// Finishes what is settled, if it may be; whether that was any.
    pub(super) async fn finish_settled(&mut self) -> Result<bool, Stop> {
        if !self.units.front().is_some_and(Unit::is_through) {
            let is_refused = self.units.iter().any(|unit| !unit.again.is_empty());
            return match is_refused && self.units.iter().all(Unit::is_settled) {
                true => Err(self.set_aside().await?),
                false => Ok(false),
            };
        }
        self.absorb_settled();
        let Some(done) = self.units.front().map(|unit| unit.done) else { return Ok(false) };
        self.finish(&done, &[]).await?;
        crash_point!("publish.finished");
        self.units.pop_front();
        Ok(true)
    }

    /// The broker refused messages that are to go another time, and all that is under way is settled.
    async fn set_aside(&mut self) -> Result<Stop, Stop> {
        let Outcome { done, kept } = outcome(&self.units);
        if let Some(done) = done {
            self.finish(&done, &kept).await?;
        }
        let wait = self.next_wait(Instant::now());
        let first = self.units.iter().find_map(|unit| unit.again.first().map(|refused| (unit, refused)));
        if let Some((unit, refused)) = first {
            events::held(&self.state, refused, unit.marks[refused.index].offset, wait);
        }
        self.start_over();
        Ok(Stop::Refused { wait })
    }

    /// Takes the units behind the first into it that are through.
    fn absorb_settled(&mut self) {
        while let Some(next) = self.units.get_mut(1) {
            if let Fate::Waiting(settling) = &mut next.fate {
                match settling.now_or_never() {
                    Some(Ok(published)) => self.settle(1, published),
                    Some(Err(unknown)) => {
                        // Told when it is waited for.
                        next.fate = Fate::Waiting(Box::pin(std::future::ready(Err(unknown))));
                        return;
                    }
                    None => return,
                }
            }
            if !self.units.get(1).is_some_and(Unit::is_through) {
                return;
            }
            if let Some(next) = self.units.remove(1)
                && let Some(front) = self.units.front_mut()
            {
                front.absorb(&next);
            }
        }
    }

    async fn finish(&mut self, done: &Done, kept: &[ChangeKey]) -> Result<(), Stop> {
        self.feed.finish(done, kept).await?;
        self.state.finished(done.published, done.skipped, done.to);
        self.state.set_error(None);
        Ok(())
    }
}
