//! Rows of several batches, put together by target.
//!
//! A change of table costs a database a round trip or a statement. If messages name their tables, each batch may have a
//! few rows for each of a thousand. So a sink that takes many batches in one transaction collects such rows first.

use std::sync::Arc;

use super::{Batch, Target};

/// With fewer bytes than this for each table, a batch is scattered: a COPY or a compiled statement costs more than its rows.
const SCATTERED_BYTES: usize = 16 << 10;

impl Batch {
    /// Whether its rows have several targets, all of them tables. Rules' own statements run in the order of the journal, batch
    /// by batch.
    pub fn has_several_targets(&self) -> bool {
        let filled = || self.portions.iter().filter(|portion| !portion.ends.is_empty());
        filled().nth(1).is_some() && !filled().any(|portion| portion.target.has_statement())
    }

    /// Whether there are so many that each gets a few rows only.
    pub fn is_scattered(&self) -> bool {
        let filled = self.portions.iter().filter(|portion| !portion.ends.is_empty()).count();
        self.has_several_targets() && self.byte_count() < filled * SCATTERED_BYTES
    }

    /// Adds the rows of `other` behind those of the same targets, in the order in which they would be written. Its units stay
    /// with it.
    pub fn append_rows(&mut self, other: &Batch) {
        for at in other.writing_order() {
            let rows = &other.portions[at];
            let into = self.open_for(&rows.target);
            let before = &mut self.portions[into];
            let start = before.bytes.len();
            before.bytes.extend_from_slice(&rows.bytes);
            before.ends.extend(rows.ends.iter().map(|end| start + end));
            before.owner = before.owner.and(rows.owner);
            self.rows += rows.ends.len();
            self.bytes += rows.bytes.len();
        }
    }

    /// As [`Batch::open`], but for targets of several batches: between two of them the mapper may have given a number to another
    /// target, and this target another number.
    fn open_for(&mut self, target: &Arc<Target>) -> usize {
        let known = self.open.get(target.id).copied().flatten();
        match known.filter(|&portion| Arc::ptr_eq(&self.portions[portion].target, target)) {
            Some(portion) if !target.in_order || self.latest[target.table_id] == Some(portion) => portion,
            _ => self.open_anew(target),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{OffsetMove, Owner, Verb};
    use crate::journal_id::JournalId;
    use crate::message::Seq;
    use crate::rule::TableName;
    use crate::schema::TableSchema;

    fn target(id: usize, table_id: usize, in_order: bool) -> Arc<Target> {
        let name = TableName { schema: None, name: format!("t{table_id}") };
        let table = Arc::new(TableSchema::new(name, Vec::new()));
        Arc::new(Target { id, table_id, table, columns: [0].into(), verb: Verb::Insert, in_order })
    }

    /// One row of one byte for each, with the rule of its place.
    fn batch(rows: &[(&Arc<Target>, u8)]) -> Batch {
        let offset = OffsetMove { bridge: "b".into(), journal: JournalId([0; 16]), from: Seq(1), to: Seq(9) };
        let mut batch = Batch::new(offset);
        for (rule, (target, byte)) in rows.iter().enumerate() {
            let (portion, first_run) = (batch.open(target), batch.runs.len());
            batch.portions[portion].bytes.push(*byte);
            batch.add_row(portion, first_run, rule);
        }
        batch
    }

    /// By table, in writing order: the bytes of the rows, and whose they are.
    fn written(batch: &Batch) -> Vec<(String, Vec<u8>, Owner)> {
        let order = batch.writing_order();
        let portions = order.into_iter().map(|at| &batch.portions[at]);
        portions.map(|rows| (rows.target.table.name.name.clone(), rows.bytes.clone(), rows.owner)).collect()
    }

    #[test]
    fn rows_of_several_batches_lie_together_table_by_table() {
        let (one, other) = (target(0, 0, false), target(1, 1, false));
        let mut pool = batch(&[]);
        pool.append_rows(&batch(&[(&other, 1), (&one, 2), (&other, 3)]));
        pool.append_rows(&batch(&[(&one, 4), (&other, 5)]));
        assert_eq!(
            written(&pool),
            [("t0".to_owned(), vec![2, 4], Owner::Several), ("t1".to_owned(), vec![1, 3, 5], Owner::Several)]
        );
        assert_eq!((pool.row_count_of_all(), pool.byte_count()), (5, 5));
        assert_eq!(pool.portions[0].row(1), [4]);
        pool.clear(Seq(1));
        assert_eq!((written(&pool), pool.row_count_of_all(), pool.byte_count()), (Vec::new(), 0, 0));
    }

    #[test]
    fn rows_that_change_others_keep_their_order_across_targets_and_batches() {
        let table = target(0, 0, true);
        let upsert = Arc::new(Target { id: 1, verb: Verb::Upsert([0].into()), ..Target::clone(&table) });
        let mut pool = batch(&[]);
        pool.append_rows(&batch(&[(&table, 1), (&upsert, 2), (&table, 3)]));
        pool.append_rows(&batch(&[(&table, 4), (&upsert, 5)]));
        let bytes: Vec<Vec<u8>> = written(&pool).into_iter().map(|(_, bytes, _)| bytes).collect();
        assert_eq!(bytes, [vec![1], vec![2], vec![3, 4], vec![5]]);
    }

    #[test]
    fn a_number_that_became_another_targets_is_not_mistaken_for_it() {
        let (before, after) = (target(7, 0, false), target(7, 3, true));
        let mut pool = batch(&[]);
        pool.append_rows(&batch(&[(&before, 1)]));
        pool.append_rows(&batch(&[(&after, 2)]));
        pool.append_rows(&batch(&[(&before, 3)]));
        let tables: Vec<(String, Vec<u8>)> = written(&pool).into_iter().map(|(name, bytes, _)| (name, bytes)).collect();
        assert_eq!(tables, [("t0".to_owned(), vec![1]), ("t0".to_owned(), vec![3]), ("t3".to_owned(), vec![2])]);
    }

    #[test]
    fn rows_of_a_target_that_was_forgotten_and_made_again_keep_their_order() {
        let (full, part) = (target(0, 0, false), target(40, 0, false));
        let again = |id| Arc::new(Target { id, ..Target::clone(&part) });
        let mut pool = batch(&[]);
        for (byte, part) in [(1, Arc::clone(&part)), (2, again(2)), (3, again(40))] {
            pool.append_rows(&batch(&[(&part, byte), (&full, 10 * byte)]));
        }
        let bytes: Vec<Vec<u8>> = written(&pool).into_iter().map(|(_, bytes, _)| bytes).collect();
        assert_eq!(bytes, [vec![1], vec![10, 20, 30], vec![2], vec![3]]);
    }

    #[test]
    fn a_batch_is_scattered_if_each_of_several_tables_gets_little() {
        let (one, other) = (target(0, 0, false), target(1, 1, false));
        assert!(!batch(&[]).is_scattered() && !batch(&[(&one, 1), (&one, 2)]).is_scattered());
        let mut scattered = batch(&[(&one, 1), (&other, 2)]);
        assert!(scattered.is_scattered());
        scattered.bytes = 2 * SCATTERED_BYTES;
        assert!(scattered.has_several_targets() && !scattered.is_scattered());
    }
}
