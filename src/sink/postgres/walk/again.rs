//! Further attempts with refused units, because a row may refer to a later one. A unit that changes later ones makes
//! these be written once more, so that the tables show the journal's order.

use super::{Attempt, Offender, Walk};
use crate::sink::SinkError;

impl Walk<'_> {
    /// Tries the refused units again until none of them is accepted; keeps those that are still refused. `false` if the
    /// session is over.
    pub(super) async fn further_chances(&mut self) -> Result<bool, SinkError> {
        let mut late = Vec::new();
        let goes_on = self.chances_of_others(&mut late).await;
        self.refused.append(&mut late);
        self.refused.sort_by_key(|offender| offender.unit);
        goes_on
    }

    /// As [`Walk::further_chances`]; those that have none are put into `late`.
    async fn chances_of_others(&mut self, late: &mut Vec<Offender>) -> Result<bool, SinkError> {
        loop {
            let (too_late, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.refused)
                .into_iter()
                .partition(|offender| offender.refused.is_final || self.is_late(offender.unit));
            late.extend(too_late);
            self.refused = others;
            // What a closed table did not take says nothing more.
            let units = self.refused.iter().map(|offender| offender.unit);
            let units: Vec<usize> = units.filter(|&unit| !self.is_closed(unit)).collect();
            // Often all of them are children whose parents came later: then one COPY for each table accepts them.
            if units.len() > 1 {
                let units = self.with_repeated(&units, late);
                match self.attempt(&units).await? {
                    Attempt::Taken => {
                        self.refused.clear();
                        return Ok(true);
                    }
                    Attempt::NotBegun(closed) => {
                        self.closed.push(closed);
                        return Ok(false);
                    }
                    Attempt::Refused(_) => {}
                }
            }
            let mut still_refused = Vec::new();
            for &unit in &units {
                let units = self.with_repeated(&[unit], late);
                match self.attempt(&units).await? {
                    Attempt::Taken => self.refused.retain(|offender| offender.unit != unit),
                    Attempt::NotBegun(closed) => {
                        self.closed.push(closed);
                        return Ok(false);
                    }
                    Attempt::Refused(refused) => still_refused.push(Offender { unit, refused }),
                }
            }
            self.refused = still_refused;
            if self.refused.len() == units.len() {
                return Ok(true);
            }
        }
    }

    /// These units, which are ascending, followed by the later ones that must be written once more after them. Those that
    /// `stay_out` are in no table.
    fn with_repeated(&self, late: &[usize], stay_out: &[Offender]) -> Vec<usize> {
        let tried = self.waiting.last().map_or(self.units.len(), |range| range.start);
        let is_refused = |unit: usize| self.refused.iter().chain(stay_out).any(|offender| offender.unit == unit);
        let taken = self.units[..tried].iter().copied().filter(|&unit| !self.is_closed(unit) && !is_refused(unit));
        let repeated = self.batch.to_be_repeated(late, taken);
        let mut all: Vec<usize> = late.iter().copied().chain(repeated).collect();
        all.sort_unstable();
        all
    }
}
