//! Rows that are written later than their turn.
//!
//! A row may be refused at first and accepted after later rows that it refers to. If it replaces the row of its key
//! (`mode: upsert`), it must not overwrite the values of later messages. So the later rows of the same key are written
//! once more after it, which changes only the order.
//!
//! A rule's own statement may have any effect, and a second one if it is repeated. So statements are never repeated,
//! and a refused statement is not tried again after a later one.

use super::{Batch, Verb};

impl Batch {
    /// The units among `taken`, the written ones in order, that must be written again after the `late` ones. A unit that
    /// is written again writes all of its tables, so later units of these follow it as well.
    pub fn to_be_repeated(&self, late: &[usize], taken: impl Iterator<Item = usize>) -> Vec<usize> {
        let mut first_of_table: Vec<(usize, usize)> = Vec::new();
        let note = |first_of_table: &mut Vec<(usize, usize)>, unit: usize| {
            for table in self.upserted_tables(unit) {
                match first_of_table.iter_mut().find(|(known, _)| *known == table) {
                    Some((_, first)) => *first = unit.min(*first),
                    None => first_of_table.push((table, unit)),
                }
            }
        };
        late.iter().for_each(|&unit| note(&mut first_of_table, unit));
        if first_of_table.is_empty() {
            return Vec::new();
        }
        let mut repeated = Vec::new();
        for unit in taken {
            let comes_after = |table| first_of_table.iter().any(|&(known, first)| known == table && first < unit);
            if self.upserted_tables(unit).any(comes_after) {
                note(&mut first_of_table, unit);
                repeated.push(unit);
            }
        }
        repeated
    }

    /// Whether the unit at `index` runs a statement of its rule's own.
    pub fn has_statement(&self, index: usize) -> bool {
        self.runs_of(index).iter().any(|run| self.portions[run.portion].target.has_statement())
    }

    /// By [`Target::table_id`](super::Target::table_id).
    fn upserted_tables(&self, unit: usize) -> impl Iterator<Item = usize> {
        let targets = self.runs_of(unit).iter().map(|run| &self.portions[run.portion].target);
        targets.filter(|target| matches!(target.verb, Verb::Upsert(_))).map(|target| target.table_id)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::batch::{OffsetMove, Target, Unit};
    use crate::journal_id::JournalId;
    use crate::message::Seq;
    use crate::rule::TableName;
    use crate::schema::TableSchema;

    #[test]
    fn later_rows_that_replace_others_in_the_same_table_are_repeated() {
        let offset = OffsetMove { bridge: "b".into(), journal: JournalId([0; 16]), from: Seq(1), to: Seq(9) };
        let mut batch = Batch::new(offset);
        let target = |id: usize, table_id: usize, verb: Verb| {
            let table = Arc::new(TableSchema::new(TableName { schema: None, name: "t".into() }, Vec::new()));
            Arc::new(Target { id, table_id, table, columns: [0].into(), verb, in_order: true })
        };
        let upsert = || Verb::Upsert([0].into());
        let targets = [target(0, 0, upsert()), target(1, 0, Verb::Insert), target(2, 1, upsert())];
        for at in [0, 2, 0, 1, 0, 2] {
            let (portion, first_run) = (batch.open(&targets[at]), batch.runs.len());
            batch.add_row(portion, first_run, 0);
            batch.units.push(Unit { rule: 0, seq: Seq(1), runs: first_run..first_run + 1 });
        }
        assert_eq!(batch.to_be_repeated(&[0], 1..6), [2, 4]);
        assert_eq!(batch.to_be_repeated(&[1, 2], [0, 3, 4, 5].into_iter()), [4, 5]);
        assert!(batch.to_be_repeated(&[3], 0..6).is_empty());
        assert!(batch.to_be_repeated(&[5], 0..5).is_empty());
    }

    #[test]
    fn a_unit_that_is_repeated_takes_the_later_rows_of_all_its_tables_with_it() {
        let offset = OffsetMove { bridge: "b".into(), journal: JournalId([0; 16]), from: Seq(1), to: Seq(9) };
        let mut batch = Batch::new(offset);
        let target = |id: usize| {
            let table = Arc::new(TableSchema::new(TableName { schema: None, name: "t".into() }, Vec::new()));
            let verb = Verb::Upsert([0].into());
            Arc::new(Target { id, table_id: id, table, columns: [0].into(), verb, in_order: true })
        };
        let targets = [target(0), target(1), target(2)];
        for tables in [&[0][..], &[2], &[0, 1], &[1], &[2], &[1, 2], &[2]] {
            let first_run = batch.runs.len();
            for &table in tables {
                let portion = batch.open(&targets[table]);
                batch.add_row(portion, first_run, 0);
            }
            batch.units.push(Unit { rule: 0, seq: Seq(1), runs: first_run..batch.runs.len() });
        }
        assert_eq!(batch.to_be_repeated(&[0], 1..7), [2, 3, 5, 6]);
    }
}
