//! The rows of one message under one rule.

use crate::batch::{Batch, RowEncoder};
use crate::mapping::destination::{Destination, NoPlans, Plans};
use crate::mapping::outcome::ValueFault;
use crate::mapping::plan::{Memory, PayloadForm, Plan, Reading};
use crate::mapping::route::Match;
use crate::mapping::shape::Targets;
use crate::message::Message;

/// The rows of one message under one rule, on their way into a batch.
pub(super) struct Writing<'w, 'm, R> {
    pub(super) encoder: &'w R,
    pub(super) plans: &'w [Plan],
    pub(super) targets: &'w mut Targets,
    pub(super) memory: &'w mut Memory,
    pub(super) message: &'w Message<'m>,
    pub(super) matched: &'w Match,
    pub(super) batch: &'w mut Batch,
    /// Where the unit's runs begin.
    pub(super) first_run: usize,
    /// Of the rows so far.
    pub(super) bytes: usize,
}

/// Of all rows of a message, but for the last one. Rows repeat what lies outside of their elements, so a small payload could
/// otherwise take all memory, and again after a restart.
const ROWS_BYTES_MAX: usize = 128 << 20;

impl<R: RowEncoder> Writing<'_, '_, R> {
    /// Adds the rows of a plan; of `only`, which names a plan for each row, those that are its.
    #[inline(always)]
    pub(super) fn rows(&mut self, plan: usize, only: Option<&[usize]>) -> Result<(), ValueFault> {
        let Writing { encoder, plans, targets, memory, message, matched, batch, first_run, bytes } = self;
        let mut write = |reading: &mut Reading<'_>| {
            if *bytes > ROWS_BYTES_MAX * R::SPREAD {
                return Err(plans[plan].rows_too_large(ROWS_BYTES_MAX));
            }
            let portion = batch.open(targets.of(plan, reading.left_out()));
            let rows = &mut batch.portions[portion];
            let start = rows.bytes.len();
            let encoded = reading.encode(*encoder, &mut rows.bytes);
            match &encoded {
                Ok(()) => {
                    *bytes += rows.bytes.len() - start;
                    batch.add_row(portion, *first_run, matched.rule);
                }
                Err(_) => rows.bytes.truncate(start),
            }
            encoded
        };
        match &plans[plan].payload {
            PayloadForm::Staged(stages) => {
                let only = only.map(|only| (only, plan));
                plans[plan].read_rows(stages, message, matched, memory, only, &mut write)
            }
            _ => {
                // By reference, here and in the journal's reader: moving a struct of small parts makes whoever reads it wait.
                let mut read = plans[plan].read(message, matched, memory);
                match &mut read {
                    Ok(reading) => write(reading),
                    Err(fault) => Err(fault.clone()),
                }
            }
        }
    }

    /// Adds the rows of the plans that the message asks for, table by table where each row names its own.
    pub(super) fn by_message(
        &mut self,
        destination: &mut Destination,
        batch_number: u64,
        plans: &mut Plans,
    ) -> Result<(), NoPlans> {
        destination.plans(self.matched.rule, self.message, self.matched, self.memory, batch_number, plans)?;
        if plans.is_one {
            return Ok(self.rows(plans.of_rows[0], None)?);
        }
        let mut done: Vec<usize> = Vec::new();
        for plan in &plans.of_rows {
            if !done.contains(plan) {
                done.push(*plan);
                self.rows(*plan, Some(&plans.of_rows))?;
            }
        }
        Ok(())
    }
}
