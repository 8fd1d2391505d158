//! Makes the connection's subscriptions match the plan. One request is sent at a time, and its confirmation is stored.

use tokio::time::Instant;

use super::{Session, Shared};
use crate::clock;
use crate::mqtt::packet::SubAck;
use crate::mqtt::wire::Malformed;
use crate::source::intake::Journal;
use crate::source::reconcile;
use crate::source::stand_ins::StandIns;

impl<J: Journal> Session<'_, J> {
    /// Identifiers do not tell this broker's copies apart: from now on no two filters shall overlap.
    pub(super) fn do_without_identifiers(&mut self) {
        let Shared { store, stored, events, caution, .. } = &mut *self.shared;
        store.copies.begin(false);
        stored.identifiers_tell_nothing = true;
        caution.limits.subscription_identifiers = false;
        events.copies_alike();
        (self.is_outdated, self.wants_reconcile) = (true, true);
    }

    pub(super) fn on_suback(&mut self, suback: &SubAck) -> Result<(), Malformed> {
        crash_point!("source.suback.unread");
        let answers = self.reconciler.on_suback(suback, &mut self.shared.stored, &mut self.link.out)?;
        let Shared { store, events, caution, .. } = &mut *self.shared;
        let mut is_first_refusal = false;
        for answer in &answers {
            let is_refused = answer.code >= 0x80;
            self.refusals.answered(answer.code);
            caution.answered(&answer.asked.filter, is_refused);
            self.is_outdated |= is_refused;
            events.answered(self.version, answer, suback.reason.as_deref(), &self.plan);
            match &mut store.stand_ins {
                Some(stand_ins) => stand_ins.answered(&answer.asked.filter, is_refused),
                None => is_first_refusal |= is_refused,
            }
        }
        if is_first_refusal {
            self.note_stand_ins();
        }
        self.on_answer();
        Ok(())
    }

    /// The broker answered a request.
    pub(super) fn on_answer(&mut self) {
        if self.reconciler.is_settled() {
            self.subscribe_to_all = false;
            self.asked_at = None;
            // Not at once: the plan may be another since, whose identifiers must be on the disk first.
            self.wants_reconcile = true;
        } else {
            self.asked_at = Some(Instant::now());
        }
    }

    /// Asks for what is missing, then gives up what is superfluous; once there is neither, what the broker confirmed is
    /// stored. To be called when it owes no answer.
    fn proceed(&mut self) {
        if std::mem::take(&mut self.is_outdated) {
            self.take_up_plan();
        }
        let Shared { stored, file, events, caution, .. } = &mut *self.shared;
        let now = Instant::now();
        self.asked_at = Some(now);
        self.reconciler.subscribe(&self.plan, stored, caution, self.subscribe_to_all, &mut self.link.out);
        if !self.reconciler.is_settled() {
            events.subscribing(self.reconciler.asking());
            return;
        }
        let superfluous = reconcile::superfluous(&self.plan, stored, caution);
        if !superfluous.is_empty() && std::mem::take(&mut stored.confirmed) {
            // Should the answer get lost, a list that has the filter must not be trusted.
            file.save(stored);
        }
        if !superfluous.is_empty() && file.is_busy() {
            self.asked_at = None;
            self.wants_reconcile = true;
            return;
        }
        self.reconciler.unsubscribe(superfluous, caution, &mut self.link.out);
        if self.reconciler.is_settled() {
            self.settled(now);
        }
    }

    /// The broker owes nothing more.
    fn settled(&mut self, now: Instant) {
        let Shared { stored, file, events, caution, presence, .. } = &mut *self.shared;
        self.asked_at = None;
        self.subscribe_to_all = false;
        self.is_new = false;
        presence.announce(self.version, &caution.limits, &mut self.link.out);
        events.settled();
        caution.settled();
        let refused = caution.has_refusals().then(|| now + self.refusals.next());
        self.retry_at = refused.into_iter().chain(caution.next_due(now)).min();
        stored.confirmed = true;
        crash_point!("source.subscribed");
        stored.last_connected_us = Some(clock::now().as_micros());
        file.save(stored);
    }

    /// Adapts the rules' plan to what the broker will have.
    fn take_up_plan(&mut self) {
        self.plan = self.shared.adapted_plan();
        let Shared { store, stored, events, caution, .. } = &mut *self.shared;
        store.sieve = self.plan.sieve();
        events.planned(self.version, &self.plan, stored, caution);
        self.note_stand_ins();
    }

    /// Looks which filters others have to stand in for. In a new session those do not count that are only yet to be granted:
    /// with the grant come the retained messages.
    pub(super) fn note_stand_ins(&mut self) {
        let Shared { store, stored, caution, .. } = &mut *self.shared;
        let now = Instant::now();
        let is_refused =
            |filter: &str| caution.is_barred(filter, now) || caution.limits.refusal(self.version, filter).is_some();
        let is_absent = |filter: &str| !stored.filters.contains_key(filter) && (!self.is_new || is_refused(filter));
        store.stand_ins = StandIns::of(&self.plan, &is_absent);
    }

    /// Brings the subscriptions in line with the plan, if that is wanted and possible now.
    pub(super) fn reconcile(&mut self) {
        if !self.wants_reconcile || !self.reconciler.is_settled() {
            return;
        }
        let Shared { plan, stored, file, .. } = &mut *self.shared;
        if stored.adopt_identifiers(plan.borrow_and_update().stored()) {
            file.save(stored);
        }
        // An identifier is on the disk before the broker hears of it.
        if file.is_busy() {
            return;
        }
        self.wants_reconcile = false;
        self.proceed();
    }
}
