//! Continues at the offset that the database holds.

use std::sync::Arc;

use super::position::{Offer, Position, locate};
use super::stop::{Hold, Stop};
use super::worker::Worker;
use crate::delivery::events;
use crate::journal::Fs;
use crate::journal_id::JournalId;
use crate::message::Seq;
use crate::sink::{Sink, StoredOffset};

/// The position of one connection.
pub(super) struct Place {
    pub(super) journal: JournalId,
    /// Stop here and locate again: the records from here on are numbered under another id.
    pub(super) until: Option<Seq>,
}

impl<S: Sink, F: Fs> Worker<S, F> {
    /// Reads the offset from the database and goes there.
    pub(super) async fn locate(&mut self) -> Result<Place, Stop> {
        let bridge = Arc::clone(&self.setup.bridge);
        loop {
            let stored = self.setup.sink.offsets(&bridge).await?;
            let ids = self.setup.journal.ids();
            let status = self.setup.journal.status();
            let offer = Offer { ids: &ids, oldest: status.oldest_seq, end: self.known };
            match locate(&stored, &offer) {
                Position::Resume { journal, from, until } => {
                    self.reader.seek(from)?;
                    let made = self.contact.made(self.setup.journal.fs());
                    made.map_err(|error| self.contact.not_noted(&error))?;
                    self.account.settle(from);
                    self.setup.journal.set_delivered(self.setup.index, from);
                    self.setup.state.update(|state| state.next_seq = Some(from));
                    return Ok(Place { journal, until });
                }
                Position::Begin { journal, from } => {
                    let from = self.beside_a_rival(journal, from, &stored);
                    if let Some(gone) = self.find_predecessor(journal, &stored) {
                        self.predecessor = Some(gone);
                        self.setup.sink.succeed_offset(&bridge, gone, journal, from).await?;
                        events::offset_succeeded(&self.setup.database.name, journal, from);
                    } else {
                        if !stored.iter().any(|offset| ids.iter().any(|(id, _)| *id == offset.journal)) {
                            self.refuse_known_elsewhere(&ids).await?;
                        }
                        events::offset_begun(&self.setup.database.name, journal, from, stored.len());
                        self.setup.sink.start_offset(&bridge, journal, from).await?;
                    }
                    self.has_begun = true;
                    crash_point!("delivery.offset.begun");
                    self.known = self.known.max(from);
                }
                Position::Beyond { journal, stored } => self.begin_anew(journal, stored, &ids).await?,
            }
        }
    }

    /// The volatile journal of an earlier process, whose row the present one takes over: each start has another journal, and
    /// the rows would pile up. Of several the one that was left alone for the longest.
    fn find_predecessor(&self, journal: JournalId, stored: &[StoredOffset]) -> Option<JournalId> {
        let is_due = !self.has_begun && journal.is_volatile();
        let gone = stored.iter().filter(|offset| is_due && offset.journal.is_volatile());
        gone.min_by_key(|offset| offset.updated_at).map(|offset| offset.journal)
    }

    /// Where to begin if a younger process of the same name has taken the row over: what this one has committed is not
    /// delivered again. Without such a process the database is an older copy of itself, and lacks it.
    fn beside_a_rival(&self, journal: JournalId, from: Seq, stored: &[StoredOffset]) -> Seq {
        let is_rival = |offset: &StoredOffset| offset.journal.is_volatile() && Some(offset.journal) != self.predecessor;
        match self.setup.state.snapshot().next_seq {
            Some(next_seq) if self.has_begun && journal.is_volatile() && stored.iter().any(is_rival) => {
                next_seq.max(from)
            }
            _ => from,
        }
    }

    /// A journal that goes under another name in this database was delivered to it before: all of that would be stored a
    /// second time.
    async fn refuse_known_elsewhere(&mut self, ids: &[(JournalId, Seq)]) -> Result<(), Stop> {
        let bridge = &*self.setup.bridge;
        let journals: Vec<JournalId> = ids.iter().map(|(id, _)| *id).collect();
        let others = self.setup.sink.offsets_of_others(bridge, &journals).await?;
        let Some((other, offset)) = others.into_iter().max_by_key(|(_, offset)| offset.next_seq) else { return Ok(()) };
        let sql = self.setup.sink.rename_bridge_sql(&other, bridge, &journals);
        Err(Stop::Hold(Hold {
            reason: format!(
                "the database knows this journal ({}) as that of bridge `{other}`, up to message {}: as `{bridge}` \
                 everything would be delivered twice",
                offset.journal, offset.next_seq
            ),
            mend: Some(format!(
                "set `bridge: {other}` and restart to go on under that name; or rename it here, with no bridge `{other}` \
                 running: {sql}"
            )),
            ..Hold::default()
        }))
    }

    /// While nothing is written: checks that the database still exists and still has this connection's offset. An older
    /// copy of it lacks messages, which nobody would notice before the next message arrives.
    pub(super) async fn look(&mut self, place: &Place) -> Result<(), Stop> {
        let stored = self.setup.sink.offsets(&self.setup.bridge).await?;
        let position = self.reader.position();
        if stored.iter().any(|offset| offset.journal == place.journal && offset.next_seq == position) {
            return Ok(());
        }
        let bridge = &self.setup.bridge;
        Err(Stop::Relocate(format!(
            "the offset of bridge {bridge} is no longer {position}, although nothing was written"
        )))
    }

    /// DESIGN J11: the database holds numbers that this journal never sent it. All that was journaled since the database
    /// was last reached is new to it, so that is where it begins, under an id that it has no row of.
    async fn begin_anew(&mut self, journal: JournalId, stored: Seq, ids: &[(JournalId, Seq)]) -> Result<(), Stop> {
        let status = self.setup.journal.status();
        let newest = ids.last().map_or(journal, |(id, _)| *id);
        // Another database may have had it renewed already.
        let renewed = if newest == journal { self.setup.journal.renew_id()? } else { newest };
        self.known = self.known.max(status.oldest_seq);
        self.setup.sink.start_offset(&self.setup.bridge, renewed, self.known).await?;
        events::journal_renewed(&self.setup.database.name, journal, renewed, stored, status.next_seq);
        Ok(())
    }
}
